//! A group of three: replication, failover, and fences that refuse.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Term;
use tokio::time::timeout;

use super::harness::*;
use crate::codec;
use crate::types::CommittedLeader;
use crate::{Proposal, ProposeError, Role};

#[tokio::test(start_paused = true)]
async fn proposes_commits_and_applies_everywhere() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let group = cluster.group(leader);
    let mut index = 0;
    for seq in 1..=100 {
        index = group.propose(proposal(term, seq, put(&format!("key{seq}"), "value"))).await.unwrap().index;
    }
    cluster.applied_everywhere(index).await;
    for id in 1..=3 {
        for seq in 1..=100 {
            assert_eq!(cluster.get(id, &format!("key{seq}")).as_deref(), Some("value"));
        }
        assert_eq!(cluster.group(id).status().fenced, 0);
    }
    group.read_barrier(term).await.unwrap();
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    assert!(matches!(cluster.group(follower).read_barrier(term).await, Err(ProposeError::NotLeader(_, Some(_)))));
}

#[tokio::test(start_paused = true)]
async fn the_first_leader_is_there_in_a_moment() {
    let start = tokio::time::Instant::now();
    let cluster = Cluster::start(3, config()).await;
    cluster.leader().await;
    assert!(start.elapsed() < Duration::from_millis(500), "took {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pipelined_proposals_keep_their_order() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let group = cluster.group(leader);
    let pending: Vec<_> =
        (1..=500).map(|seq| group.propose(proposal(term, seq, put("last", &seq.to_string())))).collect();
    let mut last = 0;
    for reply in pending {
        let index = reply.await.unwrap().index;
        assert!(index > last);
        last = index;
    }
    cluster.applied_everywhere(last).await;
    for id in 1..=3 {
        assert_eq!(cluster.get(id, "last").as_deref(), Some("500"));
        assert_eq!(cluster.group(id).status().fenced, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_costs_each_node_one_sync() {
    for nodes in [1, 3] {
        let cluster = Cluster::start(nodes, config()).await;
        let (leader, term) = cluster.leader().await;
        cluster.applied_everywhere(cluster.group(leader).status().last_log_index).await;
        let before: Vec<u64> = cluster.nodes.values().map(|node| node.disk.syncs()).collect();
        let mut index = 0;
        for seq in 1..=100 {
            index = cluster.group(leader).propose(proposal(term, seq, put("key", "value"))).await.unwrap().index;
        }
        cluster.applied_everywhere(index).await;
        for (node, before) in cluster.nodes.values().zip(before) {
            let syncs = node.disk.syncs() - before;
            assert!(syncs <= 100, "node {} of {nodes}: {syncs} syncs for 100 commits", node.id);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_does_not_match_is_a_no_op_everywhere() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let group = cluster.group(leader);
    group.propose(proposal(term, 1, put("good", "1"))).await.unwrap();
    // Past the checks of `propose`, as a bug would.
    let wrong = [(1, 1), (3, 1), (2, 9), (0, 1)];
    for (seq, shard_epoch) in wrong {
        let mut bad = proposal(term, seq, put("bad", "1"));
        bad.fence.shard_epoch = shard_epoch;
        write_unchecked(&cluster, leader, bad).await;
    }
    let index = group.propose(proposal(term, 2, put("good", "2"))).await.unwrap().index;
    cluster.applied_everywhere(index).await;
    for id in 1..=3 {
        assert_eq!(cluster.get(id, "good").as_deref(), Some("2"));
        assert_eq!(cluster.get(id, "bad"), None);
        assert_eq!(cluster.group(id).status().fenced, wrong.len() as u64);
    }
}

async fn write_unchecked(cluster: &Cluster, leader: u64, bad: Proposal) {
    let command = codec::encode_proposal(bad);
    let raft = cluster.group(leader).shared.raft.clone();
    raft.write(command.clone()).with_leader(CommittedLeader::new(command.term)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failover_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start(3, config()).await;
    let mut acknowledged = BTreeMap::new();
    let mut after = Term(0);
    for round in 0..6 {
        let (leader, term) = cluster.leader_among(&cluster.up(), after).await;
        let group = cluster.group(leader);
        let mut pending = Vec::new();
        for seq in 1..=30 {
            let key = format!("{round}-{seq}");
            pending.push((key.clone(), group.propose(proposal(term, seq, put(&key, "value")))));
        }
        // The last few are under way when the leader dies.
        for (key, reply) in pending.drain(..20) {
            acknowledged.insert(key, reply.await.unwrap().index);
        }
        cluster.crash(leader).await;
        for (key, reply) in pending {
            if let Ok(proposed) = timeout(PATIENCE, reply).await.expect("resolves when the group stops") {
                acknowledged.insert(key, proposed.index);
            }
        }
        after = term;
        cluster.leader_among(&cluster.up(), after).await;
        cluster.restart(leader).await;
    }
    let (leader, term) = cluster.leader_among(&cluster.up(), after).await;
    let last = cluster.group(leader).propose(proposal(term, 1, put("end", "1"))).await.unwrap();
    cluster.applied_everywhere(last.index).await;
    for id in 1..=3 {
        for key in acknowledged.keys() {
            assert_eq!(cluster.get(id, key).as_deref(), Some("value"), "{key} on node {id}");
        }
        assert_eq!(cluster.group(id).status().fenced, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failover_is_quick() {
    let mut cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    cluster.crash(leader).await;
    let start = tokio::time::Instant::now();
    cluster.leader_among(&cluster.up(), term).await;
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stale_leader_appends_nothing() {
    let cluster = Cluster::start(3, config()).await;
    let (old, term) = cluster.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let group = cluster.group(old);
    group.propose(proposal(term, 1, put("key", "old"))).await.unwrap();
    cluster.net.isolate(old, &others);
    let (new, next) = cluster.leader_among(&others, term).await;
    let index = cluster.group(new).propose(proposal(next, 1, put("key", "new"))).await.unwrap().index;
    // The old leader does not know yet. Its lease is over, so nothing is appended.
    assert!(matches!(*group.role().borrow(), Role::Leader { term: led, .. } if led == term));
    let last = group.status().last_log_index;
    let reply = group.propose(proposal(term, 2, put("key", "stale")));
    tokio::pin!(reply);
    assert!(timeout(Duration::from_secs(5), &mut reply).await.is_err(), "waits while the term may still go on");
    assert_eq!(group.status().last_log_index, last);
    assert!(group.read_barrier(term).await.is_err());
    cluster.net.heal();
    let refused = timeout(PATIENCE, reply).await.unwrap();
    assert!(matches!(refused, Err(ProposeError::NotLeader(led, _)) if led == term), "{refused:?}");
    cluster.applied_everywhere(index).await;
    // And with the old term a new leader takes nothing, either.
    let stale = cluster.group(new).propose(proposal(term, 3, put("key", "stale"))).await;
    assert!(matches!(stale, Err(ProposeError::NotLeader(..))));
    for id in 1..=3 {
        assert_eq!(cluster.get(id, "key").as_deref(), Some("new"));
    }
}

#[tokio::test(start_paused = true)]
async fn proposals_outlive_a_lapse_of_the_lease() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for other in &others {
        // Nobody uses the moment to win another term.
        cluster.group(*other).shared.raft.runtime_config().elect(false);
    }
    let group = cluster.group(leader);
    group.propose(proposal(term, 1, put("last", "1"))).await.unwrap();
    cluster.net.isolate(leader, &others);
    tokio::time::sleep(Duration::from_millis(900)).await;
    let last = group.status().last_log_index;
    let pending: Vec<_> =
        (2..=50).map(|seq| group.propose(proposal(term, seq, put("last", &seq.to_string())))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(group.status().last_log_index, last, "refused without a lease");
    cluster.net.heal();
    let mut index = last;
    for reply in pending {
        let next = timeout(PATIENCE, reply).await.unwrap().unwrap().index;
        assert!(next > index);
        index = next;
    }
    assert_eq!(group.next_seq(term).await.unwrap(), 51);
    cluster.applied_everywhere(index).await;
    for id in 1..=3 {
        assert_eq!(cluster.get(id, "last").as_deref(), Some("50"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_appended_behind_a_refused_proposal_is_proposed_again() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let group = cluster.group(leader);
    let pipeline = group.shared.pipeline.clone();
    group.propose(proposal(term, 1, put("last", "1"))).await.unwrap();
    // Raft refuses the second and takes the third and fourth.
    let replies: Vec<_> = pipeline.submit_refusing(&group.shared.raft, 2, |seq| {
        codec::encode_proposal(proposal(term, seq, put("last", &seq.to_string())))
    });
    let mut index = 0;
    for reply in replies {
        let next = timeout(PATIENCE, reply).await.unwrap().unwrap().unwrap().index;
        assert!(next > index);
        index = next;
    }
    cluster.applied_everywhere(index).await;
    for id in 1..=3 {
        assert_eq!(cluster.get(id, "last").as_deref(), Some("4"));
        assert_eq!(cluster.group(id).status().fenced, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_term_can_be_resumed() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let group = cluster.group(leader);
    assert_eq!(group.next_seq(term).await.unwrap(), 1);
    for seq in 1..=20 {
        // The proposer is gone before it hears of any.
        drop(group.propose(proposal(term, seq, put("last", &seq.to_string()))));
    }
    assert_eq!(group.next_seq(term).await.unwrap(), 21);
    assert_eq!(cluster.get(leader, "last").as_deref(), Some("20"));
    group.propose(proposal(term, 21, put("last", "21"))).await.unwrap();
    assert!(group.next_seq(Term(term.0 - 1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn leadership_moves_on_request() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let target = (1..=3).find(|id| *id != leader).unwrap();
    cluster.group(leader).propose(proposal(term, 1, put("key", "1"))).await.unwrap();
    // Until the first heartbeat is answered the target does not count as caught up.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.group(leader).transfer_leader(base::NodeId(target)).await.unwrap();
    let (new, next) = cluster.leader_among(&[target], term).await;
    assert_eq!(new, target);
    let index = cluster.group(new).propose(proposal(next, 1, put("key", "2"))).await.unwrap().index;
    cluster.applied_everywhere(index).await;
}

#[tokio::test(start_paused = true)]
async fn proposals_during_a_transfer_commit_or_are_refused() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let target = (1..=3).find(|id| *id != leader).unwrap();
    let group = cluster.group(leader);
    group.propose(proposal(term, 1, put("2-1", "value"))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let transfer = group.transfer_leader(base::NodeId(target));
    let writes = async {
        let mut done = Vec::new();
        for seq in 2.. {
            match timeout(PATIENCE, group.propose(proposal(term, seq, put(&seq.to_string(), "value")))).await.unwrap() {
                Ok(_) => done.push(seq),
                Err(error) => {
                    assert!(!matches!(error, ProposeError::Stopped));
                    break;
                }
            }
        }
        done
    };
    let (moved, done) = tokio::join!(transfer, writes);
    moved.unwrap();
    let (new, next) = cluster.leader_among(&[target], term).await;
    let index = cluster.group(new).propose(proposal(next, 1, put("end", "1"))).await.unwrap().index;
    cluster.applied_everywhere(index).await;
    for id in 1..=3 {
        for seq in &done {
            assert_eq!(cluster.get(id, &seq.to_string()).as_deref(), Some("value"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn leadership_does_not_move_to_the_dead() {
    let mut cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let target = (1..=3).find(|id| *id != leader).unwrap();
    cluster.crash(target).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = cluster.group(leader).transfer_leader(base::NodeId(target)).await;
    assert!(matches!(refused, Err(ProposeError::Unknown(_))), "{refused:?}");
    cluster.group(leader).propose(proposal(term, 1, put("key", "1"))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_follower_without_room_declines_and_catches_up_later() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    cluster.host(follower).decline_appends(true);
    let group = cluster.group(leader);
    let mut index = 0;
    for seq in 1..=100 {
        index = group.propose(proposal(term, seq, put(&format!("key{seq}"), "value"))).await.unwrap().index;
    }
    let other = (1..=3).find(|id| *id != leader && *id != follower).unwrap();
    timeout(PATIENCE, cluster.group(other).applied(index)).await.unwrap();
    // It hears of its leader all the time: nobody is deposed for want of room.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.leader().await, (leader, term));
    assert_eq!(cluster.get(follower, "key100"), None);
    // The log may be gone by now, so that it catches up with a snapshot.
    cluster.host(leader).checkpoint().await;
    cluster.host(follower).decline_appends(false);
    cluster.applied_everywhere(index).await;
    assert_eq!(cluster.get(follower, "key100").as_deref(), Some("value"));
}

#[tokio::test(start_paused = true)]
async fn all_nodes_restart_from_disk() {
    let mut cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let group = cluster.group(leader);
    for seq in 1..=40 {
        group.propose(proposal(term, seq, put(&format!("key{seq}"), "value"))).await.unwrap();
    }
    for id in 1..=3 {
        cluster.crash(id).await;
    }
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    let (leader, term) = cluster.leader_among(&[1, 2, 3], term).await;
    let index = cluster.group(leader).propose(proposal(term, 1, put("more", "1"))).await.unwrap().index;
    cluster.applied_everywhere(index).await;
    for id in 1..=3 {
        for seq in 1..=40 {
            assert_eq!(cluster.get(id, &format!("key{seq}")).as_deref(), Some("value"));
        }
    }
}
