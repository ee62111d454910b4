//! Frames on a byte stream. A frame travels as one or more chunks on a lane; chunks of
//! different lanes may alternate, so that a small urgent frame never waits for a big one.
//!
//! ```text
//! chunk  = flags: u8 | length: u24 BE | length bytes
//! flags  = LAST (0x80) | lane (0..LANES)
//! frame  = all chunks of one lane up to and with the one marked LAST
//! ```
//! What is inside a frame is a protobuf `Frame`; this file sees only bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The lanes, most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lane {
    /// Handshake, beats, cancels and small Raft messages.
    Urgent = 0,
    /// Forwarded calls and their answers.
    Calls = 1,
    /// Raft messages too big to be urgent.
    Bulk = 2,
}

pub(crate) const LANES: usize = 3;
/// The most payload of one chunk: how long an urgent frame may have to wait.
pub(crate) const CHUNK_BYTES_MAX: usize = 64 << 10;
/// The most bytes of one frame; bounds what a peer can make this node buffer.
pub(crate) const FRAME_BYTES_MAX: usize = 16 << 20;

const HEADER_BYTES: usize = 4;
const LAST: u8 = 0x80;

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("unknown lane {0}")]
    Lane(u8),
    #[error("chunk of {0} bytes")]
    Chunk(usize),
    #[error("frame of more than {0} bytes")]
    Frame(usize),
}

/// Appends the next chunk of `frame` to `out` and advances `frame` past it. Returns true
/// when that was the last one.
pub(crate) fn put_chunk(out: &mut BytesMut, lane: Lane, frame: &mut Bytes) -> bool {
    let length = frame.len().min(CHUNK_BYTES_MAX);
    let is_last = length == frame.len();
    out.reserve(HEADER_BYTES + length);
    out.put_u8(lane as u8 | if is_last { LAST } else { 0 });
    out.put_uint(length as u64, HEADER_BYTES - 1);
    out.put_slice(&frame[..length]);
    frame.advance(length);
    is_last
}

/// Puts chunks back together.
#[derive(Debug)]
pub(crate) struct Decoder {
    partial: [BytesMut; LANES],
    frame_bytes_max: usize,
}

impl Decoder {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self { partial: Default::default(), frame_bytes_max }
    }

    /// A peer that has introduced itself may send bigger frames.
    pub(crate) fn allow(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Takes chunks off the front of `input` until a frame is complete; `None` when more
    /// input is needed. After an error the stream cannot be used any more.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        while input.len() >= HEADER_BYTES {
            let flags = input[0];
            let lane = flags & !LAST;
            let length = usize::from(input[1]) << 16 | usize::from(input[2]) << 8 | usize::from(input[3]);
            let Some(partial) = self.partial.get_mut(usize::from(lane)) else {
                return Err(WireError::Lane(lane));
            };
            if length > CHUNK_BYTES_MAX {
                return Err(WireError::Chunk(length));
            }
            if partial.len() + length > self.frame_bytes_max {
                return Err(WireError::Frame(self.frame_bytes_max));
            }
            if input.len() < HEADER_BYTES + length {
                input.reserve(HEADER_BYTES + length - input.len());
                return Ok(None);
            }
            input.advance(HEADER_BYTES);
            let is_last = flags & LAST != 0;
            // Copied, not split off: who keeps a small part of a frame (a log entry, say)
            // must not keep the whole read buffer.
            let frame = if is_last && partial.is_empty() {
                Some(Bytes::copy_from_slice(&input[..length]))
            } else {
                partial.extend_from_slice(&input[..length]);
                is_last.then(|| std::mem::take(partial).freeze())
            };
            input.advance(length);
            if frame.is_some() {
                return Ok(frame);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Lane; LANES] = [Lane::Urgent, Lane::Calls, Lane::Bulk];

    /// Interleaves the lanes' frames as `order` says and returns the bytes.
    fn encode(mut lanes: [Vec<Bytes>; LANES], order: &[usize]) -> BytesMut {
        let mut out = BytesMut::new();
        let mut order = order.iter().cycle();
        while lanes.iter().any(|frames| !frames.is_empty()) {
            let at = *order.next().unwrap();
            // An index that names an empty lane falls through to the next one that is not.
            let at = (at..at + LANES).map(|at| at % LANES).find(|&at| !lanes[at].is_empty()).unwrap();
            if put_chunk(&mut out, ALL[at], &mut lanes[at][0]) {
                lanes[at].remove(0);
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_survive_interleaving_and_any_split(
            sizes in prop::collection::vec((0..LANES, 0..3 * CHUNK_BYTES_MAX), 1..6),
            order in prop::collection::vec(0..LANES, 1..8),
            cut in 1..100_000_usize,
        ) {
            let mut lanes: [Vec<Bytes>; LANES] = Default::default();
            for (number, (lane, size)) in sizes.into_iter().enumerate() {
                // The first byte tells the frames apart.
                lanes[lane].push(Bytes::from(vec![number as u8 + 1; size]));
            }
            let bytes = encode(lanes.clone(), &order);
            let mut decoder = Decoder::new(FRAME_BYTES_MAX);
            let mut input = BytesMut::new();
            let mut frames = Vec::new();
            for piece in bytes.chunks(cut) {
                input.extend_from_slice(piece);
                while let Some(frame) = decoder.decode(&mut input).unwrap() {
                    frames.push(frame);
                }
            }
            prop_assert!(input.is_empty());
            let mut expected: Vec<Bytes> = lanes.into_iter().flatten().collect();
            expected.sort();
            frames.sort();
            prop_assert_eq!(frames, expected);
        }

        #[test]
        fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut input = BytesMut::from(&garbage[..]);
            let mut decoder = Decoder::new(4 << 10);
            while let Ok(Some(_)) = decoder.decode(&mut input) {}
        }
    }

    #[test]
    fn limits_hold() {
        let mut decoder = Decoder::new(10);
        let mut frame = Bytes::from_static(&[0; 11]);
        let mut input = BytesMut::new();
        put_chunk(&mut input, Lane::Calls, &mut frame);
        assert_eq!(decoder.decode(&mut input.clone()), Err(WireError::Frame(10)));
        decoder.allow(11);
        assert_eq!(decoder.decode(&mut input), Ok(Some(Bytes::from_static(&[0; 11]))));
        let mut input = BytesMut::from(&[7, 0, 0, 0][..]);
        assert_eq!(decoder.decode(&mut input), Err(WireError::Lane(7)));
        let mut input = BytesMut::from(&[0, 255, 0, 0][..]);
        assert!(matches!(decoder.decode(&mut input), Err(WireError::Chunk(_))));
    }
}
