//! The settings of this crate; every bound of the task queues is here.

use std::time::Duration;

/// Passed by value at start; [`Config::validate`] once before.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// How long a poll waits for a task before it ends with an empty answer. Default 60 s.
    pub long_poll: Duration,
    /// A poll ends this long before its caller's deadline, so that the empty answer still
    /// arrives. Default 1 s.
    pub long_poll_margin: Duration,
    /// A sticky queue that nobody polled for this long is unavailable: its tasks return to
    /// the normal queue. Default 10 s.
    pub sticky_poller_window: Duration,
    /// A query fails at once when nobody polled its queue for this long. Default 20 s.
    pub query_poller_window: Duration,
    /// How long a queue that was just loaded on this node counts as polled, so that workers
    /// can come over from its former owner before queries fail. Default 3 s.
    pub query_poller_grace: Duration,
    /// A poll for a queue that belongs to another node (views of the cluster differ for a
    /// moment) waits here at most this long. Default 1 s.
    pub misrouted_poll: Duration,
    /// How long the shard may take to start a task. Default 10 s.
    pub start_timeout: Duration,
    /// How long a task whose start failed stays aside before it is tried again.
    /// Default 200 ms.
    pub start_retry: Duration,
    /// The same when the shard answered with an error that trying again rarely heals.
    /// Default 10 s.
    pub start_retry_refused: Duration,
    /// How long the tasks of a partition that moved away are kept. Shards offer them again
    /// to the new owner when they see the move too; until then they may only be here.
    /// Default 30 s.
    pub disowned_keep: Duration,
    /// How often resting tasks, silent sticky queues and idle queues are looked for.
    /// Default 250 ms.
    pub sweep_interval: Duration,
    /// A queue without pollers and tasks is forgotten after this long. Default 6 min.
    pub idle_unload: Duration,
    /// How long a worker is listed as a poller after its last poll. Default 5 min.
    pub poller_history: Duration,
    /// How long polls of a worker that has announced its shutdown are answered with nothing.
    /// Default 70 s: longer than any poll that was on its way.
    pub worker_shutdown_memory: Duration,
    /// Queue partitions loaded on this node. Default 50,000.
    pub partitions_max: usize,
    /// Polls waiting on this node. Default 100,000.
    pub pollers_max: usize,
    /// Polls waiting at one partition. Default 10,000.
    pub pollers_per_partition_max: usize,
    /// Task references held on this node. Default 200,000.
    pub tasks_max: usize,
    /// Task references of one priority held by one partition; the rest waits in the shards.
    /// Default 1,000.
    pub tasks_per_partition_max: usize,
    /// Queries waiting for a worker or its answer on this node. Default 10,000.
    pub queries_max: usize,
    /// Workers listed per partition. Default 1,000.
    pub identities_per_partition_max: usize,
    /// Workers whose shutdown is remembered. Default 10,000.
    pub worker_shutdowns_max: usize,
    /// Tasks of silent sticky queues being returned to their shards at once. Default 64.
    pub sticky_returns_concurrent_max: usize,
    /// Tasks of silent sticky queues waiting to be returned. What does not fit is left to
    /// the shard's own schedule-to-start timer. Default 10,000.
    pub sticky_returns_waiting_max: usize,
    /// Tasks per second that one partition hands out at most, whatever operators and workers
    /// allow. Default 100,000.
    pub dispatch_rate_max: f64,
    /// A poll that got a task after this long was one too many. Default 1 s.
    pub scale_down_after: Duration,
    /// More pollers are asked for when the oldest task waits for this long. Default 200 ms.
    pub scale_up_age: Duration,
    /// A worker that sent no heartbeat for this long is not listed any more. Default 5 min.
    pub worker_time_to_live: Duration,
    /// Workers that this node remembers by their heartbeats. Default 100,000.
    pub workers_max: usize,
    /// Bytes of heartbeats that this node remembers. Default 256 MiB.
    pub worker_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            long_poll: Duration::from_secs(60),
            long_poll_margin: Duration::from_secs(1),
            sticky_poller_window: Duration::from_secs(10),
            query_poller_window: Duration::from_secs(20),
            query_poller_grace: Duration::from_secs(3),
            misrouted_poll: Duration::from_secs(1),
            start_timeout: Duration::from_secs(10),
            start_retry: Duration::from_millis(200),
            start_retry_refused: Duration::from_secs(10),
            disowned_keep: Duration::from_secs(30),
            sweep_interval: Duration::from_millis(250),
            idle_unload: Duration::from_secs(360),
            poller_history: Duration::from_secs(300),
            worker_shutdown_memory: Duration::from_secs(70),
            partitions_max: 50_000,
            pollers_max: 100_000,
            pollers_per_partition_max: 10_000,
            tasks_max: 200_000,
            tasks_per_partition_max: 1_000,
            queries_max: 10_000,
            identities_per_partition_max: 1_000,
            worker_shutdowns_max: 10_000,
            sticky_returns_concurrent_max: 64,
            sticky_returns_waiting_max: 10_000,
            dispatch_rate_max: 100_000.0,
            scale_down_after: Duration::from_secs(1),
            scale_up_age: Duration::from_millis(200),
            worker_time_to_live: Duration::from_secs(300),
            workers_max: 100_000,
            worker_bytes_max: 256 << 20,
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("matching.{field}: {problem}")]
pub struct ConfigError {
    pub field: &'static str,
    pub problem: &'static str,
}

impl Config {
    /// # Errors
    /// Names the first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let durations = [
            ("long_poll", self.long_poll),
            ("sticky_poller_window", self.sticky_poller_window),
            ("query_poller_window", self.query_poller_window),
            ("misrouted_poll", self.misrouted_poll),
            ("start_timeout", self.start_timeout),
            ("start_retry", self.start_retry),
            ("start_retry_refused", self.start_retry_refused),
            ("sweep_interval", self.sweep_interval),
            ("worker_time_to_live", self.worker_time_to_live),
        ];
        let counts = [
            ("partitions_max", self.partitions_max),
            ("pollers_max", self.pollers_max),
            ("pollers_per_partition_max", self.pollers_per_partition_max),
            ("tasks_max", self.tasks_max),
            ("tasks_per_partition_max", self.tasks_per_partition_max),
            ("queries_max", self.queries_max),
            ("identities_per_partition_max", self.identities_per_partition_max),
            ("worker_shutdowns_max", self.worker_shutdowns_max),
            ("sticky_returns_concurrent_max", self.sticky_returns_concurrent_max),
            ("sticky_returns_waiting_max", self.sticky_returns_waiting_max),
            ("workers_max", self.workers_max),
            ("worker_bytes_max", self.worker_bytes_max),
        ];
        let problem = "must be more than zero";
        if let Some((field, _)) = durations.iter().find(|(_, value)| value.is_zero()) {
            return Err(ConfigError { field, problem });
        }
        if let Some((field, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError { field, problem });
        }
        // Not a number is refused, too.
        if self.dispatch_rate_max.is_nan() || self.dispatch_rate_max <= 0.0 {
            return Err(ConfigError { field: "dispatch_rate_max", problem });
        }
        if self.idle_unload < self.poller_history {
            return Err(ConfigError { field: "idle_unload", problem: "must not be shorter than poller_history" });
        }
        Ok(())
    }
}
