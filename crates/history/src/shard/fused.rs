//! Fused dispatch: an activity is handed to a poller that waits on this node, in the very
//! batch that schedules it. It saves one commit; the poller gets the task at commit.

use api::internal::PartitionKey;
use bytes::Bytes;
use cluster::{ActivityReservation, PartitionOwner};
use execution::workflow::{ActivityTaskRef, Command, Reply, ReturnActivityTask, StartActivityTask, Task};
use prost::Message;

use super::batch::Delivery;
use super::dispatch;
use super::draft::Draft;
use super::leader::{Fault, Leader};

impl Leader {
    /// Starts those of the draft's new activities for which a poller is waiting here.
    pub(super) fn fuse_activities(&mut self, draft: &mut Draft) -> Result<Vec<Delivery>, Fault> {
        let mut deliveries = Vec::new();
        if !self.context.config.fused_dispatch {
            return Ok(deliveries);
        }
        let mut left = Vec::with_capacity(draft.tasks.len());
        for task in std::mem::take(&mut draft.tasks) {
            let delivery = match &task {
                Task::Activity(reference) => self.fuse(draft, reference, &task)?,
                Task::Workflow(_) | Task::Errand(_) => None,
            };
            match delivery {
                Some(delivery) => deliveries.push(delivery),
                None => left.push(task),
            }
        }
        draft.tasks = left;
        Ok(deliveries)
    }

    fn fuse(&mut self, draft: &mut Draft, reference: &ActivityTaskRef, task: &Task) -> Result<Option<Delivery>, Fault> {
        let (queue, _) = dispatch::describe(&draft.run, task);
        let Some(ActivityReservation { poll, deliver }) = self.reserve(&queue.partition()) else { return Ok(None) };
        let request_id = self.context.entropy.uuid();
        let start = StartActivityTask {
            scheduled_event_id: reference.scheduled_event_id,
            stamp: reference.stamp,
            request_id: request_id.clone(),
            poll,
        };
        let Reply::ActivityTaskStarted(started) = self.step(draft, Command::StartActivityTask(Box::new(start)))? else {
            return Ok(None);
        };
        let response: Bytes = self.activity_response(&draft.run, *started).encode_to_vec().into();
        Ok(Some(Delivery {
            run: draft.run.clone(),
            scheduled_event_id: reference.scheduled_event_id,
            request_id,
            poller: deliver,
            response,
        }))
    }

    /// Dropping what it returns puts the poller back.
    fn reserve(&self, partition: &PartitionKey) -> Option<ActivityReservation> {
        if self.context.router.partition_owner(partition) != PartitionOwner::Local {
            return None;
        }
        self.context.router.local_matching()?.reserve_activity_poller(partition)
    }

    /// Hands a started activity to its poller. One that left meanwhile does not hold it up:
    /// the start is undone and the task offered as usual.
    pub(super) fn deliver(&mut self, delivery: Delivery) {
        let Delivery { run, scheduled_event_id, request_id, poller, response } = delivery;
        if poller.send(response).is_ok() {
            return;
        }
        self.begin();
        let undone = self.draft(&run).and_then(|mut draft| {
            let command = ReturnActivityTask { scheduled_event_id, request_id };
            self.step(&mut draft, Command::ReturnActivityTask(Box::new(command)))?;
            self.record(draft);
            Ok(())
        });
        if undone.is_err() {
            tracing::warn!(?run, scheduled_event_id, "an activity that nobody got is left to its timeout");
        }
    }
}
