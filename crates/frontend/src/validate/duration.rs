//! Durations as clients send them: any two integers.

use prost_types::Duration;

/// A hundred years; longer is as good as for ever.
const SECONDS_MAX: i64 = 100 * 365 * 24 * 60 * 60;

/// Refuses what is no duration and shortens what is too long. Absent is fine.
pub(crate) fn cap(duration: &mut Option<Duration>) -> Result<(), &'static str> {
    let Some(duration) = duration else { return Ok(()) };
    let (seconds, nanos) = (duration.seconds, duration.nanos);
    if (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0) {
        return Err("duration has seconds and nanos with different signs");
    }
    if seconds < 0 || nanos < 0 {
        return Err("negative duration");
    }
    if total_nanos(duration) > i128::from(SECONDS_MAX) * 1_000_000_000 {
        *duration = Duration { seconds: SECONDS_MAX, nanos: 0 };
    }
    Ok(())
}

/// Zero when absent. The nanoseconds of a client need not stay below a second.
pub(super) fn nanos(duration: Option<&Duration>) -> i128 {
    duration.map_or(0, total_nanos)
}

fn total_nanos(duration: &Duration) -> i128 {
    i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_caps() {
        let capped = |seconds, nanos| {
            let mut duration = Some(Duration { seconds, nanos });
            cap(&mut duration).map(|()| duration.expect("still there").seconds)
        };
        assert_eq!(capped(5, 0), Ok(5));
        assert_eq!(capped(i64::MAX, i32::MAX), Ok(SECONDS_MAX));
        assert_eq!(capped(0, -1), Err("negative duration"));
        assert_eq!(capped(i64::MIN, i32::MIN), Err("negative duration"));
        assert_eq!(capped(1, -1), Err("duration has seconds and nanos with different signs"));
        assert_eq!(cap(&mut None), Ok(()));
    }
}
