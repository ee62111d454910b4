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
    /// Somebody else takes most of the room on the disk: the node refuses what is new, and
    /// stops by itself should the log find none.
    FillDisk(usize),
    /// There is room again, and the node serves again by itself unless it has stopped.
    FreeDisk(usize),
    /// The process starts again on what its disk still holds.
    Start(usize),
    /// The machine comes back at once with an empty disk in the place of its own. Where
    /// nothing was founded yet, nothing happens: an empty disk is as good as another then.
    Wipe(usize),
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
/// When a disk is lost, if one is: late enough to hold something, early enough to be missed.
const WIPE_AT_MILLIS: std::ops::Range<u64> = 3_000..12_000;
/// How long one node lags before, so that the lost disk is one of the two that know.
const LAG_MILLIS: std::ops::Range<u64> = 1_000..3_000;
/// How long the other one that knows is away after.
const AWAY_MILLIS: std::ops::Range<u64> = 1_500..5_000;

/// Ends with all nodes up and all links whole.
pub(crate) fn schedule(seed: u64, nodes: usize) -> Vec<Strike> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x6e65_6d65_7369_7321);
    let mut strikes = Vec::new();
    // When each node will be up again.
    let mut up_at = vec![Duration::ZERO; nodes];
    let mut now = Duration::from_millis(rng.random_range(500..2_000));
    let mut loss = Loss::plan(seed, nodes);
    while now < CHAOS {
        let healthy = up_at.iter().all(|at| *at <= now);
        if let Some(loss) = loss.take_if(|loss| healthy && loss.at <= now) {
            now = loss.strike(now, &mut strikes, &mut up_at);
            continue;
        }
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
            12 if up_at[a] <= now => {
                let freed_at = now + Duration::from_millis(rng.random_range(FAILED_MILLIS));
                let cut_at = freed_at + Duration::from_millis(rng.random_range(FAILED_MILLIS));
                up_at[a] = cut_at + Duration::from_millis(rng.random_range(DOWN_MILLIS));
                strikes.push(Strike { at: now, fault: Fault::FillDisk(a) });
                strikes.push(Strike { at: freed_at, fault: Fault::FreeDisk(a) });
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

/// A disk is lost at the worst moment: one node lags, so that what is acknowledged is known
/// to two; one of them loses its disk, the other one its power. What comes back empty and
/// what lags are a majority, and know nothing.
struct Loss {
    at: Duration,
    wiped: usize,
    laggard: usize,
    away: usize,
    lag: Duration,
    absence: Duration,
}

impl Loss {
    /// Not in every run: the one that is wiped stays away for the rest of it. Drawn apart
    /// from the rest of the schedule.
    fn plan(seed: u64, nodes: usize) -> Option<Self> {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x6c6f_7374_6469_736b);
        let is_planned = rng.random_bool(0.4);
        let millis = |rng: &mut StdRng, range| Duration::from_millis(rng.random_range(range));
        let wiped = rng.random_range(0..nodes);
        let laggard = (wiped + rng.random_range(1..nodes)) % nodes;
        let away = (0..nodes).find(|node| *node != wiped && *node != laggard)?;
        let at = millis(&mut rng, WIPE_AT_MILLIS);
        let (lag, absence) = (millis(&mut rng, LAG_MILLIS), millis(&mut rng, AWAY_MILLIS));
        is_planned.then_some(Self { at, wiped, laggard, away, lag, absence })
    }

    /// Returns when it is over.
    fn strike(&self, now: Duration, strikes: &mut Vec<Strike>, up_at: &mut [Duration]) -> Duration {
        let lost_at = now + self.lag;
        let back_at = lost_at + self.absence;
        let mut push = |at, fault| strikes.push(Strike { at, fault });
        push(now, Fault::Heal);
        push(now, Fault::Maroon(self.laggard));
        push(lost_at, Fault::PowerCut(self.away));
        push(lost_at, Fault::Wipe(self.wiped));
        push(lost_at, Fault::Heal);
        push(back_at, Fault::Start(self.away));
        up_at[self.away] = back_at;
        // Never again: at most a minority may lose its disk.
        up_at[self.wiped] = Duration::MAX;
        back_at
    }
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
                    Fault::Wipe(node) => assert!(!down[node], "seed {seed}: down"),
                    Fault::Start(node) => assert!(std::mem::replace(&mut down[node], false), "seed {seed}: up already"),
                    _ => {}
                }
            }
            assert_eq!(down, [false; 3], "seed {seed}");
        }
    }
}
