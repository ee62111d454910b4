//! `DescribeTaskQueue`, as far as the owner of a partition can tell: its pollers, its
//! backlog and its rates. Older tools ask in "enhanced" mode, for several types at once;
//! they are told of the partitions that live here.

use std::collections::HashMap;
use std::time::Duration;

use base::Timestamp;
use bytes::Bytes;
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::{DescribeTaskQueueMode, TaskQueueType};
use temporalio_protos::temporal::api::taskqueue::v1::{
    PollerInfo, TaskIdBlock, TaskQueueStats, TaskQueueStatus, TaskQueueTypeInfo, TaskQueueVersionInfo,
};
use temporalio_protos::temporal::api::workflowservice::v1::{DescribeTaskQueueRequest, DescribeTaskQueueResponse};

use crate::Handle;
use crate::key::Key;
use crate::state::{Slot, Work};
use crate::statistics::UNLIMITED_RATE;

impl Handle {
    /// The encoded `DescribeTaskQueueResponse`.
    #[expect(deprecated, reason = "older tools use the enhanced mode")]
    pub(crate) fn describe(&self, key: &Key, request: &DescribeTaskQueueRequest) -> Bytes {
        let mut response = DescribeTaskQueueResponse::default();
        if request.api_mode() == DescribeTaskQueueMode::Enhanced {
            response.versions_info = self.unversioned_info(key, request);
        } else {
            response.pollers = self.recent_pollers(key);
            response.stats = request.report_stats.then(|| self.stats(key));
            response.task_queue_status = request.include_task_queue_status.then(|| self.status(key));
        }
        response.encode_to_vec().into()
    }

    /// The empty build id stands for workers without one.
    #[expect(deprecated, reason = "older tools use the enhanced mode")]
    fn unversioned_info(&self, key: &Key, request: &DescribeTaskQueueRequest) -> HashMap<String, TaskQueueVersionInfo> {
        let all = [TaskQueueType::Workflow, TaskQueueType::Activity];
        let asked = all.into_iter().filter(|kind| {
            request.task_queue_types.is_empty() || request.task_queue_types().any(|asked| asked == *kind)
        });
        let types_info = asked.map(|kind| {
            let key = Key { activity: kind == TaskQueueType::Activity, ..key.clone() };
            let pollers = if request.report_pollers { self.recent_pollers(&key) } else { Vec::new() };
            let stats = request.report_stats.then(|| self.stats(&key));
            (kind.into(), TaskQueueTypeInfo { pollers, stats })
        });
        let info = TaskQueueVersionInfo { types_info: types_info.collect(), ..Default::default() };
        HashMap::from([(String::new(), info)])
    }

    fn recent_pollers(&self, key: &Key) -> Vec<PollerInfo> {
        let since = self.inner.clock.now() - self.inner.config.poller_history;
        self.with_slot(key, |slot| slot.workers.since(since)).unwrap_or_default()
    }

    fn stats(&self, key: &Key) -> TaskQueueStats {
        let now = self.now();
        let time = self.inner.clock.now();
        let stats = self.with_slot(key, |slot| TaskQueueStats {
            approximate_backlog_count: i64::try_from(slot.matcher.backlog()).unwrap_or(i64::MAX),
            approximate_backlog_age: Some(backlog_age(slot, time).try_into().unwrap_or_default()),
            tasks_add_rate: slot.added.at(now) as f32,
            tasks_dispatch_rate: slot.dispatched.at(now) as f32,
            rate_limiting_active: false,
        });
        stats.unwrap_or_else(|| TaskQueueStats {
            approximate_backlog_age: Some(Default::default()),
            ..Default::default()
        })
    }

    fn status(&self, key: &Key) -> TaskQueueStatus {
        let backlog = self.with_slot(key, |slot| slot.matcher.backlog()).unwrap_or_default();
        TaskQueueStatus {
            backlog_count_hint: i64::try_from(backlog).unwrap_or(i64::MAX),
            rate_per_second: UNLIMITED_RATE,
            // Our queues have no blocks of stored ids.
            task_id_block: Some(TaskIdBlock::default()),
            ..Default::default()
        }
    }

    fn with_slot<T>(&self, key: &Key, look: impl FnOnce(&Slot) -> T) -> Option<T> {
        self.lock().partitions.get(key).map(look)
    }
}

/// The age of the oldest task that has no poller.
fn backlog_age(slot: &Slot, now: Timestamp) -> Duration {
    let scheduled = slot.matcher.waiting().filter_map(|work| match work {
        Work::Start(start) => start.task.scheduled_time.as_ref().map(Timestamp::from_proto),
        Work::Query { .. } => None,
    });
    scheduled.min().map_or(Duration::ZERO, |oldest| now.since(oldest))
}
