//! The framing of one unary gRPC call over HTTP/2, on raw bytes: what a generated server
//! would do, less the decoding and encoding of messages.
//!
//! ```text
//! request body:  flag(1) length(4) message      response body: flag(1) length(4) message, trailers
//! ```
//! Sizes, encodings and texts are those of gRPC-Go, by which SDKs recognise them.

use std::io::{Read as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tonic::Status;

/// Flag and length in front of every message.
const PREFIX_BYTES: usize = 5;

/// Larger messages are sent behind their prefix instead of being copied after it.
const COPY_BYTES_MAX: usize = 16 << 10;

/// The units of `grpc-timeout`, in nanoseconds.
const TIMEOUT_UNITS: [(u8, u64); 6] = [
    (b'H', 3_600_000_000_000),
    (b'M', 60_000_000_000),
    (b'S', 1_000_000_000),
    (b'm', 1_000_000),
    (b'u', 1_000),
    (b'n', 1),
];

/// How a message is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// The encoding of the request's message, which the response uses too.
    pub(crate) fn of_request(headers: &HeaderMap) -> Result<Self, Status> {
        match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(other) => Err(Status::unimplemented(format!(
                "grpc: Decompressor is not installed for grpc-encoding {:?}",
                String::from_utf8_lossy(other)
            ))),
        }
    }
}

/// The caller's deadline as a duration from now; `None` when it has none.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let bytes = value.as_bytes();
    let malformed = || Status::internal(format!("malformed grpc-timeout: {:?}", String::from_utf8_lossy(bytes)));
    let (unit, digits) = bytes.split_last().ok_or_else(malformed)?;
    let (_, nanos) = TIMEOUT_UNITS.iter().find(|(known, _)| known == unit).ok_or_else(malformed)?;
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let count: u64 = digits.and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
    Ok(Some(Duration::from_nanos(count.saturating_mul(*nanos))))
}

/// Reads the one message of a request. What is larger than allowed is refused as soon as
/// its length is known, before its bytes are.
pub(crate) async fn read_message<B>(body: B, encoding: Encoding, bytes_max: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut body = body;
    let mut buffer = Chunks::default();
    while buffer.len() < PREFIX_BYTES {
        buffer.push(next_chunk(&mut body).await?);
    }
    let prefix = buffer.take(PREFIX_BYTES);
    let length = usize::try_from((&prefix[1..]).get_u32()).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(Status::resource_exhausted(format!(
            "grpc: received message larger than max ({length} vs. {bytes_max})"
        )));
    }
    while buffer.len() < length {
        buffer.push(next_chunk(&mut body).await?);
    }
    let message = buffer.take(length);
    match (prefix[0], encoding) {
        (0, _) => Ok(message),
        (1, Encoding::Gzip) => decompress(&message, bytes_max),
        (1, Encoding::Identity) => Err(Status::internal("grpc: compressed flag set with identity or empty encoding")),
        (flag, _) => Err(Status::internal(format!("grpc: received unexpected payload format {flag}"))),
    }
}

/// Bytes that arrived; almost always one chunk, which is then never copied.
#[derive(Default)]
struct Chunks {
    first: Bytes,
    rest: BytesMut,
}

impl Chunks {
    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = chunk;
        } else {
            self.rest.extend_from_slice(&chunk);
        }
    }

    /// The first `count` bytes, which must be there.
    fn take(&mut self, count: usize) -> Bytes {
        if count > self.first.len() {
            let mut joined = BytesMut::with_capacity(self.len());
            joined.extend_from_slice(&self.first);
            joined.extend_from_slice(&self.rest);
            self.first = joined.freeze();
            self.rest.clear();
        }
        self.first.split_to(count)
    }
}

async fn next_chunk<B>(body: &mut B) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(data);
                }
            }
            Some(Err(error)) => return Err(Status::cancelled(format!("the request broke off: {error}"))),
            None => return Err(Status::internal("grpc: the request ended before its message")),
        }
    }
}

fn decompress(message: &[u8], bytes_max: usize) -> Result<Bytes, Status> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells "too large" from "exactly as large as allowed".
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    GzDecoder::new(message)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Status::internal(format!("grpc: failed to decompress the received message: {error}")))?;
    if bytes.len() > bytes_max {
        return Err(Status::resource_exhausted(format!(
            "grpc: message after decompression larger than max ({} vs. {bytes_max})",
            bytes.len()
        )));
    }
    Ok(bytes.into())
}

fn compress(message: &[u8]) -> Result<Bytes, Status> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(message).and_then(|()| encoder.finish());
    written.map(Bytes::from).map_err(|error| Status::internal(format!("grpc: compression failed: {error}")))
}

/// The response that carries an encoded message.
pub(crate) fn response(message: Bytes, encoding: Encoding) -> Response<ResponseBody> {
    let (flag, message) = match encoding {
        Encoding::Identity => (0, message),
        Encoding::Gzip => match compress(&message) {
            Ok(compressed) => (1, compressed),
            Err(status) => return failure(&status),
        },
    };
    let Ok(length) = u32::try_from(message.len()) else {
        return failure(&Status::internal("grpc: the response is larger than a message can be"));
    };
    let copied = if message.len() <= COPY_BYTES_MAX { message.len() } else { 0 };
    let mut first = BytesMut::with_capacity(PREFIX_BYTES + copied);
    first.put_u8(flag);
    first.put_u32(length);
    first.extend_from_slice(&message[..copied]);
    let mut response =
        Response::new(ResponseBody::Message { first: first.freeze(), second: message.slice(copied..), done: false });
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if encoding == Encoding::Gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    response
}

/// The response that carries only a status.
pub(crate) fn failure(status: &Status) -> Response<ResponseBody> {
    status.clone().into_http()
}

/// The answer to what is no gRPC call at all.
pub(crate) fn plain(code: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Text(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = code;
    response
}

/// The body of every response of the port.
#[derive(Default)]
pub(crate) enum ResponseBody {
    #[default]
    Empty,
    Text(Bytes),
    /// A message with its prefix, in up to two pieces, then the trailers.
    Message {
        first: Bytes,
        second: Bytes,
        done: bool,
    },
    /// A service that tonic serves: health and reflection.
    Tonic(tonic::body::Body),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Text(text) if text.is_empty() => Poll::Ready(None),
            Self::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Self::Message { first, .. } if !first.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(first)))))
            }
            Self::Message { second, .. } if !second.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(second)))))
            }
            Self::Message { done: true, .. } => Poll::Ready(None),
            Self::Message { done, .. } => {
                *done = true;
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Self::Tonic(body) => Pin::new(body).poll_frame(ctx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Text(text) => text.is_empty(),
            Self::Message { done, .. } => *done,
            Self::Tonic(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Tonic(body) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
