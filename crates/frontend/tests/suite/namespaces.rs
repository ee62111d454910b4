//! Namespaces from registration to deletion, and what clients learn of the server.

use std::collections::HashMap;

use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use temporalio_protos::temporal::api::namespace::v1::{
    BadBinaries, BadBinaryInfo, NamespaceConfig, NamespaceFilter, UpdateNamespaceInfo,
};
use temporalio_protos::temporal::api::workflowservice::v1::*;

use crate::fake::{DEFAULT_ID, Fake, ask, call};

fn register(name: &str) -> RegisterNamespaceRequest {
    RegisterNamespaceRequest {
        namespace: name.into(),
        description: "a shop".into(),
        workflow_execution_retention_period: Some(prost_types::Duration { seconds: 7200, nanos: 5 }),
        data: HashMap::from([("team".to_owned(), "blue".to_owned())]),
        ..Default::default()
    }
}

#[tokio::test]
async fn registered_namespaces_are_described() {
    let service = Fake::new().service();
    call(&service, "RegisterNamespace", &register("shop")).await.unwrap();
    let by_name = DescribeNamespaceRequest { namespace: "shop".into(), ..Default::default() };
    let described: DescribeNamespaceResponse = ask(&service, "DescribeNamespace", &by_name).await;
    let info = described.namespace_info.clone().expect("info");
    assert_eq!((info.name.as_str(), info.description.as_str()), ("shop", "a shop"));
    assert_eq!((info.state(), info.data["team"].as_str()), (NamespaceState::Registered, "blue"));
    let limits = info.limits.expect("limits");
    assert_eq!((limits.blob_size_limit_error, limits.memo_size_limit_error), (2 << 20, 2 << 20));
    assert!(info.capabilities.is_some());
    let retention = described.config.clone().expect("a config").workflow_execution_retention_ttl.expect("retention");
    assert_eq!((retention.seconds, retention.nanos), (7200, 5));
    let replication = described.replication_config.clone().expect("replication");
    assert_eq!((replication.active_cluster_name.as_str(), replication.clusters.len()), ("active", 1));

    let by_id = DescribeNamespaceRequest { id: info.id, ..Default::default() };
    assert_eq!(ask::<DescribeNamespaceResponse>(&service, "DescribeNamespace", &by_id).await, described);
}

#[tokio::test]
async fn updates_merge() {
    let fake = Fake::new();
    let service = fake.service();
    call(&service, "RegisterNamespace", &register("shop")).await.unwrap();
    let bad = BadBinaries { binaries: HashMap::from([("sum".to_owned(), BadBinaryInfo::default())]) };
    let request = UpdateNamespaceRequest {
        namespace: "shop".into(),
        update_info: Some(UpdateNamespaceInfo {
            owner_email: "a@b".into(),
            data: HashMap::from([("tier".to_owned(), "1".to_owned())]),
            ..Default::default()
        }),
        config: Some(NamespaceConfig { bad_binaries: Some(bad), ..Default::default() }),
        ..Default::default()
    };
    let updated: UpdateNamespaceResponse = ask(&service, "UpdateNamespace", &request).await;
    let info = updated.namespace_info.expect("info");
    assert_eq!((info.description.as_str(), info.owner_email.as_str(), info.data.len()), ("a shop", "a@b", 2));

    let poll = PollWorkflowTaskQueueRequest {
        namespace: "shop".into(),
        task_queue: Some(temporalio_protos::temporal::api::taskqueue::v1::TaskQueue {
            name: "q".into(),
            ..Default::default()
        }),
        binary_checksum: "sum".into(),
        ..Default::default()
    };
    let status = call(&service, "PollWorkflowTaskQueue", &poll).await.expect_err("a bad binary");
    assert_eq!(status.message(), "Binary sum already marked as bad deployment.");
    let request =
        UpdateNamespaceRequest { namespace: "shop".into(), delete_bad_binary: "sum".into(), ..Default::default() };
    call(&service, "UpdateNamespace", &request).await.unwrap();
    call(&service, "PollWorkflowTaskQueue", &poll).await.unwrap();
}

#[tokio::test]
async fn deprecated_namespaces_take_no_new_workflows() {
    let service = Fake::new().service();
    let request = UpdateNamespaceRequest {
        namespace: "default".into(),
        update_info: Some(UpdateNamespaceInfo { state: NamespaceState::Deleted as i32, ..Default::default() }),
        ..Default::default()
    };
    call(&service, "UpdateNamespace", &request).await.unwrap();
    let describe = DescribeWorkflowExecutionRequest { namespace: "default".into(), ..Default::default() };
    let status = call(&service, "DescribeWorkflowExecution", &describe).await.expect_err("deleted");
    assert_eq!(status.message(), "Namespace has invalid state: Deleted. Must be Registered or Deprecated.");
    for include_deleted in [false, true] {
        let filter = Some(NamespaceFilter { include_deleted });
        let list = ListNamespacesRequest { namespace_filter: filter, ..Default::default() };
        let listed: ListNamespacesResponse = ask(&service, "ListNamespaces", &list).await;
        let mut names = listed.namespaces.iter().filter_map(|namespace| namespace.namespace_info.as_ref());
        assert_eq!(names.any(|info| info.name == "default"), include_deleted);
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let service = Fake::new().service();
    for name in ["a", "b", "c"] {
        call(&service, "RegisterNamespace", &register(name)).await.unwrap();
    }
    let mut names = Vec::new();
    let mut request = ListNamespacesRequest { page_size: 2, ..Default::default() };
    loop {
        let page: ListNamespacesResponse = ask(&service, "ListNamespaces", &request).await;
        assert!(page.namespaces.len() <= 2);
        names.extend(page.namespaces.into_iter().map(|namespace| namespace.namespace_info.expect("info").name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.next_page_token = page.next_page_token;
    }
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c", "default", "old"]);
    let broken = ListNamespacesRequest { next_page_token: vec![0xff], ..Default::default() };
    let status = call(&service, "ListNamespaces", &broken).await.expect_err("no token");
    assert_eq!(status.message(), "Invalid NextPageToken.");
    let past_all = ListNamespacesRequest { next_page_token: b"zzz".to_vec(), ..Default::default() };
    assert_eq!(ask::<ListNamespacesResponse>(&service, "ListNamespaces", &past_all).await, Default::default());
}

#[tokio::test]
async fn the_server_describes_itself_truthfully() {
    let service = Fake::new().service();
    let system: GetSystemInfoResponse = ask(&service, "GetSystemInfo", &GetSystemInfoRequest::default()).await;
    let capabilities = system.capabilities.expect("capabilities");
    assert!(capabilities.sdk_metadata && capabilities.internal_error_differentiation);
    assert!(!capabilities.nexus && !capabilities.supports_schedules);
    assert!(capabilities.build_id_based_versioning, "workers say their build id in the version stamp");
    let cluster: GetClusterInfoResponse = ask(&service, "GetClusterInfo", &GetClusterInfoRequest::default()).await;
    assert_eq!((cluster.history_shard_count, cluster.cluster_id.as_str()), (4, "cluster"));
    assert_eq!(cluster.server_version, system.server_version);
    let by_id = DescribeNamespaceRequest { id: DEFAULT_ID.into(), ..Default::default() };
    call(&service, "DescribeNamespace", &by_id).await.unwrap();
}
