//! The registry, and its queries against what the official server (1.32.1) answered for
//! the same workers.

use temporalio_protos::temporal::api::worker::v1::WorkerHostInfo;

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn registry(workers_max: usize) -> Registry {
    Registry::new(Bounds { workers_max, bytes_max: 1 << 20, time_to_live: seconds(300) })
}

fn worker(key: &str, task_queue: &str, status: WorkerStatus) -> WorkerHeartbeat {
    WorkerHeartbeat {
        worker_instance_key: key.to_owned(),
        worker_identity: format!("id-{key}"),
        task_queue: task_queue.to_owned(),
        status: status.into(),
        ..Default::default()
    }
}

fn names(response: &ListWorkersResponse) -> Vec<&str> {
    response.workers.iter().map(|worker| worker.worker_instance_key.as_str()).collect()
}

/// The workers that the official server was asked about.
fn recorded() -> Registry {
    let mut registry = registry(100);
    let mut first = worker("a", "tq", WorkerStatus::Running);
    first.host_info = Some(WorkerHostInfo { host_name: "h1".to_owned(), ..Default::default() });
    let second = worker("b", "tq2", WorkerStatus::Running);
    let third = worker("c", "tq", WorkerStatus::ShuttingDown);
    let system = worker("d", "temporal-sys-foo", WorkerStatus::Running);
    let nameless = WorkerHeartbeat { worker_identity: "x".to_owned(), ..Default::default() };
    registry.record("ns", vec![first, second, third, system, nameless], seconds(1));
    registry.record("other", vec![worker("z", "tq", WorkerStatus::Running)], seconds(1));
    registry
}

/// How many of the recorded workers match, or the error.
fn count(query: &str) -> Result<i64, String> {
    let request = CountWorkersRequest { query: query.to_owned(), ..Default::default() };
    recorded().count("ns", &request).map(|response| response.count).map_err(|error| error.to_string())
}

#[test]
fn queries_answer_as_the_official_server_does() {
    for (query, expected) in [
        ("WorkerInstanceKey='a'", 1),
        ("WorkerInstanceKey = \"a\"", 1),
        ("WorkerInstanceKey != 'a' AND TaskQueue='tq'", 1),
        ("TaskQueue starts_with 'tq'", 3),
        ("TaskQueue not starts_with 'tq2'", 3),
        ("TaskQueue STARTS_WITH 'tq2'", 1),
        ("TaskQueue IS NULL", 1),
        ("DeploymentName is null", 4),
        ("DeploymentName is not null", 0),
        ("HostName='h1' or TaskQueue='tq2'", 2),
        ("Status='Running'", 2),
        ("WorkerStatus='ShuttingDown'", 1),
        ("STATUS='Running'", 2),
        ("(TaskQueue='tq2')", 1),
        ("not TaskQueue='tq2'", 0),
        ("TaskQueue in ('tq2')", 0),
        ("TaskQueue like 'tq%'", 0),
        ("TaskQueue > 'a'", 0),
        ("TaskQueue = ''", 0),
        ("TaskQueue = 5", 0),
        ("nonsense", 0),
        ("foo = 'bar'", 0),
        ("taskqueue = 'tq'", 0),
        ("StartTime > '2020-01-01T00:00:00Z'", 0),
        ("StartTime < '2030-01-01T00:00:00Z'", 4),
        ("StartTime = '1970-01-01T00:00:00Z'", 4),
        ("StartTime > 'rubbish'", 0),
        ("StartTime between '2020-01-01T00:00:00Z' and '2030-01-01T00:00:00Z'", 0),
        ("StartTime is null", 4),
        ("HeartbeatTime is not null", 0),
        ("TaskQueue='tq' order by TaskQueue", 2),
        ("TaskQueue='tq' group by TaskQueue", 2),
        ("TaskQueue=tq", 0),
        ("'tq'=TaskQueue", 0),
        ("length(TaskQueue)=2", 0),
        ("TaskQueue is true", 0),
        ("`TaskQueue`='tq'", 2),
        ("TaskQueue<>'tq'", 2),
        ("1=1", 0),
        ("TaskQueue='it''s'", 0),
        ("TaskQueue <=> 'tq'", 0),
        ("TaskQueue = 'tq' -- c", 2),
        ("TaskQueue = 'tq';", 2),
        ("StartTime >= 1577836800000000000", 0),
        // An unanswerable left side spoils the whole condition, an unreached right side does not.
        ("foo = 'bar' or TaskQueue='tq'", 0),
        ("TaskQueue='tq' or foo = 'bar'", 2),
        ("", 4),
    ] {
        assert_eq!(count(query), Ok(expected), "{query}");
    }
}

