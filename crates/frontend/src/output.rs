//! Collects what a connection has to say, so that answers that become ready together leave
//! in one write: a system call, a packet and a wake-up of the client for all of them.
//!
//! ```text
//! write ─▶ collected ──flush──▶ once behind the tasks that are ready to run ──▶ one write
//! ```
//! The task that an answer wakes first is its connection's. Without this it would write that
//! answer before the other tasks, ready as well, had their turn. No time passes by waiting:
//! the task only goes to the end of the queue, once for each flush.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Collected bytes that are written without waiting for a flush.
const COLLECTED_BYTES_MAX: usize = 64 << 10;
/// What is at least this large is not worth a copy.
const DIRECT_BYTES_MIN: usize = 16 << 10;

pub(crate) struct Output<T> {
    io: T,
    collected: BytesMut,
    /// The flush under way has let others run.
    has_yielded: bool,
}

impl<T: AsyncWrite + Unpin> Output<T> {
    pub(crate) fn new(io: T) -> Self {
        Self { io, collected: BytesMut::new(), has_yielded: false }
    }

    fn poll_write_out(&mut self, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.collected.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(ctx, &self.collected))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.collected.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Output<T> {
    fn poll_write(self: Pin<&mut Self>, ctx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(ctx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = data.iter().map(|piece| piece.len()).sum::<usize>();
        if bytes >= DIRECT_BYTES_MIN || this.collected.len() + bytes > COLLECTED_BYTES_MAX {
            ready!(this.poll_write_out(ctx))?;
            if bytes >= DIRECT_BYTES_MIN {
                return Pin::new(&mut this.io).poll_write_vectored(ctx, data);
            }
        }
        for piece in data {
            this.collected.extend_from_slice(piece);
        }
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.collected.is_empty() && !this.has_yielded {
            this.has_yielded = true;
            ctx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(this.poll_write_out(ctx))?;
        this.has_yielded = false;
        Pin::new(&mut this.io).poll_flush(ctx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(ctx))?;
        Pin::new(&mut this.io).poll_shutdown(ctx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Output<T> {
    fn poll_read(self: Pin<&mut Self>, ctx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(ctx, buf)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Remembers each write, and takes no more than `most` bytes in one.
    #[derive(Clone)]
    struct Wire {
        writes: Arc<Mutex<Vec<Vec<u8>>>>,
        most: usize,
    }

    impl Wire {
        fn new(most: usize) -> Self {
            Self { writes: Arc::default(), most }
        }

        fn sizes(&self) -> Vec<usize> {
            self.writes.lock().unwrap().iter().map(Vec::len).collect()
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            let taken = &data[..data.len().min(self.most)];
            self.writes.lock().unwrap().push(taken.to_vec());
            Poll::Ready(Ok(taken.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_flushed_together_is_one_write() {
        let wire = Wire::new(usize::MAX);
        let mut output = Output::new(wire.clone());
        output.write_all(b"one").await.unwrap();
        output.write_all(b"two").await.unwrap();
        assert!(wire.sizes().is_empty());
        output.flush().await.unwrap();
        output.flush().await.unwrap();
        assert_eq!(*wire.writes.lock().unwrap(), [b"onetwo"]);
    }

    #[tokio::test]
    async fn a_flush_lets_tasks_run_that_are_ready() {
        let wire = Wire::new(usize::MAX);
        let mut output = Output::new(wire.clone());
        let sizes = wire.clone();
        let other = async move { sizes.sizes() };
        output.write_all(b"one").await.unwrap();
        let (flushed, seen) = tokio::join!(output.flush(), other);
        flushed.unwrap();
        assert_eq!((seen, wire.sizes()), (vec![], vec![3]));
    }

    #[tokio::test]
    async fn order_and_bytes_survive_large_pieces_and_short_writes() {
        let wire = Wire::new(10_000);
        let mut output = Output::new(wire.clone());
        let mut expected = Vec::new();
        for size in [1, 20_000, 0, 3, 15_000, 15_000, 15_000, 15_000, 15_000, 70_000, 5] {
            let piece: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            output.write_all(&piece).await.unwrap();
            expected.extend(piece);
        }
        output.shutdown().await.unwrap();
        assert_eq!(wire.writes.lock().unwrap().concat(), expected);
    }

    #[tokio::test]
    async fn a_closed_wire_is_an_error() {
        let mut output = Output::new(Wire::new(0));
        output.write_all(b"one").await.unwrap();
        assert_eq!(output.flush().await.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
