//! One shard on this node: follows the replica's role and runs [`leader`] while it leads.
//!
//! ```text
//!            ready                      term over, store or proposal failed
//! waiting ──────────▶ leading(term) ──────────────────────────────────────▶ waiting
//! ```
//! Callers find the shard through [`Link`]: the input queue of the term in progress, or
//! who leads instead. A term in which a proposal failed is never resumed, since it is not
//! known which sequence number is next; one in which the store failed is, from the rows.

mod activity;
mod activity_operations;
mod batch;
mod between;
mod cache;
mod client;
mod control;
mod describe;
mod dispatch;
mod draft;
mod errands;
mod fused;
mod history;
mod input;
mod leader;
mod limits;
mod query;
mod reads;
mod reclaim;
mod record;
mod requests;
mod reset;
mod scan;
mod start;
mod timers;
mod update;
mod update_with_start;
mod verify;
mod wake;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use base::{CellRange, Clock, Entropy, NodeId, ShardId, Term};
use cluster::{Namespaces, Router};
use consensus::{Group, Role};
use storage::Kv;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use cache::Cache;
pub(crate) use input::{Answer, Ask, Input, Progress, QueryDispatch, QueryOutcome, QueryQueue, UpdateWait};
use leader::{Ended, Leader, Stop};

use crate::Config;

/// A leader that cannot propose is asked to stand for a new term after this long.
const STUCK_TERM: Duration = Duration::from_secs(2);
/// Between two tries to lead when the store fails.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What the shards of a node share, and what tells one from the others.
pub(crate) struct Context {
    pub(crate) shard: ShardId,
    pub(crate) cells: CellRange,
    pub(crate) group: Group,
    pub(crate) config: Config,
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) router: Router,
    pub(crate) namespaces: Namespaces,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// Where requests for the shard go now.
#[derive(Clone)]
pub(crate) enum Link {
    /// Nobody is known to lead, or this replica will in a moment.
    Waiting,
    Elsewhere(Option<NodeId>),
    Leading(mpsc::Sender<Input>),
}

/// Runs until `shutdown`.
pub(crate) async fn run(context: Arc<Context>, link: watch::Sender<Link>, shutdown: CancellationToken) {
    let mut role = context.group.role();
    // The last term, and the next number of its sequence if that is known.
    let mut last: (Option<Term>, Option<u64>) = (None, None);
    let mut planted = None;
    loop {
        let now = *role.borrow_and_update();
        if let Role::Leader { term, ready: true } = now
            && let Some(next_seq) = if last.0 == Some(term) { last.1 } else { Some(1) }
        {
            let (stop, next_seq) = lead(&context, term, next_seq, &mut planted, &link, &shutdown).await;
            if matches!(stop, Stop::Shutdown) {
                break;
            }
            last = (Some(term), next_seq);
            // The role may have changed while the term ran.
            continue;
        }
        let next = match now {
            Role::Leader { .. } | Role::Candidate { .. } => Link::Waiting,
            Role::Follower { leader, .. } | Role::Learner { leader, .. } => Link::Elsewhere(leader),
            Role::Stopped => Link::Elsewhere(None),
        };
        link.send_replace(next);
        let is_stuck = matches!(now, Role::Leader { ready: true, .. });
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = role.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(STUCK_TERM), if is_stuck => context.group.campaign().await,
        }
    }
    link.send_replace(Link::Elsewhere(None));
}

async fn lead(
    context: &Arc<Context>,
    term: Term,
    next_seq: u64,
    planted: &mut Option<Cache>,
    link: &watch::Sender<Link>,
    shutdown: &CancellationToken,
) -> (Stop, Option<u64>) {
    let (inputs, queue) = mpsc::channel(context.config.inputs_max);
    link.send_replace(Link::Leading(inputs));
    tracing::info!(shard = %context.shard, %term, "leading");
    let mut leader = Leader::new(Arc::clone(context), term, next_seq);
    if let Some(cache) = planted.take() {
        leader.plant(cache);
    }
    let Ended { stop, next_seq, cache } = leader.run(queue, shutdown).await;
    *planted = context.config.planted_forget_fence.then_some(cache);
    link.send_replace(Link::Waiting);
    match &stop {
        Stop::Shutdown => {}
        Stop::Role => tracing::info!(shard = %context.shard, %term, "no longer leading"),
        Stop::Propose(error) => tracing::warn!(shard = %context.shard, %term, %error, "term given up"),
        Stop::Store(error) => {
            tracing::error!(shard = %context.shard, %term, %error, "store failed, term given up");
            tokio::time::sleep(STORE_RETRY).await;
        }
        Stop::Corrupt(what) => {
            tracing::error!(shard = %context.shard, %term, what, "rows cannot be read, term given up");
            tokio::time::sleep(STORE_RETRY).await;
        }
    }
    (stop, next_seq)
}
