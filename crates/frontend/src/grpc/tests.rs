//! Frames as clients cut them: whole, in pieces, compressed, too long, broken.

use std::collections::VecDeque;
use std::convert::Infallible;

use proptest::prelude::*;
use tonic::Code;

use super::*;

/// A body that arrives in the given pieces.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend_from_slice(&u32::try_from(message.len()).expect("small").to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

fn read(bytes: &[u8], cut: usize, encoding: Encoding, max: usize) -> Result<Bytes, Status> {
    let pieces = bytes.chunks(cut.max(1)).map(Bytes::copy_from_slice).collect();
    futures_util::FutureExt::now_or_never(read_message(Pieces(pieces), encoding, max)).expect("never waits")
}

proptest! {
    #[test]
    fn messages_survive_any_cut(message in prop::collection::vec(any::<u8>(), 0..200), cut in 1_usize..210) {
        let got = read(&framed(0, &message), cut, Encoding::Identity, 200).expect("reads");
        prop_assert_eq!(&got[..], &message[..]);
        let zipped = compress(&message).expect("compresses");
        let got = read(&framed(1, &zipped), cut, Encoding::Gzip, 400).expect("reads");
        prop_assert_eq!(&got[..], &message[..]);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 1_usize..64) {
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            let _ = read(&bytes, cut, encoding, 32);
        }
    }
}

#[test]
fn too_large_is_said_as_sdks_expect_it() {
    let status = read(&framed(0, &[0; 11]), 3, Encoding::Identity, 10).expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "grpc: received message larger than max (11 vs. 10)");
    let zipped = compress(&[0; 100_000]).expect("compresses");
    let status = read(&framed(1, &zipped), 99, Encoding::Gzip, 1000).expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("grpc: message after decompression larger than max"));
}

#[test]
fn timeouts() {
    let parse = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().expect("a header"));
        timeout(&headers).map_err(|status| status.code())
    };
    assert_eq!(parse("10S"), Ok(Some(Duration::from_secs(10))));
    assert_eq!(parse("250m"), Ok(Some(Duration::from_millis(250))));
    assert_eq!(parse("99999999H").map(|t| t.is_some()), Ok(true));
    for broken in ["S", "", "10", "-1S", "1.5S", "10x", "+3S"] {
        assert_eq!(parse(broken), Err(Code::Internal), "{broken}");
    }
    assert_eq!(timeout(&HeaderMap::new()).expect("none"), None);
}

#[test]
fn large_messages_are_not_copied() {
    let message = Bytes::from(vec![7; COPY_BYTES_MAX + 1]);
    let ResponseBody::Message { first, second, .. } = response(message.clone(), Encoding::Identity).into_body() else {
        panic!("a message")
    };
    assert_eq!((first.len(), second.as_ptr()), (PREFIX_BYTES, message.as_ptr()));
}
