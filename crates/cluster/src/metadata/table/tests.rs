//! The rules of namespaces, and rows that survive the KV.

use std::time::Duration;

use base::NamespaceId;
use storage::MemoryKv;
use temporalio_protos::temporal::api::enums::v1::NamespaceState;

use temporalio_protos::temporal::api::taskqueue::v1::{RateLimit, RateLimitConfig, TaskQueueConfig};

use super::super::proto::UpdateTaskQueue;
use super::*;

fn namespace(id: &str, name: &str) -> Namespace {
    Namespace {
        id: NamespaceId::from(id),
        name: name.to_owned(),
        state: NamespaceState::Registered,
        description: "for orders".to_owned(),
        owner_email: "a@b.c".to_owned(),
        data: [("k".to_owned(), "v".to_owned())].into(),
        retention: Duration::from_millis(1500),
        config: Default::default(),
        version: 1,
    }
}

fn node(id: u64) -> NodeRecord {
    NodeRecord { id, store_id: Bytes::from_static(&[7; 16]), peer_address: "a:1".to_owned(), state: 1 }
}

fn table(namespaces: &[Namespace]) -> (Table, Batch) {
    let cluster = ClusterRecord { cluster_id: "c".to_owned(), shards: 4 };
    let batch = bootstrap(&cluster, &[node(1)], namespaces);
    let mut table = Table::default();
    table.apply(&batch);
    (table, batch)
}

fn write(table: &mut Table, change: Change) -> Result<bool, Error> {
    let Some(row) = table.decide(change)? else { return Ok(false) };
    let mut batch = Batch::default();
    row.write(&mut batch);
    table.apply(&batch);
    Ok(true)
}

#[test]
fn what_is_applied_is_what_is_loaded() {
    let (mut table, batch) = table(&[namespace("1", "a"), namespace("2", "b")]);
    let kv = MemoryKv::new();
    kv.write(batch).unwrap();
    assert_eq!(Table::load(&kv).unwrap(), table);
    assert_eq!(**table.by_name("a").unwrap(), namespace("1", "a"));
    assert_eq!(table.cluster().unwrap().shards, 4);
    assert_eq!(table.nodes.values().collect::<Vec<_>>(), [&node(1)]);
    // An installed snapshot clears everything first.
    let mut batch = Batch::default();
    let (start, end) = super::super::key_range();
    batch.delete_range(start, end);
    table.apply(&batch);
    assert_eq!(table, Table::default());
}

#[test]
fn names_are_unique_and_registering_again_is_harmless() {
    let (mut table, _) = table(&[namespace("1", "a")]);
    let register = |id, name| Change::RegisterNamespace(to_record(&namespace(id, name)));
    assert_eq!(write(&mut table, register("2", "b")), Ok(true));
    assert_eq!(write(&mut table, register("2", "b")), Ok(false));
    for (id, name) in [("3", "a"), ("1", "c")] {
        assert!(matches!(write(&mut table, register(id, name)), Err(Error::NamespaceAlreadyExists(_))));
    }
    assert!(matches!(write(&mut table, register("", "x")), Err(Error::InvalidArgument(_))));
    assert_eq!(table.namespaces().count(), 2);
}

#[test]
fn updates_name_the_version_they_were_made_from() {
    let (mut table, _) = table(&[namespace("1", "a"), namespace("2", "b")]);
    let update = |description: &str, version| {
        let namespace = Namespace { description: description.to_owned(), ..namespace("1", "a") };
        Change::UpdateNamespace(UpdateNamespace { namespace: Some(to_record(&namespace)), version })
    };
    assert_eq!(write(&mut table, update("x", 1)), Ok(true));
    assert_eq!(write(&mut table, update("x", 1)), Ok(false));
    assert!(matches!(write(&mut table, update("y", 1)), Err(Error::FailedPrecondition(_))));
    assert_eq!(write(&mut table, update("y", 2)), Ok(true));
    let stored = table.by_name("a").unwrap();
    assert_eq!((stored.version, stored.description.as_str()), (3, "y"));
    let renamed = |name| {
        let record = to_record(&namespace("1", name));
        Change::UpdateNamespace(UpdateNamespace { namespace: Some(record), version: 3 })
    };
    assert!(matches!(write(&mut table, renamed("b")), Err(Error::NamespaceAlreadyExists(_))));
    assert_eq!(write(&mut table, renamed("c")), Ok(true));
    assert!(table.by_name("a").is_none() && table.by_name("c").is_some());
    let unknown =
        Change::UpdateNamespace(UpdateNamespace { namespace: Some(to_record(&namespace("9", "z"))), version: 1 });
    assert_eq!(write(&mut table, unknown), Err(Error::NamespaceNotFound("z".to_owned())));
}

