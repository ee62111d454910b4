//! What the workflows of a run do. All of it follows from the seed; a workflow's worker
//! needs only its id to know its program.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How many workflows a run has.
pub(crate) const WORKFLOWS: usize = 6;
pub(crate) const TASK_QUEUE: &str = "sim";
pub(crate) const NAMESPACE: &str = "default";
pub(crate) const ACTIVITY_START_TO_CLOSE: Duration = Duration::from_secs(5);

/// One workflow: `activities` one after the other, each failing `failures` times first,
/// a timer behind each, and at the end as many signals as `signals`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    pub(crate) workflow_id: String,
    pub(crate) start_after: Duration,
    pub(crate) activities: usize,
    pub(crate) failures: i32,
    pub(crate) timer: Duration,
    pub(crate) signals: usize,
    pub(crate) signal_pause: Duration,
}

pub(crate) fn programs(seed: u64) -> Vec<Program> {
    (0..WORKFLOWS).map(|index| program(seed, index)).collect()
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
    }
}
