//! How long something took, as people write it: nanoseconds, `1h30m`, `2d`, or `hh:mm:ss`.

const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9), ("d", 86_400e9)];

/// None: it is no duration.
pub(super) fn nanos(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| units(text)).or_else(|| clock(text))
}

fn units(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(rest.len());
        let (_, factor) = UNITS.into_iter().find(|(unit, _)| *unit == &rest[..end])?;
        total += value * factor;
        rest = &rest[end..];
    }
    whole(if negative { -total } else { total })
}

fn clock(text: &str) -> Option<i64> {
    let parts: Vec<i64> = text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    let in_order = hours >= 0 && (0..60).contains(&minutes) && (0..60).contains(&seconds);
    let seconds = hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)?;
    in_order.then(|| seconds.checked_mul(1_000_000_000)).flatten()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the bounds are checked")]
fn whole(value: f64) -> Option<i64> {
    (value.abs() < i64::MAX as f64).then_some(value.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_to_write_a_duration() {
        assert_eq!(nanos("1500"), Some(1500));
        assert_eq!(nanos("1h30m"), Some(5_400_000_000_000));
        assert_eq!(nanos("-1.5s"), Some(-1_500_000_000));
        assert_eq!(nanos("2d"), Some(172_800_000_000_000));
        assert_eq!(nanos("01:02:03"), Some(3_723_000_000_000));
        for wrong in ["", "1x", "h", "1:2", "1:60:00", "999999999999h"] {
            assert_eq!(nanos(wrong), None, "{wrong}");
        }
    }
}