#[test]
fn settings_of_task_queues_name_the_version_they_were_made_from() {
    let (mut table, mut all) = table(&[]);
    let update = |name: &str, rate: f32, version| {
        let limit = RateLimitConfig { rate_limit: Some(RateLimit { requests_per_second: rate }), metadata: None };
        let config = TaskQueueConfig { queue_rate_limit: Some(limit), ..Default::default() };
        let config_by_type = [(2, config)].into();
        let task_queue = TaskQueueRecord { namespace_id: "1".into(), name: name.into(), config_by_type, version: 0 };
        Change::UpdateTaskQueue(UpdateTaskQueue { task_queue: Some(task_queue), version })
    };
    assert_eq!(write(&mut table, update("q", 5.0, 0)), Ok(true));
    assert_eq!(write(&mut table, update("q", 5.0, 0)), Ok(false));
    assert!(matches!(write(&mut table, update("q", 6.0, 0)), Err(Error::FailedPrecondition(_))));
    assert_eq!(write(&mut table, update("q", 6.0, 1)), Ok(true));
    assert_eq!(write(&mut table, update("r", 7.0, 0)), Ok(true));
    let stored = table.task_queue("1", "q").unwrap();
    let limit = stored.config_by_type[&2].queue_rate_limit.as_ref().and_then(|limit| limit.rate_limit);
    assert_eq!((stored.version, limit.map(|limit| limit.requests_per_second)), (2, Some(6.0)));
    assert!(table.task_queue("1", "s").is_none());
    // The rows are found again, and go with the rest of group 0.
    Row::TaskQueue(task_queue::to_record(stored)).write(&mut all);
    let kv = MemoryKv::new();
    kv.write(all).unwrap();
    assert_eq!(Table::load(&kv).unwrap().task_queue("1", "q"), table.task_queue("1", "q"));
    let mut batch = Batch::default();
    let (start, end) = super::super::key_range();
    batch.delete_range(start, end);
    table.apply(&batch);
    assert_eq!(table, Table::default());
}

#[test]
fn a_data_directory_has_one_owner() {
    let kv = MemoryKv::new();
    let mine = DirectoryRecord { cluster_id: "c".to_owned(), node_id: 1, shards: 4 };
    check_directory(&kv, &mine).unwrap();
    check_directory(&kv, &mine).unwrap();
    let others = [
        DirectoryRecord { cluster_id: "d".to_owned(), ..mine.clone() },
        DirectoryRecord { node_id: 2, ..mine.clone() },
        DirectoryRecord { shards: 8, ..mine.clone() },
    ];
    for other in others {
        assert!(matches!(check_directory(&kv, &other), Err(LoadError::Mismatch(_))));
    }
}

#[test]
fn a_store_joins_once_and_no_id_is_given_twice() {
    let (mut table, _) = table(&[]);
    let join = |store: u8, address: &str| {
        Change::JoinNode(JoinNode { store_id: vec![store; 16].into(), peer_address: address.to_owned() })
    };
    assert!(write(&mut table, join(8, "b:1")).unwrap());
    assert!(write(&mut table, join(9, "c:1")).unwrap());
    let id = |table: &Table, store: u8| table.node_of_store(&[store; 16]).map(|node| node.id);
    assert_eq!((id(&table, 7), id(&table, 8), id(&table, 9)), (Some(1), Some(2), Some(3)));
    // Again: nothing to do, or to another address.
    assert!(!write(&mut table, join(9, "c:1")).unwrap());
    assert!(write(&mut table, join(9, "d:1")).unwrap());
    assert_eq!(table.node(NodeId(3)).unwrap().peer_address, "d:1");
    assert!(matches!(write(&mut table, join(5, "b:1")), Err(Error::FailedPrecondition(_))));
    assert!(matches!(write(&mut table, join(5, "")), Err(Error::InvalidArgument(_))));
    let mut batch = Batch::default();
    put_node(&mut batch, &NodeRecord { state: NodeState::Removed.into(), ..table.node(NodeId(3)).unwrap().clone() });
    table.apply(&batch);
    assert!(matches!(write(&mut table, join(9, "d:1")), Err(Error::FailedPrecondition(_))));
    assert!(write(&mut table, join(5, "d:1")).unwrap());
    assert_eq!(id(&table, 5), Some(4));
    assert!(matches!(write(&mut Table::default(), join(9, "c:1")), Err(Error::Unavailable(_))));
}
