//! A restarted voter has forgotten which leader it acknowledged. Were it to vote at once,
//! a new leader could commit while the old one still trusts its lease and answers reads.

use std::time::Duration;

use base::Term;
use tokio::time::{Instant, timeout};

use super::harness::*;

/// One voter is cut off for longer than any lease, the other acknowledges the leader, the
/// leader is cut off, and `pause` later the voter that knew of it restarts and the other
/// comes back. Returns when the old leader last proved itself, and when the new one began.
async fn last_read_and_next_leader(pause: Duration) -> (Instant, Instant) {
    let mut cluster = Cluster::start(3, config()).await;
    let (old, term) = cluster.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let (witness, forgotten) = (others[0], others[1]);
    let old_group = cluster.group(old);
    old_group.propose(proposal(term, 1, put("key", "old"))).await.unwrap();
    cluster.net.isolate(forgotten, &[old, witness]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    old_group.read_barrier(term).await.unwrap();

    cluster.net.heal();
    cluster.net.isolate(old, &others);
    tokio::time::sleep(pause).await;
    cluster.crash(witness).await;
    cluster.restart(witness).await;

    let reads = async {
        let mut last = Instant::now();
        loop {
            let asked = Instant::now();
            match timeout(Duration::from_millis(5), old_group.read_barrier(term)).await {
                Ok(Ok(())) => last = asked,
                // Not proved at once: the lease is not trusted any more.
                Ok(Err(_)) | Err(_) if asked - last > Duration::from_secs(3) => return last,
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let next = async {
        let elected = cluster.leader_among(&others, term);
        tokio::pin!(elected);
        // The cluster noticed that the leader is gone.
        cluster.group(witness).campaign().await;
        let (new, next) = loop {
            cluster.group(forgotten).campaign().await;
            if let Ok(elected) = timeout(Duration::from_millis(10), &mut elected).await {
                break elected;
            }
        };
        let ready = Instant::now();
        cluster.group(new).propose(proposal(next, 1, put("key", "new"))).await.unwrap();
        ready
    };
    tokio::join!(reads, next)
}

#[tokio::test(start_paused = true)]
async fn no_read_of_the_old_leader_after_the_new_one_began() {
    for pause in (0..10).map(|step| Duration::from_millis(step * 40)) {
        let (read, ready) = last_read_and_next_leader(pause).await;
        assert!(read < ready, "pause {pause:?}: read {:?} after the next leader", read - ready);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_need_no_message_while_the_lease_is_fresh() {
    let cluster = Cluster::start(3, config()).await;
    let (leader, term) = cluster.leader().await;
    let group = cluster.group(leader);
    group.propose(proposal(term, 1, put("key", "1"))).await.unwrap();
    let start = Instant::now();
    for _ in 0..100 {
        group.read_barrier(term).await.unwrap();
    }
    assert_eq!(Instant::now(), start);
    assert!(group.read_barrier(Term(term.0 + 1)).await.is_err());
}
