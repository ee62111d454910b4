//! From text to schedule. `None` is "not a schedule": callers have one message for all of it.
//!
//! ```text
//! spec    [("CRON_TZ=" | "TZ=") zone " "] ("@" descriptor | field{5})
//! field   range {"," range}
//! range   ("*" | "?" | value) ["-" value] ["/" step]        N/step means N-max/step
//! ```

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Days, Kind, Spec};

struct Field {
    values: RangeInclusive<u64>,
    /// Names of the values from the first one on.
    names: &'static [&'static str],
}

const MINUTE: Field = Field { values: 0..=59, names: &[] };
const HOUR: Field = Field { values: 0..=23, names: &[] };
const DAY_OF_MONTH: Field = Field { values: 1..=31, names: &[] };
const MONTH: Field = Field {
    values: 1..=12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const DAY_OF_WEEK: Field = Field { values: 0..=6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// The values of a field, and whether it stands for "any" (a star without a step).
#[derive(Clone, Copy, Default)]
struct Set {
    bits: u64,
    any: bool,
}

pub(super) fn schedule(text: &str) -> Option<Kind> {
    let (zone, text) = zone(text)?;
    if let Some(descriptor) = text.strip_prefix('@') {
        return described(descriptor, zone);
    }
    let mut fields = text.split_whitespace();
    let mut next = |field: &Field| set(fields.next()?, field);
    let (minutes, hours) = (next(&MINUTE)?, next(&HOUR)?);
    let (of_month, months, of_week) = (next(&DAY_OF_MONTH)?, next(&MONTH)?, next(&DAY_OF_WEEK)?);
    if fields.next().is_some() {
        return None;
    }
    Some(Kind::Spec(Spec {
        minutes: minutes.bits,
        hours: hours.bits,
        days_of_month: of_month.bits,
        months: months.bits,
        days_of_week: of_week.bits,
        days: if of_month.any || of_week.any { Days::Both } else { Days::Either },
        zone,
    }))
}

fn zone(text: &str) -> Option<(TimeZone, &str)> {
    let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Some((TimeZone::UTC, text));
    };
    let (name, rest) = rest.split_once(' ')?;
    let zone = match name {
        // "Local" would be the server's own zone, which must not matter.
        "" | "UTC" | "Local" => TimeZone::UTC,
        name => TimeZone::get(name).ok()?,
    };
    Some((zone, rest.trim()))
}

fn described(descriptor: &str, zone: TimeZone) -> Option<Kind> {
    if let Some(period) = descriptor.strip_prefix("every ") {
        return Some(Kind::Every(Duration::from_secs(seconds(period)?.max(1))));
    }
    let fields = match descriptor {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        _ => return None,
    };
    let Kind::Spec(spec) = schedule(fields)? else { return None };
    Some(Kind::Spec(Spec { zone, ..spec }))
}

fn set(text: &str, field: &Field) -> Option<Set> {
    let mut union = Set::default();
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let Set { bits, any } = self::range(range, field)?;
        union.bits |= bits;
        union.any |= any;
    }
    Some(union)
}

fn range(text: &str, field: &Field) -> Option<Set> {
    let (bounds, step) = match text.split_once('/') {
        Some((bounds, step)) => (bounds, Some(number(step)?)),
        None => (text, None),
    };
    let mut ends = bounds.split('-');
    let first = ends.next()?;
    let (start, end, star) = if matches!(first, "*" | "?") {
        // What follows a star is not looked at.
        (*field.values.start(), *field.values.end(), true)
    } else {
        let start = value(first, field)?;
        match (ends.next(), ends.next()) {
            (None, _) if step.is_some() => (start, *field.values.end(), false),
            (None, _) => (start, start, false),
            (Some(end), None) => (start, value(end, field)?, false),
            (Some(_), Some(_)) => return None,
        }
    };
    let step = step.unwrap_or(1);
    if step == 0 || start > end || !field.values.contains(&start) || !field.values.contains(&end) {
        return None;
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    let bits = (start..=end).step_by(step).fold(0, |bits, value| bits | 1 << value);
    Some(Set { bits, any: star && step == 1 })
}

fn value(text: &str, field: &Field) -> Option<u64> {
    match field.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        Some(position) => Some(field.values.start() + u64::try_from(position).ok()?),
        None => number(text),
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// Whole seconds of a duration like `1h30m`, `90s`, `1.5h`; the rest is cut off, and a
/// negative one counts as zero.
fn seconds(text: &str) -> Option<u64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if text == "0" {
        return Some(0);
    }
    let (mut nanos, mut rest) = part(text)?;
    while !rest.is_empty() {
        let (more, after) = part(rest)?;
        nanos = nanos.checked_add(more)?;
        rest = after;
    }
    // A longer duration than this does not exist where the syntax comes from.
    if nanos > u128::from(u64::MAX >> 1) {
        return None;
    }
    if negative { Some(0) } else { u64::try_from(nanos / 1_000_000_000).ok() }
}

/// The nanoseconds of one number with its unit, and what follows it.
fn part(text: &str) -> Option<(u128, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_length = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_length);
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits beyond these are below a nanosecond even of an hour.
    let fraction = &fraction[..fraction.len().min(15)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some((u128::from(whole) * unit + fraction * unit / scale, rest))
}
