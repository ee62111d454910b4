//! A server whose file handles are all taken by connections goes on once they are closed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::process::{Process, free_port};

const HANDLES: u32 = 96;
/// More than there are handles, fewer than wait to be accepted.
const CROWD: usize = 110;
/// A minute of them.
const TRIES: u32 = 3000;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

#[test]
fn a_server_without_handles_accepts_again() {
    let (grpc, http) = (free_port().to_string(), free_port());
    let http_port = http.to_string();
    let args = ["server", "start-dev", "--port", &grpc, "--http-port", &http_port];
    let mut server = Process::spawn_with_handles(HANDLES, &args);
    server.wait_for("Stop with Ctrl-C");
    assert!(answers(http).is_ok());
    let crowd: Vec<_> = (0..CROWD).map(|_| TcpStream::connect(("127.0.0.1", http)).expect("it listens")).collect();
    server.wait_for_error("cannot accept");
    drop(crowd);
    for _ in 0..TRIES {
        if answers(http).is_ok() {
            return;
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
    panic!("it does not come back: {:?}", answers(http));
}

/// Whether a new connection is served.
fn answers(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /api/v1/system-info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}
