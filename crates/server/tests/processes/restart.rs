//! A start right after a SIGKILL: the dying process still holds its ports and its locks
//! for some milliseconds, and the new one waits for them.

use crate::process::{Process, free_port, path};

const RESTARTS: usize = 8;

/// Starts, and again and again in the very moment of the kill.
fn kill_and_start_at_once(args: &[&str], ready: &str) {
    let mut process = Process::spawn(args);
    process.wait_for(ready);
    for _ in 0..RESTARTS {
        process.kill();
        let next = Process::spawn(args);
        // Only now is the old one waited for.
        drop(std::mem::replace(&mut process, next));
        process.wait_for(ready);
    }
}

#[test]
fn a_development_server_starts_while_its_killed_predecessor_still_dies() {
    let dir = tempfile::tempdir().unwrap();
    for engine in ["fjall", "sled"] {
        let (data, port) = (dir.path().join(engine), free_port().to_string());
        let args = ["server", "start-dev", "--db-filename", path(&data), "--port", &port, "--storage-engine", engine];
        kill_and_start_at_once(&args, "Temporal Server:");
    }
}

#[test]
fn a_node_starts_while_its_killed_predecessor_still_dies() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("n1.toml");
    let (grpc, admin) = (free_port(), free_port());
    let text = format!(
        "[node]\nid = 1\ndata-dir = {:?}\n[cluster]\nmembers = [\"1=127.0.0.1:{}\"]\nshards = 4\n\
         [listen]\ngrpc = \"127.0.0.1:{grpc}\"\nadmin = \"127.0.0.1:{admin}\"\n",
        dir.path().join("data"),
        free_port(),
    );
    std::fs::write(&file, text).unwrap();
    kill_and_start_at_once(&["server", "run", "--config", path(&file)], "node 1: gRPC on");
}
