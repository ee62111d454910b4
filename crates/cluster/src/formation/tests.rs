//! Who founds, who follows, and who stays out.

use base::SeededEntropy;
use storage::MemoryKv;

use super::*;

fn members() -> Vec<Member> {
    [1, 2, 3].map(|id| Member { id: NodeId(id), peer_address: String::new() }).into()
}

fn node(id: u64, store: u8, has_data: bool) -> (Arc<Formation>, MemoryKv) {
    let kv = MemoryKv::new();
    (
        Formation::load(
            &kv,
            Registry::load(&kv).unwrap(),
            (NodeId(id), StoreId([store; 16])),
            &members(),
            has_data,
            false,
        )
        .unwrap(),
        kv,
    )
}

fn hello(of: &Formation) -> Hello {
    of.introduce(Hello { node_id: of.node.0, ..Hello::default() })
}

/// Both sides judge each other, the one that was dialled first.
fn meet(dialler: &Formation, other: &Formation) -> (Result<(), Verdict>, Result<(), Verdict>) {
    let (first, second) = (hello(dialler), hello(other));
    (dialler.judge(&second), other.judge(&first))
}

async fn run(formation: &Formation, kv: &MemoryKv) -> Result<(), NodeError> {
    formation.run(kv, &SeededEntropy::new(formation.node.0)).await
}

async fn waits(formation: &Formation, kv: &MemoryKv) -> bool {
    tokio::time::timeout(Duration::from_secs(60), run(formation, kv)).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn three_empty_nodes_found_a_cluster_once_all_have_met() {
    let [(one, kv1), (two, kv2), (three, _)] = [node(1, 1, false), node(2, 2, false), node(3, 3, false)];
    assert_eq!(meet(&one, &two), (Ok(()), Ok(())));
    assert_eq!(meet(&two, &three), (Ok(()), Ok(())));
    // Only the first of them founds, and only when it knows all.
    assert!(waits(&one, &kv1).await && waits(&two, &kv2).await);
    assert_eq!(meet(&one, &three), (Ok(()), Ok(())));
    run(&one, &kv1).await.unwrap();
    assert!(one.is_open() && !two.is_open());
    // The roster survives, and travels from any node that has it.
    kv1.power_cut(0);
    let again =
        Formation::load(&kv1, Registry::load(&kv1).unwrap(), (NodeId(1), StoreId([1; 16])), &members(), false, false)
            .unwrap();
    assert_eq!(again.roster(), one.roster());
    assert_eq!(meet(&one, &two), (Ok(()), Ok(())));
    run(&two, &kv2).await.unwrap();
    assert_eq!(two.roster(), one.roster());
    assert_eq!(meet(&two, &three), (Ok(()), Ok(())));
}

async fn founded() -> [(Arc<Formation>, MemoryKv); 3] {
    let nodes = [node(1, 1, false), node(2, 2, false), node(3, 3, false)];
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert_eq!(meet(&nodes[a].0, &nodes[b].0), (Ok(()), Ok(())));
    }
    run(&nodes[0].0, &nodes[0].1).await.unwrap();
    for other in 1..3 {
        assert_eq!(meet(&nodes[0].0, &nodes[other].0), (Ok(()), Ok(())));
        run(&nodes[other].0, &nodes[other].1).await.unwrap();
    }
    nodes
}

#[tokio::test(start_paused = true)]
async fn a_node_with_another_disk_stays_out_and_is_told_why() {
    let nodes = founded().await;
    for id in 1..=3 {
        let (wiped, kv) = node(id, 9, false);
        for (other, _) in nodes.iter().filter(|(other, _)| other.node != NodeId(id)) {
            let (its, theirs) = meet(&wiped, other);
            let (Err(Verdict::Outcast(mine)), Err(Verdict::TheyAreOutcast(told))) = (its, theirs) else {
                panic!("node {id} was let in")
            };
            assert_eq!(mine, told);
            let known = StoreId([id as u8; 16]).to_string();
            assert!(mine.contains(&known) && mine.contains(&wiped.store.to_string()), "{mine}");
            wiped.cast_out(told);
        }
        assert!(matches!(run(&wiped, &kv).await, Err(NodeError::Refused(_))));
        assert!(!wiped.is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn a_founder_that_lost_its_disk_cannot_found_again() {
    let [_, (two, _), (three, _)] = founded().await;
    let (wiped, kv) = node(1, 9, false);
    // Even if the others were slow to answer: without their consent it never has all.
    assert!(two.judge(&hello(&wiped)).is_err() && three.judge(&hello(&wiped)).is_err());
    assert!(waits(&wiped, &kv).await);
}

#[tokio::test(start_paused = true)]
async fn data_from_before_there_were_rosters_goes_on_and_agrees_on_one() {
    let [(one, kv1), (two, kv2), (three, _)] = [node(1, 1, true), node(2, 2, true), node(3, 3, true)];
    assert!(one.is_open() && two.is_open());
    let (wiped, _) = node(3, 9, false);
    let (its, theirs) = meet(&one, &wiped);
    assert!(matches!((its, theirs), (Err(Verdict::TheyAreOutcast(_)), Err(Verdict::Outcast(_)))));
    assert!(waits(&one, &kv1).await);
    assert_eq!((meet(&one, &two), meet(&one, &three)), ((Ok(()), Ok(())), (Ok(()), Ok(()))));
    run(&one, &kv1).await.unwrap();
    assert_eq!(meet(&one, &two), (Ok(()), Ok(())));
    run(&two, &kv2).await.unwrap();
    assert_eq!(two.roster(), one.roster());
    two.cast_out("because".to_owned());
    two.cast_out("again".to_owned());
    assert_eq!(two.outcast().await, "because");
}

#[tokio::test(start_paused = true)]
async fn clusters_founded_apart_stay_apart() {
    let [(one, _), ..] = founded().await;
    let nodes = [node(1, 1, false), node(2, 2, false), node(3, 3, false)];
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert_eq!(meet(&nodes[a].0, &nodes[b].0), (Ok(()), Ok(())));
    }
    nodes[0].0.run(&nodes[0].1, &SeededEntropy::new(77)).await.unwrap();
    meet(&nodes[0].0, &nodes[1].0).0.unwrap();
    run(&nodes[1].0, &nodes[1].1).await.unwrap();
    let (its, theirs) = meet(&one, &nodes[1].0);
    assert!(matches!((its, theirs), (Err(Verdict::Refused(_)), Err(Verdict::Refused(_)))));
}
