//! One established connection to one peer: requests and answers in both directions.
//!
//! A request is *not sent* (surely not executed), *answered*, or *lost* (sent, outcome
//! unknown). A caller that goes away cancels the work on the other side.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::Error;
use api::internal::frame::Body;
use api::internal::{Frame, RaftMessage};
use base::NodeId;
use bytes::{Bytes, BytesMut};
use prost::Message;
use storage::GroupId;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::outbox::{Outbox, Refused};
use super::serve::Served;
use super::wire::{Decoder, FRAME_BYTES_MAX};
use crate::Services;

/// How much is handed to the socket at once; what comes later and is urgent waits for it.
const WRITE_BYTES_MAX: usize = 128 << 10;
const READ_BYTES: usize = 64 << 10;
/// Leaves room for the envelope around a request that is just small enough.
const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - 1024;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum CallFailure {
    /// Surely not executed.
    #[error("{0}")]
    NotSent(&'static str),
    /// Bigger than a frame: sending it again cannot help.
    #[error("the request is too large to be forwarded")]
    TooLarge,
    /// May have been executed, or still will be.
    #[error("{0}")]
    Lost(&'static str),
}

impl From<Refused> for CallFailure {
    fn from(refused: Refused) -> Self {
        Self::NotSent(match refused {
            Refused::Closed => "the connection to the node is closed",
            Refused::Full => "the queue to the node is full",
        })
    }
}

#[derive(Default)]
struct Pending {
    is_closed: bool,
    last_id: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Body>>,
}

pub(crate) struct Connection {
    pub(crate) peer: NodeId,
    pub(crate) incarnation: u64,
    pub(super) outbox: Outbox,
    pending: Mutex<Pending>,
    opened: Instant,
    /// When the last byte arrived, in milliseconds after `opened`.
    heard_millis: AtomicU64,
    closed: CancellationToken,
}

impl Connection {
    pub(crate) fn new(peer: NodeId, incarnation: u64) -> Arc<Self> {
        Arc::new(Self {
            peer,
            incarnation,
            outbox: Outbox::new(),
            pending: Mutex::default(),
            opened: Instant::now(),
            heard_millis: AtomicU64::new(0),
            closed: CancellationToken::new(),
        })
    }

    /// Reads and writes until either fails or somebody closes the connection.
    pub(crate) async fn run(self: &Arc<Self>, io: Box<dyn base::Io>, received: Received, services: &Services) {
        let (reader, writer) = tokio::io::split(io);
        let reason = tokio::select! {
            biased;
            () = self.closed.cancelled() => "closed".to_owned(),
            reason = self.read(reader, received, services) => reason,
            reason = self.write(writer) => reason,
        };
        tracing::debug!(peer = %self.peer, reason, "connection ended");
        self.close();
    }

    /// Every caller that waits for an answer learns that it will not come.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut pending = self.pending.lock().expect("no panic while held");
            pending.is_closed = true;
            std::mem::take(&mut pending.waiting)
        };
        drop(waiting);
        self.outbox.close();
        self.closed.cancel();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    pub(crate) fn heard(&self) -> Instant {
        self.opened + Duration::from_millis(self.heard_millis.load(Ordering::Relaxed))
    }

    /// A frame that has no answer.
    pub(crate) fn tell(&self, body: Body) {
        // A full queue already holds something newer than the peer has seen.
        let _ = self.outbox.push_control(Frame { body: Some(body), ..Frame::default() }.encode_to_vec().into());
    }

    /// An answer that must not wait for room.
    pub(super) fn tell_answer(&self, id: u64, body: Body) {
        let frame = Frame { id, answer: true, timeout: None, body: Some(body) };
        let _ = self.outbox.push_control(frame.encode_to_vec().into());
    }

    pub(super) async fn answer(&self, id: u64, body: Body, deadline: Instant) {
        let mut frame = Frame { id, answer: true, timeout: None, body: Some(body) };
        let mut encoded = frame.encode_to_vec();
        if encoded.len() > FRAME_BYTES_MAX {
            let error = Error::Internal("the answer is too large to be forwarded".to_owned());
            frame.body = Some(Body::Error(error.into()));
            encoded = frame.encode_to_vec();
        }
        // Without room until the deadline there is nobody left to read the answer.
        let _ = self.outbox.push_call(encoded.into(), deadline).await;
    }

    /// Sends a request and waits for its answer. The body comes back, so that the caller
    /// can try elsewhere without having kept a copy.
    pub(crate) async fn call(self: &Arc<Self>, body: Body, deadline: Instant) -> (Result<Body, CallFailure>, Body) {
        let (guard, answer) = match self.register(Cancel::OnDrop) {
            Ok(registered) => registered,
            Err(failure) => return (Err(failure), body),
        };
        let frame = Frame { id: guard.id, answer: false, timeout: Some(timeout_proto(deadline)), body: Some(body) };
        let encoded = Bytes::from(frame.encode_to_vec());
        let body = frame.body.expect("just put there");
        if encoded.len() > FRAME_BYTES_MAX {
            guard.finish();
            return (Err(CallFailure::TooLarge), body);
        }
        if let Err(refused) = self.outbox.push_call(encoded, deadline).await {
            guard.finish();
            return (Err(refused.into()), body);
        }
        let result = match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => {
                guard.finish();
                Ok(answer)
            }
            Ok(Err(_)) => Err(CallFailure::Lost("the connection broke before the answer came")),
            Err(_) => Err(CallFailure::Lost("no answer in time")),
        };
        (result, body)
    }

    /// Queues the request before it returns: two calls in a row arrive in that order.
    pub(crate) fn call_raft(
        self: &Arc<Self>,
        group: GroupId,
        request: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Body, CallFailure>> + Send + 'static + use<> {
        let deadline = Instant::now() + timeout;
        let queued = self.queue_raft(group, request, deadline);
        async move {
            let (guard, answer) = queued?;
            let answer = timeout_at(deadline, answer).await;
            guard.finish();
            match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(CallFailure::Lost("the connection broke before the answer came")),
                Err(_) => Err(CallFailure::Lost("no answer in time")),
            }
        }
    }

    fn queue_raft(
        self: &Arc<Self>,
        group: GroupId,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(PendingGuard, oneshot::Receiver<Body>), CallFailure> {
        if body.len() > BODY_BYTES_MAX {
            return Err(CallFailure::TooLarge);
        }
        let (guard, answer) = self.register(Cancel::Never)?;
        let frame = Frame {
            id: guard.id,
            answer: false,
            timeout: Some(timeout_proto(deadline)),
            body: Some(Body::Raft(RaftMessage { group, body })),
        };
        self.outbox.push_raft(group, frame.encode_to_vec().into())?;
        Ok((guard, answer))
    }

    fn register(self: &Arc<Self>, cancel: Cancel) -> Result<(PendingGuard, oneshot::Receiver<Body>), CallFailure> {
        let (sender, answer) = oneshot::channel();
        let mut pending = self.pending.lock().expect("no panic while held");
        if pending.is_closed {
            return Err(Refused::Closed.into());
        }
        pending.last_id += 1;
        let id = pending.last_id;
        pending.waiting.insert(id, sender);
        Ok((PendingGuard { connection: Arc::clone(self), id, cancel }, answer))
    }

    fn answered(&self, id: u64, body: Body) {
        let sender = self.pending.lock().expect("no panic while held").waiting.remove(&id);
        if let Some(sender) = sender {
            // The caller may have given up just now.
            let _ = sender.send(body);
        }
    }

    async fn read(
        self: &Arc<Self>,
        mut reader: ReadHalf<Box<dyn base::Io>>,
        received: Received,
        services: &Services,
    ) -> String {
        let Received { mut input, mut decoder } = received;
        decoder.allow(FRAME_BYTES_MAX);
        let mut served = Served::new(Arc::clone(self));
        loop {
            loop {
                let frame = match decoder.decode(&mut input) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(error) => return format!("framing: {error}"),
                };
                let frame = match Frame::decode(frame) {
                    Ok(frame) => frame,
                    Err(error) => return format!("frame: {error}"),
                };
                match frame {
                    Frame { answer: true, id, body: Some(body), .. } => self.answered(id, body),
                    frame => served.handle(frame, services).await,
                }
            }
            input.reserve(READ_BYTES);
            match reader.read_buf(&mut input).await {
                Ok(0) => return "end of stream".to_owned(),
                Ok(_) => self.note_heard(),
                Err(error) => return error.to_string(),
            }
        }
    }

    async fn write(&self, mut writer: impl AsyncWrite + Unpin) -> String {
        let mut buffer = BytesMut::with_capacity(WRITE_BYTES_MAX);
        loop {
            buffer.clear();
            self.outbox.fill(&mut buffer, WRITE_BYTES_MAX);
            let done = if buffer.is_empty() {
                let flushed = writer.flush().await;
                self.outbox.ready().await;
                flushed
            } else {
                writer.write_all(&buffer).await
            };
            if let Err(error) = done {
                return error.to_string();
            }
        }
    }

    fn note_heard(&self) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_millis.store(millis, Ordering::Relaxed);
    }
}

/// What the handshake has read of the stream, and how far it got.
pub(crate) struct Received {
    pub(crate) input: BytesMut,
    pub(crate) decoder: Decoder,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cancel {
    OnDrop,
    Never,
}

/// Forgets the request when its caller goes away, and tells the peer to.
struct PendingGuard {
    connection: Arc<Connection>,
    id: u64,
    cancel: Cancel,
}

impl PendingGuard {
    /// There is nothing to cancel on the other side.
    fn finish(mut self) {
        self.cancel = Cancel::Never;
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.connection.pending.lock().expect("no panic while held").waiting.remove(&self.id);
        if self.cancel == Cancel::OnDrop {
            self.connection.tell(Body::Cancel(self.id));
        }
    }
}

fn timeout_proto(deadline: Instant) -> prost_types::Duration {
    let timeout = deadline.saturating_duration_since(Instant::now());
    prost_types::Duration {
        seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(timeout.subsec_nanos()).unwrap_or_default(),
    }
}
