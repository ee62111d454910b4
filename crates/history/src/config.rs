//! Sizes and times of the shard runtime.

use std::time::Duration;

use execution::Limits;

/// Every field has a default that suits both one node and a cluster. Counts are per shard,
/// unless they are said to be of the node: those are shared out evenly among its shards.
#[derive(Clone, Debug)]
pub struct Config {
    /// Requests that wait for the loop; more are refused as exhausted.
    pub inputs_max: usize,
    /// Requests evaluated before what they wrote is proposed.
    pub batch_inputs_max: usize,
    /// Bytes of keys and values after which a batch is proposed.
    pub batch_bytes_max: usize,
    /// Batches proposed and not yet committed.
    pub pipeline_depth: usize,
    /// Of the node: runs kept in memory. Those with a started workflow task are kept beyond it.
    pub cache_runs_max: usize,
    /// Of the node: runs kept in memory after they have closed, for those who wait for the end.
    pub cache_closed_runs_max: usize,
    /// Of the node: bytes of state and of recent history kept in memory, by estimate.
    pub cache_bytes_max: usize,
    /// Bytes of recent history kept with a run, for workers that follow it.
    pub cache_history_bytes_max: usize,
    /// How far ahead wake-ups are read into memory.
    pub timer_window: Duration,
    /// Of the node: wake-ups in memory; the window shrinks when there are more.
    pub timers_max: usize,
    /// Wake-ups handled before the requests get their turn.
    pub timers_per_turn_max: usize,
    /// Of the node: tasks that wait in memory for matching; more are found again by a scan.
    pub dispatch_tasks_max: usize,
    /// Tasks in one offer to matching.
    pub offer_tasks_max: usize,
    /// How long an offer may take.
    pub offer_timeout: Duration,
    /// After a refused offer, the next one is made at the latest then.
    pub offer_retry: Duration,
    /// For so long a new leader leaves the workflow tasks that it finds to the workers that may
    /// have got them from the last one.
    pub adoption_window: Duration,
    /// A partition that holds tasks of the shard and was silent for this long is asked
    /// whether it still has them.
    pub partition_check: Duration,
    /// Of the node: errands to other runs that wait in memory; more are found again by a scan.
    pub errands_max: usize,
    /// Errands under way at once.
    pub errands_in_flight_max: usize,
    /// How long one try of an errand may take.
    pub errand_timeout: Duration,
    /// Before the second try of an errand; doubles with each further one.
    pub errand_retry_min: Duration,
    /// The longest pause between two tries.
    pub errand_retry_max: Duration,
    /// Events of one page of history, unless the caller wants fewer.
    pub history_page_events_max: usize,
    /// Bytes after which a page of history ends.
    pub history_page_bytes_max: usize,
    /// How long a reader waits for new events before it gets an empty page.
    pub history_long_poll: Duration,
    /// Readers that wait for new events.
    pub history_waiters_max: usize,
    /// Queries of one run that wait for a workflow task.
    pub buffered_queries_max: usize,
    /// Removed runs in one batch.
    pub deletions_per_batch_max: usize,
    /// Hand an activity to a waiting poller in the batch that schedules it.
    pub fused_dispatch: bool,
    /// Compare rows with the cache after every commit; for tests and simulation.
    pub verify_rows: bool,
    /// Only for the simulator's tests of itself: a shard goes on in a new term with what it
    /// evaluated in an old one, committed or not.
    pub planted_forget_fence: bool,
    /// Limits that decisions depend on.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            inputs_max: 4096,
            batch_inputs_max: 512,
            batch_bytes_max: 1 << 20,
            pipeline_depth: 4,
            cache_runs_max: 50_000,
            cache_closed_runs_max: 1024,
            cache_bytes_max: 96 << 20,
            cache_history_bytes_max: 64 << 10,
            timer_window: Duration::from_secs(60),
            timers_max: 400_000,
            timers_per_turn_max: 256,
            dispatch_tasks_max: 100_000,
            offer_tasks_max: 256,
            offer_timeout: Duration::from_secs(5),
            offer_retry: Duration::from_millis(100),
            adoption_window: Duration::from_secs(1),
            partition_check: Duration::from_secs(5),
            errands_max: 100_000,
            errands_in_flight_max: 64,
            errand_timeout: Duration::from_secs(5),
            errand_retry_min: Duration::from_millis(50),
            errand_retry_max: Duration::from_secs(10),
            history_page_events_max: 256,
            history_page_bytes_max: 2 << 20,
            history_long_poll: Duration::from_secs(20),
            history_waiters_max: 10_000,
            buffered_queries_max: 1,
            deletions_per_batch_max: 64,
            fused_dispatch: true,
            verify_rows: false,
            planted_forget_fence: false,
            limits: Limits::default(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("history.{0} must not be zero")]
    Zero(&'static str),
}

/// What a shard gets in any case, however many there are.
const RUNS_MIN: usize = 64;
const CACHE_BYTES_MIN: usize = 512 << 10;
const TIMERS_MIN: usize = 1000;
const TASKS_MIN: usize = 256;

impl Config {
    /// The same with the node's budgets cut to those of one of `shards` shards. A budget
    /// that is small already stays as it is.
    #[must_use]
    pub(crate) fn per_shard(&self, shards: usize) -> Self {
        let share = |total: usize, min: usize| (total / shards.max(1)).max(min.min(total));
        Self {
            cache_runs_max: share(self.cache_runs_max, RUNS_MIN),
            cache_closed_runs_max: share(self.cache_closed_runs_max, RUNS_MIN),
            cache_bytes_max: share(self.cache_bytes_max, CACHE_BYTES_MIN),
            timers_max: share(self.timers_max, TIMERS_MIN),
            dispatch_tasks_max: share(self.dispatch_tasks_max, TASKS_MIN),
            errands_max: share(self.errands_max, TASKS_MIN),
            ..self.clone()
        }
    }

