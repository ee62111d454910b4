//! The same groups on a runtime with threads and a running clock, for races that one
//! thread never shows. Nothing here depends on how long anything takes.

use super::harness::*;
use crate::ProposeError;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn order_holds_between_threads() {
    for nodes in [1, 3] {
        let cluster = Cluster::start(nodes, config()).await;
        // A busy machine may depose a leader: then a new term begins at 1.
        'terms: loop {
            let (leader, term) = cluster.leader().await;
            let group = cluster.group(leader);
            let mut last = 0;
            for burst in 0..40 {
                let seqs = burst * 50 + 1..=burst * 50 + 50;
                let pending: Vec<_> =
                    seqs.map(|seq| group.propose(proposal(term, seq, put("last", &seq.to_string())))).collect();
                for reply in pending {
                    match reply.await {
                        Ok(proposed) => {
                            assert!(proposed.index > last);
                            last = proposed.index;
                        }
                        Err(ProposeError::NotLeader(..) | ProposeError::Unknown(_)) => continue 'terms,
                        Err(error @ ProposeError::Stopped) => panic!("{error}"),
                    }
                }
            }
            cluster.applied_everywhere(last).await;
            for id in cluster.up() {
                assert_eq!(cluster.get(id, "last").as_deref(), Some("2000"));
                assert_eq!(cluster.group(id).status().fenced, 0);
            }
            break;
        }
    }
}
