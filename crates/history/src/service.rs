//! The shards of a node as one service: finds the shard of a request, asks its loop, and
//! does the waiting that no loop should do (long polls, queries).

mod query;
mod update;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::Error;
use api::internal::history_request::Request;
use api::internal::{HistoryRequest, HistoryResponse};
use async_trait::async_trait;
use base::{Cell, CellRange, Clock, Entropy, ShardId};
use cluster::{HistoryService, Namespaces, Router, bind};
use consensus::Group;
use storage::Kv;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::shard::{self, Answer, Ask, Context, Input, Link, QueryQueue};
use crate::{Config, ConfigError, error};

/// How long a request waits for a leader that is about to be ready, before the router asks
/// elsewhere.
const LEADER_WAIT: Duration = Duration::from_millis(200);
/// A long poll ends this long before its caller would give up.
const LONG_POLL_MARGIN: Duration = Duration::from_secs(1);

/// All shards that this node hosts.
pub struct Service {
    shards: Vec<(Arc<Context>, watch::Sender<Link>)>,
    handle: Handle,
}

struct Shard {
    cells: CellRange,
    link: watch::Receiver<Link>,
}

struct Inner {
    /// By their first cell.
    shards: Vec<Shard>,
    config: Config,
    router: Router,
}

/// Asks the shards. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

impl Service {
    pub fn new(
        config: Config,
        groups: Vec<(ShardId, CellRange, Group)>,
        kv: Arc<dyn Kv>,
        router: Router,
        namespaces: Namespaces,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let config = config.per_shard(groups.len());
        let mut hosted = Vec::with_capacity(groups.len());
        let mut shards = Vec::with_capacity(groups.len());
        for (shard, cells, group) in groups {
            let context = Context {
                shard,
                cells,
                group,
                config: config.clone(),
                kv: Arc::clone(&kv),
                router: router.clone(),
                namespaces: namespaces.clone(),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
            };
            let (link, seen) = watch::channel(Link::Waiting);
            hosted.push((Arc::new(context), link));
            shards.push(Shard { cells, link: seen });
        }
        shards.sort_by_key(|shard| shard.cells.start);
        let handle = Handle { inner: Arc::new(Inner { shards, config, router }) };
        Ok(Self { shards: hosted, handle })
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs every shard until `shutdown`. A panic outside of a decision is a defect that
    /// the node must not outlive, so it goes on to whoever runs the service.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut shards = JoinSet::new();
        for (context, link) in self.shards {
            shards.spawn(shard::run(context, link, shutdown.clone()));
        }
        while let Some(ended) = shards.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

#[async_trait]
impl HistoryService for Handle {
    async fn call(&self, request: Box<HistoryRequest>, deadline: Instant) -> Result<HistoryResponse, Error> {
        match &request.request {
            Some(Request::GetHistory(_)) => self.read_history(request, deadline).await,
            Some(Request::Query(_)) => self.query(request, deadline).await,
            Some(Request::Update(_) | Request::PollUpdate(_) | Request::UpdateWithStart(_)) => {
                self.update(request, deadline).await
            }
            _ => response(self.ask(request, QueryQueue::StickyFirst, deadline).await?),
        }
    }
}

impl Handle {
    /// Puts the request before the loop of its shard.
    async fn ask(&self, request: Box<HistoryRequest>, queue: QueryQueue, deadline: Instant) -> Result<Answer, Error> {
        let cell = u16::try_from(request.cell).ok().and_then(Cell::new);
        let cell = cell.ok_or_else(|| Error::Internal("a request without a valid cell".into()))?;
        let mut link = self.link(cell)?;
        let patience = deadline.min(Instant::now() + LEADER_WAIT);
        let inputs = loop {
            let now = link.borrow_and_update().clone();
            match now {
                Link::Leading(inputs) => break inputs,
                Link::Elsewhere(hint) => return Err(Error::NotLeader { hint }),
                Link::Waiting => {}
            }
            if !matches!(timeout_at(patience, link.changed()).await, Ok(Ok(()))) {
                return Err(Error::NotLeader { hint: None });
            }
        };
        let (reply, answer) = oneshot::channel();
        let ask = Ask { request, queue };
        match inputs.try_send(Input { ask, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(error::shard_busy()),
            Err(TrySendError::Closed(_)) => return Err(Error::NotLeader { hint: None }),
        }
        within(deadline, answer).await?.unwrap_or_else(|_| Err(error::outcome_unknown()))
    }

    fn link(&self, cell: Cell) -> Result<watch::Receiver<Link>, Error> {
        let shards = &self.inner.shards;
        let index = shards.partition_point(|shard| shard.cells.start <= cell.index());
        let shard = index.checked_sub(1).map(|index| &shards[index]).filter(|shard| shard.cells.contains(cell));
        shard.map(|shard| shard.link.clone()).ok_or(Error::NotLeader { hint: None })
    }

    /// Asks again each time something happened, until there is an answer or the time for
    /// an empty one has come.
    async fn read_history(
        &self,
        mut request: Box<HistoryRequest>,
        deadline: Instant,
    ) -> Result<HistoryResponse, Error> {
        let now = Instant::now();
        let margin = (deadline - now).checked_sub(LONG_POLL_MARGIN).map_or(deadline, |left| now + left);
        let give_up = margin.min(now + self.inner.config.history_long_poll);
        loop {
            let answer = self.ask(request.clone(), QueryQueue::StickyFirst, deadline).await?;
            let Answer::WaitForEvents { run_id, empty, wake } = answer else { return response(answer) };
            bind::to_run(&mut request, &run_id);
            if timeout_at(give_up, wake).await.is_err() {
                return Ok(HistoryResponse { body: empty, ..HistoryResponse::default() });
            }
        }
    }
}

fn response(answer: Answer) -> Result<HistoryResponse, Error> {
    match answer {
        Answer::Response(response) => Ok(response),
        Answer::WaitForEvents { .. } | Answer::Update(_) | Answer::QueryBuffered { .. } | Answer::QueryNow(_) => {
            Err(Error::Internal("an answer of the wrong kind".into()))
        }
    }
}

async fn within<T>(deadline: Instant, future: impl Future<Output = T>) -> Result<T, Error> {
    timeout_at(deadline, future).await.map_err(|_| Error::DeadlineExceeded)
}
