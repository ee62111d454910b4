//! Counters per RPC: `service_requests`, `service_errors` by code, `service_latency`.
//! Plain atomics on the hot path; whoever renders them takes a snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::METHODS;
use tonic::Code;

/// Upper bounds of the latency buckets; the last bucket has none.
pub const LATENCY_BOUNDS_MS: [u64; 14] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 20_000, 60_000];

/// gRPC has seventeen codes, 0 to 16.
const CODES: usize = 17;

#[derive(Default)]
struct Operation {
    requests: AtomicU64,
    errors: [AtomicU64; CODES],
    latency: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    latency_sum_us: AtomicU64,
}

/// One slot for each of [`api::METHODS`], in their order.
pub struct Metrics {
    operations: Vec<Operation>,
}

/// What was counted of one RPC since the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperationMetrics {
    pub operation: &'static str,
    pub service: &'static str,
    pub requests: u64,
    /// By gRPC code, those that occurred.
    pub errors: Vec<(i32, u64)>,
    /// Calls per bucket of [`LATENCY_BOUNDS_MS`], and those above the last bound.
    pub latency: Vec<u64>,
    pub latency_sum: Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { operations: METHODS.iter().map(|_| Operation::default()).collect() }
    }
}

impl Metrics {
    /// Counts one finished call of the method with this index in [`api::METHODS`].
    pub(crate) fn record(&self, method: usize, code: Code, latency: Duration) {
        let operation = &self.operations[method];
        operation.requests.fetch_add(1, Ordering::Relaxed);
        if code != Code::Ok {
            let code = usize::try_from(code as i32).unwrap_or(0);
            operation.errors[code].fetch_add(1, Ordering::Relaxed);
        }
        let millis = latency.as_millis();
        let bucket = LATENCY_BOUNDS_MS.iter().position(|bound| millis <= u128::from(*bound));
        operation.latency[bucket.unwrap_or(LATENCY_BOUNDS_MS.len())].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        operation.latency_sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// The RPCs that were called at all, in the order of [`api::METHODS`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<OperationMetrics> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        METHODS
            .iter()
            .zip(&self.operations)
            .filter(|(_, operation)| read(&operation.requests) > 0)
            .map(|(method, operation)| OperationMetrics {
                operation: method.name,
                service: method.service,
                requests: read(&operation.requests),
                errors: (0_i32..).zip(operation.errors.iter().map(read)).filter(|(_, count)| *count > 0).collect(),
                latency: operation.latency.iter().map(read).collect(),
                latency_sum: Duration::from_micros(read(&operation.latency_sum_us)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_land_in_their_buckets() {
        let metrics = Metrics::default();
        metrics.record(3, Code::Ok, Duration::from_micros(900));
        metrics.record(3, Code::NotFound, Duration::from_millis(7));
        metrics.record(3, Code::Ok, Duration::from_secs(3600));
        let [operation] = metrics.snapshot().try_into().expect("one operation");
        assert_eq!(operation.operation, METHODS[3].name);
        assert_eq!((operation.requests, operation.errors), (3, vec![(Code::NotFound as i32, 1)]));
        let counted: Vec<usize> = (0..operation.latency.len()).filter(|i| operation.latency[*i] > 0).collect();
        assert_eq!(counted, [0, 3, LATENCY_BOUNDS_MS.len()]);
    }
}
