//! A TLS stream of the dialling side. With TLS 1.3 the other side's refusal of a certificate
//! comes with the first bytes that are read, so that is where it is put into words.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use base::Io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::verify::{Presented, explain};

/// The last thing that went wrong on a connection, for layers above that swallow it.
pub(crate) type Heard = Arc<Mutex<Option<String>>>;

pub(super) struct Explained {
    pub(super) io: TlsStream<Box<dyn Io>>,
    pub(super) heard: Heard,
}

impl Explained {
    fn explain(&self, error: &io::Error) -> io::Error {
        let reason = explain(error, &Presented::default());
        // The first reason is the true one; later ones only follow from it.
        self.heard.lock().expect("no panic while held").get_or_insert_with(|| reason.clone());
        io::Error::new(error.kind(), reason)
    }
}

impl AsyncRead for Explained {
    fn poll_read(mut self: Pin<&mut Self>, ctx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(ctx, buffer).map_err(|error| self.explain(&error));
        if matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before {
            self.explain(&io::ErrorKind::UnexpectedEof.into());
        }
        read
    }
}

impl AsyncWrite for Explained {
    fn poll_write(mut self: Pin<&mut Self>, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(ctx, bytes).map_err(|error| self.explain(&error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(ctx).map_err(|error| self.explain(&error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(ctx)
    }
}
