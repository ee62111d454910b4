//! Why somebody is not let in, what he is told, and what the log says about it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::Protocol;

/// The first bytes of every HTTP/2 connection.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a node's frame can be: its lane, and whether it is complete.
const PEER_FIRST_BYTES: [u8; 2] = [0x80, 0x00];

const HTTP1_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    This port speaks gRPC over HTTP/2 only.\n";
/// A fatal alert: protocol version.
const TLS_ANSWER: &[u8] = &[21, 3, 1, 0, 2, 2, 70];

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Went away without a word, as probes do.
    Left,
    Silent,
    Tls(String),
    /// TLS at a port that has none.
    SpeaksTls,
    SpeaksHttp1,
    Unknown,
    /// Something else than HTTP/1.
    NoHttp,
    /// Something else than the frames of a node.
    NoNode,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("it left without a word"),
            Self::Silent => f.write_str("it did not say in time what it wants"),
            Self::Tls(reason) => f.write_str(reason),
            Self::SpeaksTls => f.write_str("it speaks TLS, and this port has no certificate"),
            Self::SpeaksHttp1 => f.write_str("it speaks HTTP/1, not gRPC over HTTP/2"),
            Self::Unknown => f.write_str("it speaks neither HTTP/2 nor TLS"),
            Self::NoHttp => f.write_str("it does not speak HTTP/1"),
            Self::NoNode => f.write_str("it does not speak as a node does"),
        }
    }
}

impl Refusal {
    /// What the refused one can understand.
    pub(super) const fn answer(&self) -> &'static [u8] {
        match self {
            Self::SpeaksTls => TLS_ANSWER,
            Self::SpeaksHttp1 => HTTP1_ANSWER,
            Self::Left | Self::Silent | Self::Tls(_) | Self::Unknown | Self::NoHttp | Self::NoNode => &[],
        }
    }
}

/// Whether the first bytes are enough to let somebody in; false: more are needed.
pub(super) fn judge(protocol: Protocol, prefix: &[u8]) -> Result<bool, Refusal> {
    let Some(first) = prefix.first() else { return Ok(false) };
    match protocol {
        Protocol::Http1 if *first != 0x16 && !prefix.starts_with(b"PRI") => match prefix.len() {
            0..3 => Ok(false),
            _ if is_http1(prefix) => Ok(true),
            _ => Err(Refusal::NoHttp),
        },
        Protocol::Http1 if *first != 0x16 => Err(Refusal::NoHttp),
        Protocol::Peer if PEER_FIRST_BYTES.contains(first) => Ok(true),
        Protocol::Http2 if prefix == PREFACE => Ok(true),
        Protocol::Http2 if PREFACE.starts_with(prefix) => Ok(false),
        _ if *first == 0x16 => Err(Refusal::SpeaksTls),
        Protocol::Peer => Err(Refusal::NoNode),
        Protocol::Http1 => Err(Refusal::NoHttp),
        Protocol::Http2 if is_http1(prefix) => Err(Refusal::SpeaksHttp1),
        Protocol::Http2 => Err(Refusal::Unknown),
    }
}

/// The first bytes of a method, which is as much as there may be yet.
fn is_http1(prefix: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] =
        [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"TRACE "];
    METHODS.iter().any(|method| prefix.starts_with(&method[..method.len().min(prefix.len())]))
}

/// Tells the log, but not each of ten thousand times.
pub(super) struct Refusals {
    port: &'static str,
    state: Mutex<State>,
}

struct State {
    since: Instant,
    told: u32,
    untold: u64,
}

const TOLD_MAX: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

impl Refusals {
    pub(super) fn new(port: &'static str) -> Self {
        Self { port, state: Mutex::new(State { since: Instant::now(), told: 0, untold: 0 }) }
    }

    pub(super) fn log(&self, address: SocketAddr, reason: &str) {
        let port = self.port;
        if reason == Refusal::Left.to_string() {
            tracing::debug!(port, %address, reason, "refused a connection");
            return;
        }
        let untold = {
            let mut state = self.state.lock().expect("no panic while held");
            if state.since.elapsed() > PERIOD {
                *state = State { since: Instant::now(), told: 0, untold: state.untold };
            }
            if state.told >= TOLD_MAX {
                state.untold += 1;
                return;
            }
            state.told += 1;
            std::mem::take(&mut state.untold)
        };
        if untold > 0 {
            tracing::warn!(port, untold, "refused more connections than are listed here");
        }
        tracing::warn!(port, %address, reason, "refused a connection");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_who_speaks() {
        for (protocol, prefix, expected) in [
            (Protocol::Http2, &b""[..], Ok(false)),
            (Protocol::Http2, b"PRI * HT", Ok(false)),
            (Protocol::Http2, PREFACE, Ok(true)),
            (Protocol::Http2, b"P", Ok(false)),
            (Protocol::Http2, b"PO", Err(Refusal::SpeaksHttp1)),
            (Protocol::Http2, b"GET / HTTP/1.1\r\n", Err(Refusal::SpeaksHttp1)),
            (Protocol::Http2, &[0x16, 3, 1], Err(Refusal::SpeaksTls)),
            (Protocol::Http2, &[0xff], Err(Refusal::Unknown)),
            (Protocol::Http1, b"GE", Ok(false)),
            (Protocol::Http1, b"GET ", Ok(true)),
            (Protocol::Http1, b"PRI * HT", Err(Refusal::NoHttp)),
            (Protocol::Http1, &[0x16, 3, 1], Err(Refusal::SpeaksTls)),
            (Protocol::Peer, &[0x80], Ok(true)),
            (Protocol::Peer, &[0x16], Err(Refusal::SpeaksTls)),
            (Protocol::Peer, b"PRI", Err(Refusal::NoNode)),
        ] {
            assert_eq!(judge(protocol, prefix), expected, "{protocol:?} {prefix:?}");
        }
    }
}
