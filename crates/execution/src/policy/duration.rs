//! Durations as clients send them: absent, negative, absurdly long, or with signs that
//! contradict each other. After [`normalize`] the rest of the core sees none of that.

use std::time::Duration;

use prost_types::Duration as Proto;

/// A century of 365-day years: longer requests are cut to this.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Why a duration cannot be used. The text is the end of a message that names the field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    #[error("negative duration")]
    Negative,
    #[error("duration has seconds and nanos with different signs")]
    MixedSigns,
}

/// Checks a duration of a request and cuts it to [`LONGEST`]. Absent is fine: it means zero.
pub fn normalize(value: &mut Option<Proto>) -> Result<(), Invalid> {
    let Some(value) = value else { return Ok(()) };
    if (value.seconds > 0 && value.nanos < 0) || (value.seconds < 0 && value.nanos > 0) {
        return Err(Invalid::MixedSigns);
    }
    if total_nanos(value) < 0 {
        return Err(Invalid::Negative);
    }
    if of(value) > LONGEST {
        *value = proto(LONGEST);
    }
    Ok(())
}

/// The value, with absent and negative as zero; never more than an `i64` of nanoseconds.
#[must_use]
pub fn value(value: Option<&Proto>) -> Duration {
    value.map_or(Duration::ZERO, of)
}

/// The value, or nothing when it is absent, zero or negative: the usual meaning of a timeout.
#[must_use]
pub fn timeout(duration: Option<&Proto>) -> Option<Duration> {
    Some(value(duration)).filter(|duration| !duration.is_zero())
}

#[must_use]
pub fn proto(value: Duration) -> Proto {
    Proto {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).expect("below a second"),
    }
}

/// Nanoseconds with their sign, within an `i64`: what arithmetic on a raw value may use.
#[must_use]
pub fn signed_nanos(value: &Proto) -> i64 {
    let nanos = total_nanos(value).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(nanos).expect("clamped")
}

fn of(value: &Proto) -> Duration {
    Duration::from_nanos(u64::try_from(signed_nanos(value)).unwrap_or(0))
}

fn total_nanos(value: &Proto) -> i128 {
    i128::from(value.seconds) * NANOS_PER_SECOND + i128::from(value.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(seconds: i64, nanos: i32) -> Result<(i64, i32), Invalid> {
        let mut value = Some(Proto { seconds, nanos });
        normalize(&mut value)?;
        let value = value.unwrap();
        Ok((value.seconds, value.nanos))
    }

    #[test]
    fn the_good_the_bad_and_the_huge() {
        assert_eq!(normalize(&mut None), Ok(()));
        assert_eq!(normalized(0, 0), Ok((0, 0)));
        assert_eq!(normalized(5, 7), Ok((5, 7)));
        assert_eq!(normalized(-1, 0), Err(Invalid::Negative));
        assert_eq!(normalized(0, -1), Err(Invalid::Negative));
        assert_eq!(normalized(1, -1), Err(Invalid::MixedSigns));
        assert_eq!(normalized(-1, 1), Err(Invalid::MixedSigns));
        assert_eq!(normalized(3_153_600_000, 0), Ok((3_153_600_000, 0)));
        assert_eq!(normalized(3_153_600_000, 1), Ok((3_153_600_000, 0)));
        assert_eq!(normalized(i64::MAX, i32::MAX), Ok((3_153_600_000, 0)));
        assert_eq!(normalized(i64::MIN, i32::MIN), Err(Invalid::Negative));
    }

    #[test]
    fn nanos_beyond_a_second_carry_over() {
        let value = Proto { seconds: 1, nanos: 2_000_000_000 };
        assert_eq!(super::value(Some(&value)), Duration::from_secs(3));
    }

    #[test]
    fn zero_is_no_timeout() {
        assert_eq!(timeout(None), None);
        assert_eq!(timeout(Some(&Proto { seconds: 0, nanos: 0 })), None);
        assert_eq!(timeout(Some(&Proto { seconds: -3, nanos: 0 })), None);
        assert_eq!(timeout(Some(&proto(Duration::from_millis(1500)))), Some(Duration::from_millis(1500)));
    }
}
