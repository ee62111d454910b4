//! Sockets as a seam: everything that listens or dials does it through [`Net`], so that
//! a simulated cluster can put its own network underneath.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connected byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Somebody who has connected.
pub struct Accepted {
    pub io: Box<dyn Io>,
    pub address: SocketAddr,
    /// Who that is, where the port demands a certificate.
    pub certified: Option<Arc<dyn Certified>>,
}

/// A certificate that was checked: for whom it is.
pub trait Certified: Send + Sync + 'static {
    /// Whether it is for this DNS name or IP address.
    fn is_host(&self, host: &str) -> bool;
    /// For messages.
    fn describe(&self) -> String;
}

/// Accepts connections on one address.
pub trait Listener: Send + 'static {
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// Can be dropped at any point without losing a connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>>;
}

/// The host of `host:port`, without the brackets of an IPv6 address.
#[must_use]
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Listens and dials.
pub trait Net: Send + Sync + 'static {
    /// `address` is `host:port`; port 0 picks a free one.
    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Io>>>;
}

/// How long to wait for a port that a process which is being killed still holds.
const PORT_WAIT_MAX: Duration = Duration::from_secs(2);
const PORT_POLL: Duration = Duration::from_millis(20);

/// The machine's TCP stack, with Nagle's algorithm off.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNet;

impl Listener for tokio::net::TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        tokio::net::TcpListener::local_addr(self)
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            let (stream, address) = tokio::net::TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok(Accepted { io: Box::new(stream), address, certified: None })
        })
    }
}

impl Net for TcpNet {
    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let address = address.to_owned();
        Box::pin(async move {
            let deadline = Instant::now() + PORT_WAIT_MAX;
            loop {
                match tokio::net::TcpListener::bind(&address).await {
                    Ok(listener) => return Ok(Box::new(listener) as Box<dyn Listener>),
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {}
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(PORT_POLL).await;
            }
        })
    }

    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_addresses() {
        for (address, host) in [("n1:7234", "n1"), ("10.0.0.1:1", "10.0.0.1"), ("[::1]:7234", "::1"), ("n1", "n1")] {
            assert_eq!(host_of(address), host);
        }
    }

    #[tokio::test]
    async fn a_port_that_is_let_go_soon_is_waited_for() {
        let holder = TcpNet.listen("127.0.0.1:0").await.unwrap();
        let address = holder.local_addr().unwrap();
        let mut listening = TcpNet.listen(&address.to_string());
        // Polled once, it has found the port taken.
        assert!(poll_once(&mut listening).await.is_none());
        drop(holder);
        assert_eq!(listening.await.unwrap().local_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn a_port_that_stays_taken_is_an_error() {
        let holder = TcpNet.listen("127.0.0.1:0").await.unwrap();
        let address = holder.local_addr().unwrap().to_string();
        let error = TcpNet.listen(&address).await.err().expect("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    /// What the future has to say when it is polled once.
    async fn poll_once<T>(future: &mut BoxFuture<'static, T>) -> Option<T> {
        std::future::poll_fn(|ctx| match future.as_mut().poll(ctx) {
            std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
