//! Cron schedules of workflows: five fields (minute, hour, day of month, month, day of
//! week), `@yearly`..`@hourly`, `@every 1h30m`, and a `CRON_TZ=`/`TZ=` prefix.
//!
//! A schedule is a set of instants. A spec is matched against the local clock of its zone,
//! UTC without a prefix: a local time that a clock change skips does not happen, one that it
//! repeats happens twice. When neither day field begins with a star, a day matches by either
//! of them; otherwise it must match both.

use std::time::Duration;

use base::Timestamp;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

use crate::Rejection;

mod parse;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// A spec that matches nothing in so many calendar years never matches.
const SEARCH_YEARS: i16 = 5;

#[derive(Clone, Debug)]
pub struct Schedule(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Spec(Spec),
    /// Whole seconds, at least one.
    Every(Duration),
}

/// Bit n is set when the value n matches.
#[derive(Clone, Debug)]
struct Spec {
    minutes: u64,
    hours: u64,
    days_of_month: u64,
    months: u64,
    days_of_week: u64,
    days: Days,
    zone: TimeZone,
}

/// How the two day fields combine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Days {
    Both,
    Either,
}

/// Checks a request's schedule; empty is fine, it means none.
pub fn validate(schedule: &str, now: Timestamp) -> Result<(), Rejection> {
    if schedule.is_empty() {
        return Ok(());
    }
    let Some(schedule) = Schedule::parse(schedule) else {
        return Err(Rejection::InvalidArgument("invalid CronSchedule.".into()));
    };
    match schedule.next(now) {
        Some(_) => Ok(()),
        None => {
            Err(Rejection::InvalidArgument("invalid CronSchedule, no time can be found to satisfy the schedule".into()))
        }
    }
}

/// How long after `now` the next run begins, given when the previous one was due; in whole
/// seconds, rounded up. None: there is no schedule, or no time that satisfies it.
///
/// For the first run `scheduled` is the time of the start request.
#[must_use]
pub fn next_backoff(schedule: &str, scheduled: Timestamp, now: Timestamp) -> Option<Duration> {
    let schedule = Schedule::parse(schedule)?;
    let next = if now < scheduled { scheduled } else { schedule.next_from(scheduled, now)? };
    let seconds = next.since(now).as_nanos().div_ceil(u128::from(NANOS_PER_SECOND));
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
}

impl Schedule {
    /// None when the text is not a schedule.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse::schedule(text).map(Self)
    }

    /// The first time after `after`.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every(period) => Some(whole_second(after) + *period),
            Kind::Spec(spec) => spec.next(after),
        }
    }

    /// The first time of the sequence begun by `scheduled` that is at or after `now`, which
    /// is not before `scheduled`.
    fn next_from(&self, scheduled: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every(period) => {
                let origin = whole_second(scheduled);
                let periods = now.since(origin).as_nanos().div_ceil(period.as_nanos()).max(1);
                let nanos = u64::try_from(period.as_nanos().saturating_mul(periods)).unwrap_or(u64::MAX);
                Some(origin + Duration::from_nanos(nanos))
            }
            Kind::Spec(spec) => spec.next(scheduled.max(now - Duration::from_nanos(1))),
        }
    }
}

impl Spec {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let first = whole_second(after) + Duration::from_secs(1);
        let first = jiff::Timestamp::from_nanosecond(i128::from(first.as_nanos())).ok()?;
        let mut time = first.to_zoned(self.zone.clone());
        let last_year = time.year().saturating_add(SEARCH_YEARS);
        while time.year() <= last_year {
            time = if !has(self.months, time.month()) {
                time.first_of_month().ok()?.checked_add(1.month()).ok()?.start_of_day().ok()?
            } else if !self.matches_day(&time) {
                time.tomorrow().ok()?.start_of_day().ok()?
            } else if !has(self.hours, time.hour()) {
                let left = 3600 - i64::from(time.minute()) * 60 - i64::from(time.second());
                time.checked_add(left.seconds()).ok()?
            } else if time.second() != 0 || !has(self.minutes, time.minute()) {
                time.checked_add((60 - i64::from(time.second())).seconds()).ok()?
            } else {
                let nanos = u64::try_from(time.timestamp().as_nanosecond()).ok()?;
                return Some(Timestamp::from_nanos(nanos));
            };
        }
        None
    }

    fn matches_day(&self, time: &Zoned) -> bool {
        let of_month = has(self.days_of_month, time.day());
        let of_week = has(self.days_of_week, time.weekday().to_sunday_zero_offset());
        match self.days {
            Days::Both => of_month && of_week,
            Days::Either => of_month || of_week,
        }
    }
}

fn has(bits: u64, value: i8) -> bool {
    bits >> value & 1 == 1
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_nanos(time.as_nanos() - time.as_nanos() % NANOS_PER_SECOND)
}

#[cfg(test)]
mod tests;
