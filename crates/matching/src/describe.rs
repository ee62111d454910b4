//! `DescribeTaskQueue`, as far as the owner of a partition can tell: its pollers, its
//! backlog, its rates. The frontend puts the answers for several types together.

use std::collections::HashMap;
use std::time::Duration;

use api::internal::{PartitionKey, TaskKind};
use base::Timestamp;
use bytes::Bytes;
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::{RateLimitSource, TaskQueueType};
use temporalio_protos::temporal::api::taskqueue::v1::{
    TaskIdBlock, TaskQueueConfig, TaskQueueStats, TaskQueueStatus, TaskQueueVersioningInfo,
};
use temporalio_protos::temporal::api::workflowservice::v1::describe_task_queue_response::EffectiveRateLimit;
use temporalio_protos::temporal::api::workflowservice::v1::{DescribeTaskQueueRequest, DescribeTaskQueueResponse};

use crate::Handle;
use crate::key::Key;
use crate::limiter::effective;
use crate::matcher::Rank;
use crate::state::Slot;
use crate::statistics::Backlog;

/// How long a queue counts as held up after its rate last held it up.
const LIMITED_MEMORY: Duration = Duration::from_secs(30);

/// The name of the version of workers that have none.
const UNVERSIONED: &str = "__unversioned__";
/// The incumbent's time of a change that never was: the first second of the year 1.
const NEVER_SECONDS: i64 = -62_135_596_800;

impl Handle {
    /// The encoded `DescribeTaskQueueResponse`. A partition without a kind is one of tasks
    /// that are not dispatched here (Nexus), of which only the settings can be told.
    #[expect(deprecated, reason = "older tools read the old fields")]
    pub(crate) fn describe(&self, partition: PartitionKey, request: &DescribeTaskQueueRequest) -> Bytes {
        let is_served = partition.kind() != TaskKind::Unspecified;
        let key = Key::from(partition);
        let kind = if is_served { key.task_queue_type() } else { TaskQueueType::Nexus };
        let config = self.queue_config(&key, kind);
        let system = self.inner.config.dispatch_rate_max;
        let since = self.inner.clock.now() - self.inner.config.poller_history;
        let state = self.lock();
        let slot = state.partitions.get(&key).filter(|_| is_served);
        let api = config.as_ref().and_then(|config| config.queue_rate_limit.as_ref()?.rate_limit);
        let api = api.map(|limit| f64::from(limit.requests_per_second));
        let (rate, source) = effective(api, slot.and_then(|slot| slot.limits.worker), system);
        let mut response = DescribeTaskQueueResponse {
            pollers: slot.map(|slot| slot.workers.since(since)).unwrap_or_default(),
            effective_rate_limit: Some(EffectiveRateLimit {
                requests_per_second: rate as f32,
                rate_limit_source: RateLimitSource::into(source),
            }),
            versioning_info: Some(TaskQueueVersioningInfo {
                current_version: UNVERSIONED.to_owned(),
                update_time: Some(prost_types::Timestamp { seconds: NEVER_SECONDS, nanos: 0 }),
                ..Default::default()
            }),
            ..Default::default()
        };
        if request.report_stats {
            let (stats, by_priority) = self.stats(slot);
            response.stats = Some(stats);
            response.stats_by_priority_key = by_priority;
        }
        if request.report_config {
            response.config = config;
        }
        if request.include_task_queue_status {
            let backlog = slot.map(|slot| slot.backlog().values().map(|backlog| backlog.count).sum());
            response.task_queue_status = Some(TaskQueueStatus {
                backlog_count_hint: count(backlog.unwrap_or_default()),
                rate_per_second: rate,
                // Our queues have no blocks of stored ids.
                task_id_block: Some(TaskIdBlock::default()),
                ..Default::default()
            });
        }
        response.encode_to_vec().into()
    }

    fn queue_config(&self, key: &Key, kind: TaskQueueType) -> Option<TaskQueueConfig> {
        if key.sticky {
            return None;
        }
        self.inner.upstream.queue_config(&key.namespace_id, &key.task_queue, kind)
    }

    /// Of all tasks, and of each priority that has any; the default one is always told.
    fn stats(&self, slot: Option<&Slot>) -> (TaskQueueStats, HashMap<i32, TaskQueueStats>) {
        let (now, time) = (self.now(), self.inner.clock.now());
        let limited = slot.and_then(|slot| slot.matcher.last_limited());
        let rate_limiting_active = limited.is_some_and(|at| now < at + LIMITED_MEMORY);
        let told = |backlog: Backlog, added: f64, dispatched: f64| TaskQueueStats {
            approximate_backlog_count: count(backlog.count),
            approximate_backlog_age: Some(age(backlog.oldest, time)),
            tasks_add_rate: added as f32,
            tasks_dispatch_rate: dispatched as f32,
            rate_limiting_active,
        };
        let backlogs = slot.map(Slot::backlog).unwrap_or_default();
        let mut all = Backlog::default();
        let mut by_priority = HashMap::new();
        for rank in (1..=Rank::LAST.0).map(Rank) {
            let backlog = backlogs.get(&rank).copied().unwrap_or_default();
            all.add(backlog.count, backlog.oldest);
            let rates = slot.map_or((0.0, 0.0), |slot| (slot.added.of(rank, now), slot.dispatched.of(rank, now)));
            if rank == Rank::DEFAULT || backlog.count > 0 || rates != (0.0, 0.0) {
                by_priority.insert(rank.0.into(), told(backlog, rates.0, rates.1));
            }
        }
        let rates = slot.map_or((0.0, 0.0), |slot| (slot.added.all(now), slot.dispatched.all(now)));
        (told(all, rates.0, rates.1), by_priority)
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn age(oldest: Option<Timestamp>, now: Timestamp) -> prost_types::Duration {
    oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)).try_into().unwrap_or_default()
}
