//! What is counted, and when. Latency is that of every operation issued after the warm-up,
//! however late it ends, so that slow ones are not left out; throughput counts completions
//! inside the window.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

/// Histograms hold microseconds up to an hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// When the load ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    After(Duration),
    Count(u64),
}

/// Leave to do one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket {
    /// Counts from 0, warm-up included.
    pub number: u64,
    pub measured: bool,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    completed: u64,
}

#[derive(Default)]
struct Window {
    opened: Option<Mark>,
    closed: Option<Mark>,
}

pub(super) struct Meter {
    warm_until: Instant,
    stop: Stop,
    issued: AtomicU64,
    issued_measured: AtomicU64,
    completed: AtomicU64,
    window: Mutex<Window>,
    latency: Mutex<Histogram<u64>>,
    /// How long after its due time a timer's event is dated.
    fired_late: Mutex<Histogram<u64>>,
    /// How long after its due time the worker learnt of it.
    seen_late: Mutex<Histogram<u64>>,
    early_timers: AtomicU64,
}

impl Meter {
    pub(super) fn new(warmup: Duration, stop: Stop) -> Self {
        Self {
            warm_until: Instant::now() + warmup,
            stop,
            issued: AtomicU64::new(0),
            issued_measured: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            window: Mutex::default(),
            latency: histogram(),
            fired_late: histogram(),
            seen_late: histogram(),
            early_timers: AtomicU64::new(0),
        }
    }

    /// The next operation, until there are enough.
    pub(super) fn next(&self) -> Option<Ticket> {
        let now = Instant::now();
        let measured = now >= self.warm_until;
        if measured {
            let nth = self.issued_measured.fetch_add(1, Ordering::Relaxed);
            let over = match self.stop {
                Stop::After(duration) => now >= self.warm_until + duration,
                Stop::Count(count) => nth >= count,
            };
            if over {
                return None;
            }
        }
        Some(Ticket { number: self.issued.fetch_add(1, Ordering::Relaxed), measured })
    }

    pub(super) fn complete(&self, ticket: Ticket, took: Duration) {
        self.completed.fetch_add(1, Ordering::Relaxed);
        if ticket.measured {
            record(&self.latency, took);
        }
    }

    pub(super) fn early_timer(&self) {
        self.early_timers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn early_timers(&self) -> u64 {
        self.early_timers.load(Ordering::Relaxed)
    }

    pub(super) fn timer(&self, fired_late: Duration, seen_late: Duration) {
        if Instant::now() >= self.warm_until {
            record(&self.fired_late, fired_late);
            record(&self.seen_late, seen_late);
        }
    }

    pub(super) fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    pub(super) async fn warm(&self) {
        tokio::time::sleep_until(self.warm_until).await;
    }

    /// The end of the time to measure; never, when operations are counted instead.
    pub(super) async fn ended(&self) {
        match self.stop {
            Stop::After(duration) => tokio::time::sleep_until(self.warm_until + duration).await,
            Stop::Count(_) => std::future::pending().await,
        }
    }

    pub(super) fn open_window(&self) {
        let mark = self.mark();
        self.window.lock().unwrap_or_else(PoisonError::into_inner).opened = Some(mark);
    }

    pub(super) fn close_window(&self) {
        let mark = self.mark();
        self.window.lock().unwrap_or_else(PoisonError::into_inner).closed = Some(mark);
    }

    /// Completions inside the window, and its length.
    pub(super) fn window(&self) -> (u64, Duration) {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        match (window.opened, window.closed) {
            (Some(opened), Some(closed)) => (closed.completed - opened.completed, closed.at - opened.at),
            _ => (0, Duration::ZERO),
        }
    }

    pub(super) fn latency(&self) -> Histogram<u64> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn fired_late(&self) -> Histogram<u64> {
        self.fired_late.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn seen_late(&self) -> Histogram<u64> {
        self.seen_late.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn mark(&self) -> Mark {
        Mark { at: Instant::now(), completed: self.completed.load(Ordering::Relaxed) }
    }
}

fn histogram() -> Mutex<Histogram<u64>> {
    Mutex::new(Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("constant bounds are valid"))
}

fn record(histogram: &Mutex<Histogram<u64>>, took: Duration) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(MICROS_MAX).max(1);
    histogram.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counted_operations_are_issued_exactly() {
        let meter = Meter::new(Duration::ZERO, Stop::Count(3));
        let tickets: Vec<u64> = std::iter::from_fn(|| meter.next()).map(|ticket| ticket.number).collect();
        assert_eq!(tickets, [0, 1, 2]);
        assert!(meter.next().is_none());
        assert_eq!(meter.issued(), 3);
    }

    #[tokio::test]
    async fn warm_up_counts_in_no_latency() {
        let meter = Meter::new(Duration::from_secs(3600), Stop::Count(1));
        let ticket = meter.next().unwrap();
        assert!(!ticket.measured);
        meter.open_window();
        meter.complete(ticket, Duration::from_millis(5));
        meter.close_window();
        assert_eq!(meter.latency().len(), 0);
        assert_eq!(meter.window().0, 1);
    }
}
