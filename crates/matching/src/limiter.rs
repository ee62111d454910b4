//! How fast a queue may hand out tasks: a bucket that holds one second's worth of tasks
//! and fills at the rate. A pure function of the times it is given.
//!
//! The bucket is one number: when it will be full again. A task may go while that is at
//! most a second away; each one that goes moves it on by the time between two tasks.

use std::time::Duration;

use temporalio_protos::temporal::api::enums::v1::RateLimitSource;

/// What may go at once after a silence.
const BURST: Duration = Duration::from_secs(1);
/// Slower than that is never.
const INTERVAL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Times are counted from the start of the service.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Limiter {
    /// Between two tasks; `None` stops them all.
    interval: Option<Duration>,
    full_at: Duration,
}

impl Limiter {
    pub(crate) fn new(per_second: f64) -> Self {
        Self { interval: interval(per_second), full_at: Duration::ZERO }
    }

    /// Takes effect at once: what a slower rate has put far off comes nearer.
    pub(crate) fn set_rate(&mut self, per_second: f64, now: Duration) {
        self.interval = interval(per_second);
        if let Some(interval) = self.interval {
            self.full_at = self.full_at.min(now + BURST + interval);
        }
    }

    /// When the next task may go; `None` is never.
    pub(crate) fn ready_at(&self) -> Option<Duration> {
        self.interval.map(|_| self.full_at.saturating_sub(BURST))
    }

    pub(crate) fn is_ready(&self, now: Duration) -> bool {
        self.ready_at().is_some_and(|at| at <= now)
    }

    /// A task goes.
    pub(crate) fn take(&mut self, now: Duration) {
        if let Some(interval) = self.interval {
            self.full_at = self.full_at.max(now) + interval;
        }
    }
}

fn interval(per_second: f64) -> Option<Duration> {
    // Not a number is no rate either.
    if per_second > 0.0 {
        Some(Duration::try_from_secs_f64(1.0 / per_second).map_or(INTERVAL_MAX, |interval| interval.min(INTERVAL_MAX)))
    } else {
        None
    }
}

/// The rate of a queue in force, and who set it: what an operator set goes before what the
/// last poll said, and neither goes past the system's own.
pub(crate) fn effective(api: Option<f64>, worker: Option<f64>, system: f64) -> (f64, RateLimitSource) {
    let wanted = match (api, worker) {
        (Some(api), _) => Some((api, RateLimitSource::Api)),
        (None, Some(worker)) => Some((worker, RateLimitSource::Worker)),
        (None, None) => None,
    };
    match wanted {
        Some((rate, source)) if rate < system => (rate, source),
        _ => (system, RateLimitSource::System),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// How many tasks go between two times, asked every millisecond.
    fn count(limiter: &mut Limiter, from: u64, to: u64) -> usize {
        let mut count = 0;
        for now in (from..to).map(millis) {
            while limiter.is_ready(now) {
                limiter.take(now);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_second_goes_at_once_and_then_the_rate_holds() {
        let mut limiter = Limiter::new(5.0);
        let burst = count(&mut limiter, 10_000, 10_001);
        assert!((5..=6).contains(&burst), "{burst}");
        let steady = count(&mut limiter, 10_001, 20_001);
        assert!((49..=51).contains(&steady), "{steady}");
    }

    #[test]
    fn slow_rates_let_one_go_at_a_time() {
        let mut limiter = Limiter::new(0.5);
        assert_eq!(count(&mut limiter, 0, 1), 1);
        let steady = count(&mut limiter, 1, 20_001);
        assert!((9..=11).contains(&steady), "{steady}");
    }

    #[test]
    fn zero_stops_and_a_new_rate_counts_at_once() {
        let mut limiter = Limiter::new(0.0);
        assert_eq!((count(&mut limiter, 0, 5000), limiter.ready_at()), (0, None));
        limiter.set_rate(0.001, millis(5000));
        assert_eq!(count(&mut limiter, 5000, 6000), 1);
        // The next one would be due in a quarter of an hour.
        limiter.set_rate(10.0, millis(6000));
        let steady = count(&mut limiter, 6000, 16_000);
        assert!((99..=111).contains(&steady), "{steady}");
        for silly in [f64::NAN, -1.0, f64::INFINITY, 1e-300, 1e300] {
            limiter.set_rate(silly, millis(16_000));
            limiter.take(millis(16_000));
        }
    }

    #[test]
    fn operators_go_before_workers_and_the_system_before_both() {
        assert_eq!(effective(None, None, 100.0), (100.0, RateLimitSource::System));
        assert_eq!(effective(None, Some(5.0), 100.0), (5.0, RateLimitSource::Worker));
        assert_eq!(effective(Some(7.0), Some(5.0), 100.0), (7.0, RateLimitSource::Api));
        assert_eq!(effective(Some(700.0), Some(5.0), 100.0), (100.0, RateLimitSource::System));
        assert_eq!(effective(None, Some(f64::NAN), 100.0), (100.0, RateLimitSource::System));
    }
}
