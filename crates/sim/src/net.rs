//! The simulated network behind the same seam as the real one.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use base::{Accepted, Io, Listener, Net};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Turmoil's sockets. Host names are those of the simulation.
pub(crate) struct SimNet;

struct SimListener(turmoil::net::TcpListener);

impl Listener for SimListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            let (stream, address) = self.0.accept().await?;
            Ok(Accepted { io: Box::new(stream), address, certified: None })
        })
    }
}

impl Net for SimNet {
    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let port = port(address);
        Box::pin(async move {
            let listener = turmoil::net::TcpListener::bind(("0.0.0.0", port?)).await?;
            Ok(Box::new(SimListener(listener)) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let address = address.to_owned();
        Box::pin(async move { Ok(Box::new(turmoil::net::TcpStream::connect(address).await?) as Box<dyn Io>) })
    }
}

fn port(address: &str) -> io::Result<u16> {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{address:?} is not HOST:PORT")))
}