    pub fn validate(&self) -> Result<(), ConfigError> {
        let counts = [
            ("inputs_max", self.inputs_max),
            ("batch_inputs_max", self.batch_inputs_max),
            ("batch_bytes_max", self.batch_bytes_max),
            ("pipeline_depth", self.pipeline_depth),
            ("cache_runs_max", self.cache_runs_max),
            ("timers_max", self.timers_max),
            ("timers_per_turn_max", self.timers_per_turn_max),
            ("dispatch_tasks_max", self.dispatch_tasks_max),
            ("offer_tasks_max", self.offer_tasks_max),
            ("errands_max", self.errands_max),
            ("errands_in_flight_max", self.errands_in_flight_max),
            ("history_page_events_max", self.history_page_events_max),
            ("history_page_bytes_max", self.history_page_bytes_max),
            ("deletions_per_batch_max", self.deletions_per_batch_max),
        ];
        let durations = [
            ("timer_window", self.timer_window),
            ("offer_timeout", self.offer_timeout),
            ("offer_retry", self.offer_retry),
            ("errand_timeout", self.errand_timeout),
            ("errand_retry_min", self.errand_retry_min),
            ("errand_retry_max", self.errand_retry_max),
            ("history_long_poll", self.history_long_poll),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::Zero(name));
        }
        if let Some((name, _)) = durations.into_iter().find(|(_, duration)| duration.is_zero()) {
            return Err(ConfigError::Zero(name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_zero_is_named() {
        let config = Config { pipeline_depth: 0, ..Config::default() };
        assert_eq!(config.validate(), Err(ConfigError::Zero("pipeline_depth")));
    }

    #[test]
    fn shards_share_what_is_the_nodes() {
        let config = Config { cache_runs_max: 1000, dispatch_tasks_max: 10, ..Config::default() };
        let share = config.per_shard(4);
        assert_eq!((share.cache_runs_max, share.dispatch_tasks_max), (250, 10));
        assert_eq!(config.per_shard(500).cache_runs_max, RUNS_MIN);
        assert_eq!(share.inputs_max, config.inputs_max);
    }
}
