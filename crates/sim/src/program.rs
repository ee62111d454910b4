//! What the workflows of a run do. All of it follows from the seed; a workflow's worker
//! needs only its type and id to know its program.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use temporalio_protos::temporal::api::enums::v1::ParentClosePolicy;

/// How many workflows of the type [`WORK`] a run has.
const WORKFLOWS: usize = 4;
const PARENTS: usize = 2;
pub(crate) const TASK_QUEUE: &str = "sim";
pub(crate) const NAMESPACE: &str = "default";
pub(crate) const ACTIVITY_START_TO_CLOSE: Duration = Duration::from_secs(5);

/// Activities, timers, signals: a [`Program`].
pub(crate) const WORK: &str = "Work";
/// A [`Parent`].
pub(crate) const PARENT: &str = "Parent";
/// Completes at once with a result that no other task gives.
pub(crate) const QUICK: &str = "Quick";
/// Waits for the signal [`FINISH`] or for a cancel request, and does as it is told.
pub(crate) const WAITING: &str = "Waiting";
/// Answers [`Updated::updates`] updates.
pub(crate) const UPDATED: &str = "Updated";
pub(crate) const FINISH: &str = "finish";

/// What parents signal; the first one cancels it.
pub(crate) const TARGET: &str = "target";
pub(crate) const CANCELLED: &str = "cancelled";
pub(crate) const TERMINATED: &str = "terminated";
pub(crate) const RESET: &str = "reset";
/// Started by whoever signals it first.
pub(crate) const JOINED: &str = "joined";

/// One workflow: `activities` one after the other, each failing `failures` times first,
/// a timer behind each, and at the end as many signals as `signals`. Paused for a while, as often
/// as there are `pauses`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    pub(crate) workflow_id: String,
    pub(crate) start_after: Duration,
    pub(crate) activities: usize,
    pub(crate) failures: i32,
    pub(crate) timer: Duration,
    pub(crate) signals: usize,
    pub(crate) signal_pause: Duration,
    pub(crate) pauses: Vec<Duration>,
}

/// Has [`Parent::children`], signals [`TARGET`] and perhaps cancels it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Parent {
    pub(crate) workflow_id: String,
    pub(crate) start_after: Duration,
    /// All of it with its first task; else the children first.
    pub(crate) at_once: bool,
    /// Closes when its children exist, whatever became of the rest.
    pub(crate) hasty: bool,
    pub(crate) cancels: bool,
}

/// One child of a parent, told apart by its policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Child {
    pub(crate) workflow_id: String,
    pub(crate) workflow_type: &'static str,
    pub(crate) policy: ParentClosePolicy,
}

/// A workflow that completes when so many updates are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Updated {
    pub(crate) workflow_id: String,
    pub(crate) updates: usize,
    pub(crate) pause: Duration,
}

/// All that the workers and the users of a run have to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Script {
    pub(crate) programs: Vec<Program>,
    pub(crate) parents: Vec<Parent>,
    pub(crate) updated: Updated,
    /// Before somebody interferes with [`CANCELLED`], [`TERMINATED`], [`RESET`] and [`JOINED`].
    pub(crate) pauses: [Duration; 4],
}

impl Parent {
    pub(crate) fn children(&self) -> Vec<Child> {
        let child = |name: &str, workflow_type, policy| Child {
            workflow_id: format!("{}-{name}", self.workflow_id),
            workflow_type,
            policy,
        };
        vec![
            child("quick", QUICK, ParentClosePolicy::Terminate),
            child("terminated", WAITING, ParentClosePolicy::Terminate),
            child("cancelled", WAITING, ParentClosePolicy::RequestCancel),
            child("abandoned", WAITING, ParentClosePolicy::Abandon),
        ]
    }

    /// The name of the signal that only this parent sends.
    pub(crate) fn signal(&self) -> String {
        format!("from-{}", self.workflow_id)
    }
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7363_7269_7074_7321);
        let mut pause = || Duration::from_millis(rng.random_range(300..18_000));
        let pauses = [pause(), pause(), pause(), pause()];
        Self {
            programs: (0..WORKFLOWS).map(|index| program(seed, index)).collect(),
            parents: (0..PARENTS).map(|index| parent(seed, index)).collect(),
            updated: Updated {
                workflow_id: "updated".to_owned(),
                updates: rng.random_range(1..5),
                pause: Duration::from_millis(rng.random_range(1..5_000)),
            },
            pauses,
        }
    }
}

fn program(seed: u64, index: usize) -> Program {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x7072_6f67_7261_6d21 ^ ((index as u64) << 32));
    Program {
        workflow_id: format!("wf-{index}"),
        start_after: Duration::from_millis(rng.random_range(300..8_000)),
        activities: rng.random_range(1..4),
        failures: rng.random_range(0..2),
        timer: Duration::from_millis(rng.random_range(1..3_000)),
        signals: rng.random_range(1..6),
        signal_pause: Duration::from_millis(rng.random_range(1..3_000)),
        pauses: (0..rng.random_range(0..3)).map(|_| Duration::from_millis(rng.random_range(1..4_000))).collect(),
    }
}

fn parent(seed: u64, index: usize) -> Parent {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x7061_7265_6e74_7321 ^ ((index as u64) << 32));
    let cancels = index == 0;
    Parent {
        workflow_id: format!("parent-{index}"),
        start_after: Duration::from_millis(rng.random_range(300..10_000)),
        at_once: rng.random_bool(0.5),
        // Nobody else would end the target.
        hasty: rng.random_bool(0.5) && !cancels,
        cancels,
    }
}
