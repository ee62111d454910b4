//! A matching service that keeps what it is offered until a test asks for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use api::Error;
use api::internal::matching_request::Request;
use api::internal::matching_response::Response;
use api::internal::{
    DispatchQueryResponse, MatchingRequest, MatchingResponse, OfferTasksResponse, PartitionKey, TaskRef,
};
use async_trait::async_trait;
use cluster::{ActivityReservation, MatchingService};
use prost::Message;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollWorkflowTaskQueueResponse, RespondQueryTaskCompletedRequest,
};
use tokio::sync::Notify;
use tokio::time::Instant;

type Querier =
    Box<dyn Fn(&PartitionKey, PollWorkflowTaskQueueResponse) -> Option<RespondQueryTaskCompletedRequest> + Send>;

#[derive(Default)]
pub(crate) struct FakeMatching {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<(String, i32), VecDeque<TaskRef>>,
    querier: Option<Querier>,
    reservations: VecDeque<ActivityReservation>,
    /// Tasks that a queue takes before it refuses; none is no limit.
    window: Option<usize>,
    offered: usize,
    /// How often everything was lost.
    losses: u64,
    /// What the shards told of tasks that they keep back, by queue: the last word counts.
    backlogs: BTreeMap<String, u64>,
}

impl FakeMatching {
    /// The node that has the queues starts anew, and nobody notices.
    pub(crate) fn lose(&self) {
        let mut state = self.state.lock().unwrap();
        state.queues.clear();
        state.losses += 1;
    }

    /// What one shard last said of the queue.
    pub(crate) fn backlog(&self, queue: &str) -> u64 {
        self.state.lock().unwrap().backlogs.get(queue).copied().unwrap_or_default()
    }

    /// The oldest task of the queue, once there is one.
    pub(crate) async fn take(&self, queue: &str, kind: i32) -> TaskRef {
        loop {
            let changed = self.changed.notified();
            if let Some(task) = self.try_take(queue, kind) {
                return task;
            }
            changed.await;
        }
    }

    pub(crate) fn try_take(&self, queue: &str, kind: i32) -> Option<TaskRef> {
        self.state.lock().unwrap().queues.get_mut(&(queue.to_owned(), kind))?.pop_front()
    }

    pub(crate) fn answer_queries(
        &self,
        querier: impl Fn(&PartitionKey, PollWorkflowTaskQueueResponse) -> Option<RespondQueryTaskCompletedRequest>
        + Send
        + 'static,
    ) {
        self.state.lock().unwrap().querier = Some(Box::new(querier));
    }

    pub(crate) fn park(&self, reservation: ActivityReservation) {
        self.state.lock().unwrap().reservations.push_back(reservation);
    }

    pub(crate) fn limit(&self, window: usize) {
        self.state.lock().unwrap().window = Some(window);
    }

    pub(crate) fn offered(&self) -> usize {
        self.state.lock().unwrap().offered
    }
}

#[async_trait]
impl MatchingService for FakeMatching {
    async fn call(&self, request: Box<MatchingRequest>, _deadline: Instant) -> Result<MatchingResponse, Error> {
        let partition = request.partition.expect("requests name their partition");
        let mut state = self.state.lock().unwrap();
        let response = match request.request.expect("requests ask something") {
            Request::Offer(offer) => {
                let window = state.window.unwrap_or(usize::MAX);
                let generation = state.losses + 1;
                if !offer.tasks.is_empty() {
                    let backlog = offer.backlog.iter().map(|backlog| backlog.count).sum();
                    state.backlogs.insert(partition.task_queue.clone(), backlog);
                }
                let queue = state.queues.entry((partition.task_queue, partition.kind)).or_default();
                let room = window.saturating_sub(queue.len());
                let accepted = offer.tasks.len().min(room);
                queue.extend(offer.tasks.into_iter().take(accepted));
                let credit = u32::try_from(room - accepted).unwrap_or(u32::MAX);
                state.offered += accepted;
                self.changed.notify_waiters();
                Response::Offer(OfferTasksResponse { accepted: u32::try_from(accepted).unwrap(), credit, generation })
            }
            Request::DispatchQuery(query) => {
                let task = PollWorkflowTaskQueueResponse::decode(query.task).expect("a poll response");
                let answer = state.querier.as_ref().and_then(|querier| querier(&partition, task));
                Response::Query(DispatchQueryResponse { no_poller: answer.is_none(), answer })
            }
            other => panic!("history does not ask {other:?}"),
        };
        Ok(MatchingResponse { response: Some(response) })
    }

    fn reserve_activity_poller(&self, _partition: &PartitionKey) -> Option<ActivityReservation> {
        self.state.lock().unwrap().reservations.pop_front()
    }
}
