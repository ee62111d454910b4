//! Crashes, partitions, one-way cuts and checkpoints at random, then peace: what was
//! acknowledged is there, once and in order, and all replicas agree.

use std::time::Duration;

use base::{Entropy, SeededEntropy, Term};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use storage::{Batch, Kv, Scan};
use tokio::time::{Instant, timeout};

use super::harness::*;
use crate::{ProposeError, Role};

const NODES: u64 = 3;

/// One value per proposal, under a key that sorts by the order of the attempts.
fn attempt(number: u64) -> (Vec<u8>, Batch) {
    let key = cell_key(&format!("{number:08}"));
    let mut batch = Batch::default();
    batch.put(key.clone(), number.to_be_bytes().to_vec());
    batch.put(cell_key("last"), number.to_be_bytes().to_vec());
    (key, batch)
}

struct Chaos {
    cluster: Cluster,
    random: SeededEntropy,
    attempts: u64,
    acknowledged: Vec<(u64, Vec<u8>)>,
}

impl Chaos {
    fn below(&self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    /// Proposes through whoever thinks it leads, for a while, several in flight.
    async fn write(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            for id in self.cluster.up() {
                let group = self.cluster.group(id);
                let Role::Leader { term, ready: true } = *group.role().borrow() else { continue };
                let Ok(Ok(first)) = timeout(Duration::from_millis(50), group.next_seq(term)).await else { continue };
                let mut replies = FuturesOrdered::new();
                for seq in first..first + 1 + self.below(8) {
                    self.attempts += 1;
                    let (key, batch) = attempt(self.attempts);
                    let reply = group.propose(proposal(term, seq, batch));
                    replies.push_back(async move { (key, reply.await) });
                }
                let deadline = Duration::from_millis(100 + self.below(400));
                while let Ok(Some((key, reply))) = timeout(deadline, replies.next()).await {
                    match reply {
                        Ok(proposed) => self.acknowledged.push((proposed.index, key)),
                        Err(ProposeError::NotLeader(..) | ProposeError::Unknown(_) | ProposeError::Stopped) => {}
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(1 + self.below(30))).await;
        }
    }

    async fn trouble(&mut self) {
        let node = 1 + self.below(NODES);
        let others: Vec<u64> = (1..=NODES).filter(|id| *id != node).collect();
        let is_up = self.cluster.nodes[&node].running.is_some();
        match self.below(8) {
            0 | 1 if is_up => self.cluster.crash(node).await,
            2 if is_up => self.cluster.stop(node).await,
            0..=3 if !is_up => self.cluster.restart(node).await,
            3 => self.cluster.net.isolate(node, &others),
            4 => self.cluster.net.cut(node, others[0]),
            5 | 6 => self.cluster.net.heal(),
            _ if is_up => self.cluster.host(node).checkpoint().await,
            _ => {}
        }
    }

    fn state(&self, id: u64) -> Vec<(Bytes, Bytes)> {
        let (start, end) = range();
        self.cluster.nodes[&id].kv.scan(&Scan::range(start, end, usize::MAX)).unwrap()
    }

    async fn check(mut self) {
        self.cluster.net.heal();
        for id in 1..=NODES {
            if self.cluster.nodes[&id].running.is_none() {
                self.cluster.restart(id).await;
            }
        }
        // A leader that is cut off may still call itself one for a moment.
        let (leader, index) = loop {
            let (leader, term) = self.cluster.leader_among(&self.cluster.up(), Term(0)).await;
            let group = self.cluster.group(leader);
            let Ok(seq) = group.next_seq(term).await else { continue };
            match timeout(PATIENCE, group.propose(proposal(term, seq, Batch::default()))).await {
                Ok(Ok(proposed)) => break (leader, proposed.index),
                Ok(Err(_)) => {}
                Err(_) => panic!("no progress after the peace"),
            }
        };
        self.cluster.applied_everywhere(index).await;
        let state = self.state(leader);
        for id in 1..=NODES {
            assert_eq!(self.state(id), state, "node {id}");
        }
        let mut indexes: Vec<u64> = self.acknowledged.iter().map(|(index, _)| *index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        assert_eq!(indexes.len(), self.acknowledged.len(), "one index, one proposal");
        for (index, key) in &self.acknowledged {
            let is_there = state.iter().any(|(stored, _)| stored == key);
            assert!(is_there, "acknowledged at {index} and gone: {}", String::from_utf8_lossy(key));
        }
    }
}

async fn run(seed: u64) -> usize {
    let cluster = Cluster::seeded(NODES, config(), seed);
    let mut chaos = Chaos { cluster, random: SeededEntropy::new(seed), attempts: 0, acknowledged: Vec::new() };
    for id in 1..=NODES {
        chaos.cluster.restart(id).await;
    }
    for _ in 0..40 {
        let span = Duration::from_millis(50 + chaos.below(900));
        chaos.write(span).await;
        chaos.trouble().await;
    }
    let acknowledged = chaos.acknowledged.len();
    chaos.check().await;
    acknowledged
}

#[test]
fn acknowledged_means_kept() {
    for seed in 0..4 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let acknowledged = runtime.block_on(run(seed));
        assert!(acknowledged > 20, "seed {seed}: only {acknowledged} acknowledged");
    }
}
