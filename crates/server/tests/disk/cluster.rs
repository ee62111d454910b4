//! Three nodes, whose disks fill up one after the other.

use std::future::Future;
use std::time::Duration;

use base::NodeId;
use cluster::Member;
use consensus::Role;
use server::assembly::Options;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::injected::{Node, SEGMENT_BYTES};

const RESERVE_BYTES: u64 = 64 * SEGMENT_BYTES;
const PATIENCE: Duration = Duration::from_secs(60);

async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn is_refusal_for(result: &Result<bytes::Bytes, Status>, node: &str) -> bool {
    matches!(result, Err(status) if status.code() == Code::ResourceExhausted && status.message().contains(node))
}

fn leads_anything(node: &Node) -> bool {
    let mut groups = node.running.node().groups().into_iter().map(|(_, group)| group);
    groups.any(|group| matches!(*group.role().borrow(), Role::Leader { .. }))
        || matches!(*node.running.node().metadata_group().role().borrow(), Role::Leader { .. })
}

async fn nodes() -> Vec<Node> {
    let address = || {
        // Bound and let go: the port is free for the moment that the node needs.
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    };
    let members: Vec<_> = (1..=3).map(|id| Member { id: NodeId(id), peer_address: address() }).collect();
    // Together: a new cluster waits for all of its nodes.
    let nodes = futures_util::future::join_all((1..=3).map(async |id| {
        let consensus = consensus::Config { log_keep_entries: 8, ..Default::default() };
        let options = Options { members: members.clone(), shards: 2, consensus, ..Options::single(NodeId(id)) };
        Node::with(options, RESERVE_BYTES).await
    }))
    .await;
    for node in &nodes {
        node.running.ready().await;
        until("serving", async || node.begin().await.is_ok()).await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_with_room_goes_on_and_a_minority_is_spared() {
    let nodes = nodes().await;
    let [first, second, third] = &nodes[..] else { panic!("three nodes") };

    // Next to nothing is left on one node. It leads no more and takes no more entries, and
    // the others go on, through whichever node they are asked.
    let room = 4 * SEGMENT_BYTES;
    first.disk.set_capacity(Some(first.disk.used() + room));
    let is_short = || first.running.node().disk_shortage().is_some();
    until("led by others", async || is_short() && !leads_anything(first)).await;
    until("serving through all nodes", async || {
        first.begin().await.is_ok() && second.begin().await.is_ok() && third.begin().await.is_ok()
    })
    .await;
    let before = first.disk.used();
    let mut begun = 0;
    while begun < 2_000 {
        begun += u32::from(second.begin().await.is_ok());
    }
    assert!(first.disk.used() <= before + room, "what others write does not fill its disk");

    // Now there is no majority with room.
    second.disk.set_capacity(Some(second.disk.used() + RESERVE_BYTES / 2));
    until("refused by all nodes", async || {
        let mut refused = 0;
        for node in &nodes {
            refused += u32::from(is_refusal_for(&node.begin().await, "node 2"));
        }
        refused == 3
    })
    .await;

    // With room again, all of them serve and all of them hold the same.
    for node in &nodes {
        node.disk.set_capacity(None);
    }
    until("serving through all nodes", async || {
        first.begin().await.is_ok() && second.begin().await.is_ok() && third.begin().await.is_ok()
    })
    .await;
    until("the same everywhere", async || first.rows() == second.rows() && second.rows() == third.rows()).await;
    assert!(first.rows() > 2_000);
}
