//! Namespaces: changed through any node, known on all, and never lost.

use std::time::Duration;

use api::Error;
use base::NamespaceId;
use cluster::{Namespace, NamespaceChange};
use temporalio_protos::temporal::api::enums::v1::NamespaceState;

use crate::harness::{Cluster, deadline, until};

fn namespace(id: &str, name: &str) -> Namespace {
    Namespace {
        id: NamespaceId::from(id),
        name: name.to_owned(),
        state: NamespaceState::Registered,
        description: String::new(),
        owner_email: String::new(),
        data: Default::default(),
        retention: Duration::from_secs(3600),
        config: Default::default(),
        version: 0,
    }
}

#[tokio::test]
async fn a_change_through_any_node_is_known_on_all_and_survives() {
    let mut cluster = Cluster::start(3).await;
    for id in 1..=3 {
        let namespaces = cluster.at(id).node.namespaces();
        let name = format!("through-{id}");
        namespaces.change(NamespaceChange::Register(namespace(&format!("id-{id}"), &name)), deadline()).await.unwrap();
        // At once on the node that was asked.
        assert_eq!(namespaces.by_name(&name).unwrap().version, 1);
    }
    let taken = NamespaceChange::Register(namespace("another-id", "through-1"));
    let result = cluster.at(2).node.namespaces().change(taken, deadline()).await;
    assert!(matches!(result, Err(Error::NamespaceAlreadyExists(_))), "{result:?}");
    until("all to know", || cluster.nodes.values().all(|node| node.node.namespaces().list().len() == 5)).await;
    let before = cluster.at(1).node.namespaces().list();
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.start_node(id).await.unwrap();
    }
    for node in cluster.nodes.values() {
        node.node.ready().await;
    }
    until("all to know again", || cluster.nodes.values().all(|node| node.node.namespaces().list() == before)).await;
}

#[tokio::test]
async fn of_concurrent_updates_from_one_version_one_wins() {
    let cluster = Cluster::start(2).await;
    let default = cluster.at(1).node.namespaces().by_name("default").unwrap();
    let update = |id: u64, number: u32| {
        let namespace = Namespace { description: format!("{id}/{number}"), ..(*default).clone() };
        let namespaces = cluster.at(id).node.namespaces();
        async move { namespaces.change(NamespaceChange::Update { namespace, version: 1 }, deadline()).await }
    };
    let results = tokio::join!(update(1, 1), update(2, 1), update(1, 2), update(2, 2));
    let results = [results.0, results.1, results.2, results.3];
    let won = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1, "{results:?}");
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(Error::FailedPrecondition(_)))), "{results:?}");
    until("both to know", || {
        cluster.nodes.values().all(|node| node.node.namespaces().by_name("default").unwrap().version == 2)
    })
    .await;
    assert_eq!(
        cluster.at(1).node.namespaces().by_id(default.id.as_str()),
        cluster.at(2).node.namespaces().by_name("default")
    );
}
