//! From when and until when a certificate is valid, for messages and for the check of our
//! own files. Never for trust: that is webpki's business.

use rustls::pki_types::{CertificateDer, UnixTime};

/// Seconds since 1970, inclusive on both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Validity {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// `None` when the bytes are no certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (SEQUENCE, outer, _) = element(certificate)? else { return None };
        let (SEQUENCE, mut body, _) = element(outer)? else { return None };
        if let (VERSION, _, rest) = element(body)? {
            body = rest;
        }
        // Serial number, signature algorithm and issuer come before it.
        for _ in 0..3 {
            body = element(body)?.2;
        }
        let (SEQUENCE, times, _) = element(body)? else { return None };
        let (tag, not_before, rest) = element(times)?;
        let not_before = time(tag, not_before)?;
        let (tag, not_after, _) = element(rest)?;
        Some(Self { not_before, not_after: time(tag, not_after)? })
    }
}

/// Tag, content and what follows of one DER element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        length = 0;
        for _ in 0..first & 0x7f {
            let (&byte, tail) = rest.split_first()?;
            length = length.checked_mul(256)?.checked_add(usize::from(byte))?;
            rest = tail;
        }
    }
    (length <= rest.len()).then(|| (tag, &rest[..length], &rest[length..]))
}

fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Two digits of the year, from 1950 to 2049.
        UTC_TIME => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let at = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

pub(super) fn show(time: UnixTime) -> String {
    show_seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

pub(super) fn show_seconds(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "a time out of range".to_owned(), |time| time.to_string())
}
