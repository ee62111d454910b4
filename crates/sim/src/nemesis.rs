//! When what breaks: a schedule that follows from the seed alone, made before the run.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// One thing that goes wrong, or right again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The process dies and the machine loses power: unsynced writes are lost or torn.
    PowerCut(usize),
    /// The next sync of the disk fails: the node must stop by itself.
    FailSync(usize),
    /// The process starts again on what its disk still holds.
    Start(usize),
    /// No packet passes between two nodes.
    Cut(usize, usize),
    /// Packets pass one way only.
    CutOneWay(usize, usize),
    /// Packets wait until the link is released.
    Hold(usize, usize),
    /// All links work, held packets arrive.
    Heal,
    /// A node is cut off from all others, the client's side included.
    Isolate(usize),
    /// A node is cut off from its peers only: clients still reach it, and it may still
    /// believe that it leads.
    Maroon(usize),
}

/// A fault and the time of the simulation at which it strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Strike {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// How long faults strike. After that everything is healed and must complete.
pub(crate) const CHAOS: Duration = Duration::from_secs(20);
/// Long enough for elections, short enough for many faults in a run.
const PAUSE_MILLIS: std::ops::Range<u64> = 150..2_500;
/// What a node does after a failed sync must not matter, however long it goes on.
const FAILED_MILLIS: std::ops::Range<u64> = 100..3_000;
/// Longer than a leader's lease, most of the time.
const HEAL_MILLIS: std::ops::Range<u64> = 300..5_000;
const DOWN_MILLIS: std::ops::Range<u64> = 20..4_000;

/// Ends with all nodes up and all links whole.
pub(crate) fn schedule(seed: u64, nodes: usize) -> Vec<Strike> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x6e65_6d65_7369_7321);
    let mut strikes = Vec::new();
    // When each node will be up again.
    let mut up_at = vec![Duration::ZERO; nodes];
    let mut now = Duration::from_millis(rng.random_range(500..2_000));
    while now < CHAOS {
        let healthy = up_at.iter().all(|at| *at <= now);
        let a = rng.random_range(0..nodes);
        let b = (a + rng.random_range(1..nodes)) % nodes;
        match rng.random_range(0..15_u32) {
            0..=3 if up_at[a] <= now => {
                up_at[a] = now + Duration::from_millis(rng.random_range(DOWN_MILLIS));
                strikes.push(Strike { at: now, fault: Fault::PowerCut(a) });
                strikes.push(Strike { at: up_at[a], fault: Fault::Start(a) });
            }
            kind @ 4..=9 => {
                let fault = match kind {
                    4 => Fault::Cut(a, b),
                    5 => Fault::CutOneWay(a, b),
                    6 => Fault::Hold(a, b),
                    7 => Fault::Isolate(a),
                    _ => Fault::Maroon(a),
                };
                strikes.push(Strike { at: now, fault });
                let healed_at = now + Duration::from_millis(rng.random_range(HEAL_MILLIS));
                strikes.push(Strike { at: healed_at.min(CHAOS), fault: Fault::Heal });
            }
            11 if up_at[a] <= now => {
                let cut_at = now + Duration::from_millis(rng.random_range(FAILED_MILLIS));
                up_at[a] = cut_at + Duration::from_millis(rng.random_range(DOWN_MILLIS));
                strikes.push(Strike { at: now, fault: Fault::FailSync(a) });
                strikes.push(Strike { at: cut_at, fault: Fault::PowerCut(a) });
                strikes.push(Strike { at: up_at[a], fault: Fault::Start(a) });
            }
            // The whole site loses power.
            10 if healthy => {
                for (node, up_at) in up_at.iter_mut().enumerate() {
                    *up_at = now + Duration::from_millis(rng.random_range(DOWN_MILLIS));
                    strikes.push(Strike { at: now, fault: Fault::PowerCut(node) });
                    strikes.push(Strike { at: *up_at, fault: Fault::Start(node) });
                }
            }
            _ => strikes.push(Strike { at: now, fault: Fault::Heal }),
        }
        now += Duration::from_millis(rng.random_range(PAUSE_MILLIS));
    }
    strikes.push(Strike { at: CHAOS, fault: Fault::Heal });
    strikes.sort_by_key(|strike| strike.at);
    strikes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_that_dies_comes_back() {
        for seed in 0..500 {
            let strikes = schedule(seed, 3);
            assert_eq!(strikes, schedule(seed, 3), "seed {seed} gives one schedule");
            let mut down = [false; 3];
            for strike in &strikes {
                match strike.fault {
                    Fault::PowerCut(node) => {
                        assert!(!std::mem::replace(&mut down[node], true), "seed {seed}: dead already")
                    }
                    Fault::Start(node) => assert!(std::mem::replace(&mut down[node], false), "seed {seed}: up already"),
                    _ => {}
                }
            }
            assert_eq!(down, [false; 3], "seed {seed}");
        }
    }
}
