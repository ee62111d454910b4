//! What `DescribeTaskQueue` tells about a partition: rates and recent pollers. Only
//! numbers; nothing is decided by them.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;
use temporalio_protos::temporal::api::common::v1::WorkerVersionCapabilities;
use temporalio_protos::temporal::api::deployment::v1::WorkerDeploymentOptions;
use temporalio_protos::temporal::api::taskqueue::v1::PollerInfo;

use crate::matcher::Rank;

/// Rates are averages over about this long.
const RATE_WINDOW: Duration = Duration::from_secs(30);

/// The rate told of a worker that sets no limit: the incumbent's "as fast as it likes".
pub(crate) const UNLIMITED_RATE: f64 = 100_000.0;

/// Events per second, old ones fading out exponentially.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Rate {
    per_second: f64,
    at: Duration,
}

impl Rate {
    pub(crate) fn add(&mut self, count: u32, now: Duration) {
        self.per_second = self.at(now) + f64::from(count) / RATE_WINDOW.as_secs_f64();
        self.at = now;
    }

    pub(crate) fn at(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.at);
        self.per_second * (-passed.as_secs_f64() / RATE_WINDOW.as_secs_f64()).exp()
    }
}

/// A rate for each priority.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Rates([Rate; Rank::LAST.0 as usize + 1]);

impl Rates {
    pub(crate) fn add(&mut self, rank: Rank, now: Duration) {
        self.0[usize::from(rank.0)].add(1, now);
    }

    pub(crate) fn all(&self, now: Duration) -> f64 {
        self.0.iter().map(|rate| rate.at(now)).sum()
    }

    pub(crate) fn of(&self, rank: Rank, now: Duration) -> f64 {
        self.0[usize::from(rank.0)].at(now)
    }
}

/// A backlog that is this old is not told any more: its shard has lost its leader, or has
/// nothing left to tell.
const BACKLOG_KEEP: Duration = Duration::from_secs(5);

/// Tasks of one priority, and when the oldest was scheduled.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Backlog {
    pub count: u64,
    pub oldest: Option<Timestamp>,
}

impl Backlog {
    pub(crate) fn add(&mut self, count: u64, oldest: Option<Timestamp>) {
        self.count += count;
        self.oldest = match (self.oldest, oldest) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// What waits in shards for room in this partition, by shard and rank. Told with every
/// offer, and a shard that has more makes one every few hundred milliseconds.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Backlogs(BTreeMap<u32, (Duration, BTreeMap<Rank, Backlog>)>);

impl Backlogs {
    pub(crate) fn note(&mut self, shard: u32, backlog: BTreeMap<Rank, Backlog>, now: Duration) {
        if backlog.is_empty() {
            self.0.remove(&shard);
        } else {
            self.0.insert(shard, (now, backlog));
        }
    }

    pub(crate) fn expire(&mut self, now: Duration) {
        self.0.retain(|_, (told, _)| now < *told + BACKLOG_KEEP);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Rank, Backlog)> {
        self.0.values().flat_map(|(_, ranks)| ranks.iter().map(|(rank, backlog)| (*rank, *backlog)))
    }
}

/// What a worker said of itself when it last polled.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Seen {
    pub last_access: Timestamp,
    pub rate_per_second: f64,
    pub capabilities: Option<WorkerVersionCapabilities>,
    pub deployment_options: Option<WorkerDeploymentOptions>,
}

/// The workers that polled lately, by identity.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Workers(BTreeMap<String, Seen>);

impl Workers {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Past `max` identities the one silent for longest is forgotten.
    pub(crate) fn note(&mut self, identity: &str, seen: Seen, max: usize) {
        if let Some(known) = self.0.get_mut(identity) {
            *known = seen;
            return;
        }
        if self.0.len() >= max {
            let stalest = self.0.iter().min_by_key(|(_, seen)| seen.last_access).map(|(identity, _)| identity.clone());
            stalest.map(|identity| self.0.remove(&identity));
        }
        self.0.insert(identity.to_owned(), seen);
    }

    /// The worker went away; another of the same name is back with its next poll.
    pub(crate) fn forget(&mut self, identity: &str) {
        self.0.remove(identity);
    }

    /// Those seen at or after `since`, ordered by identity.
    pub(crate) fn since(&self, since: Timestamp) -> Vec<PollerInfo> {
        let recent = self.0.iter().filter(|(_, seen)| seen.last_access >= since);
        recent.map(|(identity, seen)| poller_info(identity, seen)).collect()
    }
}

#[expect(deprecated, reason = "older tools read the old field")]
fn poller_info(identity: &str, seen: &Seen) -> PollerInfo {
    PollerInfo {
        last_access_time: Some(seen.last_access.to_proto()),
        identity: identity.to_owned(),
        rate_per_second: seen.rate_per_second,
        worker_version_capabilities: seen.capabilities.clone(),
        deployment_options: seen.deployment_options.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_steady_stream_shows_its_rate_and_silence_fades() {
        let mut rate = Rate::default();
        for second in 0..300 {
            rate.add(10, seconds(second));
        }
        assert!((rate.at(seconds(299)) - 10.0).abs() < 0.5, "{rate:?}");
        assert!(rate.at(seconds(299 + 300)) < 0.01);
    }

    #[test]
    fn the_stalest_worker_makes_room() {
        let seen = |second: u64| Seen {
            last_access: Timestamp::from_millis(second * 1000),
            rate_per_second: 1.0,
            capabilities: None,
            deployment_options: None,
        };
        let mut workers = Workers::default();
        for (identity, second) in [("b", 2), ("a", 3), ("c", 1), ("c", 5), ("d", 4)] {
            workers.note(identity, seen(second), 3);
        }
        let names = |since| workers.since(since).into_iter().map(|info| info.identity).collect::<Vec<_>>();
        assert_eq!(names(Timestamp::ZERO), ["a", "c", "d"]);
        assert_eq!(names(Timestamp::from_millis(4000)), ["c", "d"]);
    }
}