#[test]
fn errors_of_queries_begin_as_the_official_ones_and_mark_the_place() {
    for (query, expected) in [
        ("TaskQueue='tq' limit 1", "operation is not supported: 'limit' clause"),
        ("TaskQueue='tq", "malformed query: syntax error at position 41 near 'tq'"),
        ("TaskQueue=='tq'", "malformed query: syntax error at position 39"),
        ("TaskQueue='tq' AND", "malformed query: syntax error at position 46"),
        ("TaskQueue='tq' xor TaskQueue='a'", "malformed query: syntax error at position 46 near 'xor'"),
        ("TaskQueue = 'tq'; drop", "malformed query: syntax error at position 50 near 'drop'"),
        ("   ", "malformed query: syntax error at position 1"),
    ] {
        let error = count(query).expect_err(query);
        let (first, mark) = error.split_once('\n').expect("a mark below");
        assert_eq!(first, expected, "{query}");
        assert!(mark.starts_with(&format!("  {}", query.trim_end())) && mark.contains("^ expected "), "{error}");
    }
    let unclosed = count("TaskQueue='tq").expect_err("no end");
    assert!(
        unclosed.ends_with("\n  TaskQueue='tq\n            ^ expected the closing quote of this text"),
        "{unclosed}"
    );
}

#[test]
fn pages_follow_one_another_and_hide_the_servers_own_workers() {
    let registry = recorded();
    // The first worker has an empty key.
    let mut request = ListWorkersRequest { page_size: 1, ..Default::default() };
    assert!(!registry.list("ns", &request).unwrap().next_page_token.is_empty());
    request.page_size = 2;
    let first = registry.list("ns", &request).unwrap();
    assert_eq!(names(&first), ["", "a"]);
    request.next_page_token = first.next_page_token;
    let second = registry.list("ns", &request).unwrap();
    assert_eq!((names(&second), second.next_page_token.is_empty()), (vec!["b", "c"], true));
    let all = ListWorkersRequest { include_system_workers: true, ..Default::default() };
    assert_eq!(names(&registry.list("ns", &all).unwrap()), ["", "a", "b", "c", "d"]);
    request.next_page_token = b"junk".to_vec();
    assert_eq!(registry.list("ns", &request).unwrap_err().to_string(), "invalid next_page_token");
}

#[test]
fn a_worker_is_forgotten_when_it_says_goodbye_or_nothing() {
    let mut registry = recorded();
    registry.record("ns", vec![worker("b", "tq2", WorkerStatus::Shutdown)], seconds(200));
    registry.record("ns", vec![worker("a", "tq", WorkerStatus::Running)], seconds(200));
    registry.expire(seconds(301));
    assert_eq!(names(&registry.list("ns", &ListWorkersRequest::default()).unwrap()), ["a"]);
    let gone = DescribeWorkerRequest { worker_instance_key: "b".to_owned(), ..Default::default() };
    assert_eq!(registry.describe("ns", gone).unwrap_err().to_string(), "Worker b not found");
    let known = DescribeWorkerRequest { worker_instance_key: "a".to_owned(), ..Default::default() };
    assert!(registry.describe("ns", known).is_ok());
}

#[test]
fn the_silent_ones_make_room() {
    let mut registry = registry(2);
    for key in ["a", "b", "a", "c"] {
        registry.record("ns", vec![worker(key, "tq", WorkerStatus::Running)], seconds(1));
    }
    assert_eq!(names(&registry.list("ns", &ListWorkersRequest::default()).unwrap()), ["a", "c"]);
    assert_eq!((registry.order.len(), registry.workers.len()), (2, 2));
}

#[test]
fn deep_conditions_are_refused_before_the_stack_ends() {
    let query = format!("{}TaskQueue='tq'{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(Query::parse(&query).is_err());
    let query = "not ".repeat(100_000);
    assert!(Query::parse(&query).is_err());
}
