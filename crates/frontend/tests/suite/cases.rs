//! Requests that are wrong in one way each, and some that are right.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use prost_types::Duration as ProtoDuration;
use temporalio_protos::temporal::api::common::v1::{
    Header, Link, Memo, Payload, Payloads, Priority, RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType,
    link,
};
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::namespace::v1::{NamespaceConfig, UpdateNamespaceInfo};
use temporalio_protos::temporal::api::query::v1::WorkflowQuery;
use temporalio_protos::temporal::api::replication::v1::ClusterReplicationConfig;
use temporalio_protos::temporal::api::taskqueue::v1::{RateLimit, TaskQueue};
use temporalio_protos::temporal::api::workflowservice::v1::*;

use crate::fake::WORKFLOW_SERVICE;

pub(crate) struct Case {
    pub(crate) rpc: &'static str,
    pub(crate) what: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Case {
    pub(crate) fn path(&self) -> String {
        format!("/{WORKFLOW_SERVICE}/{}", self.rpc)
    }

    pub(crate) fn title(&self) -> String {
        format!("{}: {}", self.rpc, self.what)
    }
}

pub(crate) fn case(rpc: &'static str, what: &'static str, request: impl Message) -> Case {
    Case {
        rpc,
        what,
        headers: HeaderMap::new(),
        timeout: Some(Duration::from_secs(5)),
        body: request.encode_to_vec().into(),
    }
}

fn from(mut case: Case, headers: &[(&'static str, &'static str)]) -> Case {
    for (name, value) in headers {
        case.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    case
}

fn within(timeout: Option<Duration>, case: Case) -> Case {
    Case { timeout, ..case }
}

fn long() -> String {
    "x".repeat(1001)
}

fn name() -> String {
    "default".to_owned()
}

fn huge() -> Option<Payloads> {
    Some(Payloads { payloads: vec![Payload { data: vec![0; 2 << 20], ..Payload::default() }] })
}

fn seconds(seconds: i64) -> Option<ProtoDuration> {
    Some(ProtoDuration { seconds, nanos: 0 })
}

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.to_owned(), ..TaskQueue::default() })
}

fn run_of(workflow_id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() })
}

/// A token of a namespace that nobody has, in the form of every server.
fn foreign_token() -> Vec<u8> {
    #[derive(Message)]
    struct Token {
        #[prost(string, tag = "1")]
        namespace_id: String,
        #[prost(string, tag = "2")]
        workflow_id: String,
    }
    Token { namespace_id: "1f4a4b5e-0f3c-4c12-9c40-5a1d7a9a3b11".to_owned(), workflow_id: "w".to_owned() }
        .encode_to_vec()
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = starts();
    cases.extend(start_details());
    cases.extend(signals_with_start());
    cases.extend(executions());
    cases.extend(reads());
    cases.extend(tasks());
    cases.extend(by_id());
    cases.extend(polls());
    cases.extend(task_queue_settings());
    cases.extend(namespaces());
    cases.extend(crate::update_cases::updates());
    cases.extend(crate::update_cases::updates_with_start());
    cases.extend(clients());
    cases.extend(nowhere());
    cases
}

fn start() -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: name(),
        workflow_id: "golden".to_owned(),
        workflow_type: Some(WorkflowType { name: "T".to_owned() }),
        task_queue: queue("q"),
        request_id: "golden".to_owned(),
        ..Default::default()
    }
}

fn starts() -> Vec<Case> {
    let one = |what, change: fn(&mut StartWorkflowExecutionRequest)| {
        let mut request = start();
        change(&mut request);
        case("StartWorkflowExecution", what, request)
    };
    vec![
        one("no namespace", |r| r.namespace.clear()),
        one("long namespace", |r| r.namespace = long()),
        one("unknown namespace", |r| r.namespace = "nobody".into()),
        one("deprecated namespace", |r| r.namespace = "old".into()),
        one("no workflow id", |r| r.workflow_id.clear()),
        one("long workflow id", |r| r.workflow_id = long()),
        one("no workflow type", |r| r.workflow_type = None),
        one("empty workflow type", |r| r.workflow_type = Some(WorkflowType::default())),
        one("long workflow type", |r| r.workflow_type = Some(WorkflowType { name: long() })),
        one("no task queue", |r| r.task_queue = None),
        one("empty task queue", |r| r.task_queue = queue("")),
        one("long task queue", |r| r.task_queue = queue(&long())),
        one("reserved task queue", |r| r.task_queue = queue("/_sys/q/1")),
        one("internal task queue", |r| r.task_queue = queue("temporal-sys-per-ns-tq")),
        one("negative execution timeout", |r| r.workflow_execution_timeout = seconds(-1)),
        one("negative run timeout", |r| r.workflow_run_timeout = seconds(-1)),
        one("negative task timeout", |r| r.workflow_task_timeout = seconds(-1)),
        one("mixed signs in a timeout", |r| {
            r.workflow_run_timeout = Some(ProtoDuration { seconds: 1, nanos: -1 });
        }),
        one("long request id", |r| r.request_id = long()),
        one("negative start delay", |r| r.workflow_start_delay = seconds(-1)),
        one("cron and start delay", |r| {
            r.cron_schedule = "* * * * *".into();
            r.workflow_start_delay = seconds(1);
        }),
        one("terminate if running and a conflict policy", |r| {
            r.workflow_id_reuse_policy = 4;
            r.workflow_id_conflict_policy = 1;
        }),
        one("reject duplicate and terminate existing", |r| {
            r.workflow_id_reuse_policy = 3;
            r.workflow_id_conflict_policy = 3;
        }),
        one("callbacks attached without a request id", |r| {
            r.on_conflict_options = Some(temporalio_protos::temporal::api::workflow::v1::OnConflictOptions {
                attach_completion_callbacks: true,
                ..Default::default()
            });
        }),
        one("everything wrong at once", |r| {
            r.workflow_id = long();
            r.workflow_type = None;
            r.task_queue = None;
            r.request_id = long();
        }),
    ]
}

fn start_details() -> Vec<Case> {
    let one = |what, change: fn(&mut StartWorkflowExecutionRequest)| {
        let mut request = start();
        change(&mut request);
        case("StartWorkflowExecution", what, request)
    };
    let retry = |what, policy: RetryPolicy| {
        case("StartWorkflowExecution", what, StartWorkflowExecutionRequest { retry_policy: Some(policy), ..start() })
    };
    let linked = |what, variant: Option<link::Variant>| {
        case("StartWorkflowExecution", what, StartWorkflowExecutionRequest { links: vec![Link { variant }], ..start() })
    };
    vec![
        retry("negative initial interval", RetryPolicy { initial_interval: seconds(-1), ..Default::default() }),
        retry("coefficient below one", RetryPolicy { backoff_coefficient: 0.5, ..Default::default() }),
        retry("negative maximum interval", RetryPolicy { maximum_interval: seconds(-1), ..Default::default() }),
        retry(
            "maximum below initial interval",
            RetryPolicy { initial_interval: seconds(9), maximum_interval: seconds(3), ..Default::default() },
        ),
        retry("negative attempts", RetryPolicy { maximum_attempts: -1, ..Default::default() }),
        retry(
            "unknown timeout type",
            RetryPolicy { non_retryable_error_types: vec!["TemporalTimeout:Never".into()], ..Default::default() },
        ),
        one("negative priority", |r| r.priority = Some(Priority { priority_key: -1, ..Default::default() })),
        one("long fairness key", |r| {
            r.priority = Some(Priority { fairness_key: "k".repeat(65), ..Default::default() });
        }),
        one("negative fairness weight", |r| {
            r.priority = Some(Priority { fairness_weight: -1.0, ..Default::default() });
        }),
        one("too many links", |r| r.links = vec![Link { variant: None }; 11]),
        linked("a link to nothing", None),
        linked(
            "a link without a run",
            Some(link::Variant::WorkflowEvent(link::WorkflowEvent {
                namespace: name(),
                workflow_id: "w".into(),
                ..Default::default()
            })),
        ),
        linked("a link that is too large", Some(link::Variant::BatchJob(link::BatchJob { job_id: "j".repeat(4001) }))),
        one("a system search attribute", |r| {
            let fields = HashMap::from([("RunId".to_owned(), Payload::default())]);
            r.search_attributes = Some(SearchAttributes { indexed_fields: fields });
        }),
        one("huge input", |r| r.input = huge()),
        one("huge memo", |r| {
            let fields = HashMap::from([("m".to_owned(), Payload { data: vec![0; 2 << 20], ..Default::default() })]);
            r.memo = Some(Memo { fields });
        }),
        one("right, with all ids as long as they may be", |r| {
            r.workflow_id = "w".repeat(1000);
            r.request_id = "r".repeat(1000);
            r.header = Some(Header::default());
        }),
        one("time skipping", |r| r.time_skipping_config = Some(Default::default())),
    ]
}

fn signals_with_start() -> Vec<Case> {
    let one = |what, change: fn(&mut SignalWithStartWorkflowExecutionRequest)| {
        let mut request = SignalWithStartWorkflowExecutionRequest {
            namespace: name(),
            workflow_id: "golden-signal".to_owned(),
            workflow_type: Some(WorkflowType { name: "T".to_owned() }),
            task_queue: queue("q"),
            signal_name: "s".to_owned(),
            ..Default::default()
        };
        change(&mut request);
        case("SignalWithStartWorkflowExecution", what, request)
    };
    vec![
        one("right", |_| {}),
        one("no workflow id", |r| r.workflow_id.clear()),
        one("no signal name", |r| r.signal_name.clear()),
        one("long signal name", |r| r.signal_name = long()),
        one("no workflow type", |r| r.workflow_type = None),
        one("long workflow type", |r| r.workflow_type = Some(WorkflowType { name: long() })),
        one("no task queue", |r| r.task_queue = None),
        one("long request id", |r| r.request_id = long()),
        one("negative run timeout", |r| r.workflow_run_timeout = seconds(-1)),
        one("conflict policy fail", |r| r.workflow_id_conflict_policy = 1),
        one("deprecated namespace", |r| r.namespace = "old".into()),
        one("huge input", |r| r.input = huge()),
        one("huge signal", |r| r.signal_input = huge()),
    ]
}

fn executions() -> Vec<Case> {
    let signal = |what, change: fn(&mut SignalWorkflowExecutionRequest)| {
        let mut request = SignalWorkflowExecutionRequest {
            namespace: name(),
            workflow_execution: run_of("w", ""),
            signal_name: "s".to_owned(),
            ..Default::default()
        };
        change(&mut request);
        case("SignalWorkflowExecution", what, request)
    };
    vec![
        signal("no execution", |r| r.workflow_execution = None),
        signal("no workflow id", |r| r.workflow_execution = run_of("", "")),
        signal("broken run id", |r| r.workflow_execution = run_of("w", "not-a-uuid")),
        signal("no signal name", |r| r.signal_name.clear()),
        signal("long signal name", |r| r.signal_name = long()),
        signal("long request id", |r| r.request_id = long()),
        signal("huge input", |r| r.input = huge()),
        case(
            "RequestCancelWorkflowExecution",
            "no execution",
            RequestCancelWorkflowExecutionRequest { namespace: name(), ..Default::default() },
        ),
        case(
            "TerminateWorkflowExecution",
            "no execution",
            TerminateWorkflowExecutionRequest { namespace: name(), ..Default::default() },
        ),
        case(
            "TerminateWorkflowExecution",
            "too many links",
            TerminateWorkflowExecutionRequest {
                namespace: name(),
                workflow_execution: run_of("w", ""),
                links: vec![Link { variant: None }; 11],
                ..Default::default()
            },
        ),
        case(
            "DescribeWorkflowExecution",
            "unknown namespace before a missing execution",
            DescribeWorkflowExecutionRequest { namespace: "nobody".to_owned(), ..Default::default() },
        ),
        case(
            "ResetStickyTaskQueue",
            "no execution",
            ResetStickyTaskQueueRequest { namespace: name(), ..Default::default() },
        ),
    ]
}

fn reads() -> Vec<Case> {
    let query = |what, execution, query| {
        case("QueryWorkflow", what, QueryWorkflowRequest { namespace: name(), execution, query, ..Default::default() })
    };
    let named = |query_type: &str, query_args| {
        Some(WorkflowQuery { query_type: query_type.to_owned(), query_args, header: None })
    };
    vec![
        case(
            "GetWorkflowExecutionHistory",
            "no execution",
            GetWorkflowExecutionHistoryRequest { namespace: name(), ..Default::default() },
        ),
        case(
            "GetWorkflowExecutionHistoryReverse",
            "no workflow id",
            GetWorkflowExecutionHistoryReverseRequest {
                namespace: name(),
                execution: run_of("", ""),
                ..Default::default()
            },
        ),
        query("no execution", None, named("q", None)),
        query("no query", run_of("w", ""), None),
        query("no query type", run_of("w", ""), named("", None)),
        query("huge arguments", run_of("w", ""), named("q", huge())),
        case("DescribeTaskQueue", "no queue", DescribeTaskQueueRequest { namespace: name(), ..Default::default() }),
        case(
            "DescribeTaskQueue",
            "long queue",
            DescribeTaskQueueRequest { namespace: name(), task_queue: queue(&long()), ..Default::default() },
        ),
        case(
            "DescribeTaskQueue",
            "enhanced on a sticky queue",
            DescribeTaskQueueRequest {
                namespace: name(),
                task_queue: Some(TaskQueue { name: "s".into(), kind: 2, normal_name: "n".into() }),
                api_mode: 1,
                ..Default::default()
            },
        ),
    ]
}

/// What operators may not set, and queues that cannot be described.
fn task_queue_settings() -> Vec<Case> {
    let update = |label: &'static str, change: fn(&mut UpdateTaskQueueConfigRequest)| {
        let mut request = UpdateTaskQueueConfigRequest {
            namespace: name(),
            task_queue: "q".into(),
            task_queue_type: 2,
            ..Default::default()
        };
        change(&mut request);
        case("UpdateTaskQueueConfig", label, request)
    };
    let partition = |stats: bool, queue: TaskQueue| DescribeTaskQueueRequest {
        namespace: name(),
        task_queue: Some(queue),
        report_stats: stats,
        ..Default::default()
    };
    let named = |name: &str| TaskQueue { name: name.into(), ..Default::default() };
    vec![
        update("a rate for workflows", |request| {
            request.task_queue_type = 1;
            request.update_queue_rate_limit = rate(5.0, "");
        }),
        update("a rate of keys for workflows", |request| {
            request.task_queue_type = 1;
            request.update_fairness_key_rate_limit_default = rate(5.0, "");
        }),
        update("a negative rate", |request| request.update_queue_rate_limit = rate(-5.0, "")),
        update("a long reason", |request| request.update_queue_rate_limit = rate(5.0, &long())),
        update("a long identity", |request| request.identity = long()),
        update("a partition", |request| request.task_queue = "/_sys/q1/1".into()),
        update("a weight without a key", |request| {
            request.set_fairness_weight_overrides.insert(String::new(), 2.0);
        }),
        update("a negative weight", |request| {
            request.set_fairness_weight_overrides.insert("a".into(), -2.0);
        }),
        update("a weight set and unset", |request| {
            request.set_fairness_weight_overrides.insert("a".into(), 2.0);
            request.unset_fairness_weight_overrides.push("a".into());
        }),
        case(
            "ListTaskQueuePartitions",
            "no queue",
            ListTaskQueuePartitionsRequest { namespace: name(), ..Default::default() },
        ),
        case(
            "ListTaskQueuePartitions",
            "a partition",
            ListTaskQueuePartitionsRequest { namespace: name(), task_queue: Some(named("/_sys/q1/1")) },
        ),
        case("DescribeTaskQueue", "stats of a partition", partition(true, named("/_sys/q1/1"))),
        case("DescribeTaskQueue", "no number of a partition", partition(false, named("/_sys/q1/x"))),
        case("DescribeTaskQueue", "stats of a sticky queue", partition(true, TaskQueue { kind: 2, ..named("s1") })),
        case(
            "DescribeTaskQueue",
            "a normal name of a normal queue",
            partition(false, TaskQueue { normal_name: "x".into(), ..named("q1") }),
        ),
    ]
}

fn rate(requests_per_second: f32, reason: &str) -> Option<update_task_queue_config_request::RateLimitUpdate> {
    Some(update_task_queue_config_request::RateLimitUpdate {
        rate_limit: Some(RateLimit { requests_per_second }),
        reason: reason.to_owned(),
    })
}

fn tasks() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, namespace, token) in [
        ("no token", name(), Vec::new()),
        ("no token and no namespace", String::new(), Vec::new()),
        ("broken token", name(), vec![0xff; 7]),
        ("a token of an unknown namespace", name(), foreign_token()),
        ("a token without a namespace", name(), vec![0x12, 1, b'w']),
        ("a long namespace and no token", long(), Vec::new()),
        ("an unknown namespace and a broken token", "nobody".to_owned(), vec![0xff; 7]),
        ("an unknown namespace and a token of another", "nobody".to_owned(), foreign_token()),
    ] {
        macro_rules! with_token {
            ($($rpc:literal $request:ident),*) => {$(
                let request = $request { task_token: token.clone(), namespace: namespace.clone(), ..Default::default() };
                cases.push(case($rpc, what, request));
            )*};
        }
        with_token!(
            "RespondWorkflowTaskCompleted" RespondWorkflowTaskCompletedRequest,
            "RespondWorkflowTaskFailed" RespondWorkflowTaskFailedRequest,
            "RespondActivityTaskCompleted" RespondActivityTaskCompletedRequest,
            "RespondActivityTaskFailed" RespondActivityTaskFailedRequest,
            "RespondActivityTaskCanceled" RespondActivityTaskCanceledRequest,
            "RecordActivityTaskHeartbeat" RecordActivityTaskHeartbeatRequest,
            "RespondQueryTaskCompleted" RespondQueryTaskCompletedRequest
        );
    }
    cases
}

fn by_id() -> Vec<Case> {
    let mut cases = Vec::new();
    macro_rules! by_id {
        ($($rpc:literal $request:ident),*) => {$(
            let request = $request { namespace: name(), workflow_id: "w".into(), ..Default::default() };
            cases.push(case($rpc, "no activity id", request.clone()));
            cases.push(case($rpc, "unknown namespace", $request { namespace: "nobody".into(), ..request.clone() }));
        )*};
    }
    by_id!(
        "RespondActivityTaskCompletedById" RespondActivityTaskCompletedByIdRequest,
        "RespondActivityTaskFailedById" RespondActivityTaskFailedByIdRequest,
        "RespondActivityTaskCanceledById" RespondActivityTaskCanceledByIdRequest,
        "RecordActivityTaskHeartbeatById" RecordActivityTaskHeartbeatByIdRequest
    );
    cases.push(case(
        "RespondActivityTaskFailedById",
        "long identity",
        RespondActivityTaskFailedByIdRequest {
            namespace: name(),
            workflow_id: "w".into(),
            activity_id: "a".into(),
            identity: long(),
            failure: Some(Failure::default()),
            ..Default::default()
        },
    ));
    cases
}

fn polls() -> Vec<Case> {
    let poll = |what, change: fn(&mut PollWorkflowTaskQueueRequest)| {
        let mut request =
            PollWorkflowTaskQueueRequest { namespace: name(), task_queue: queue("q"), ..Default::default() };
        change(&mut request);
        case("PollWorkflowTaskQueue", what, request)
    };
    let activities = |what, change: fn(&mut PollActivityTaskQueueRequest)| {
        let mut request =
            PollActivityTaskQueueRequest { namespace: name(), task_queue: queue("q"), ..Default::default() };
        change(&mut request);
        case("PollActivityTaskQueue", what, request)
    };
    let sticky = || Some(TaskQueue { name: "s".into(), kind: 2, normal_name: String::new() });
    let versioned = temporalio_protos::temporal::api::deployment::v1::WorkerDeploymentOptions {
        worker_versioning_mode: 2,
        ..Default::default()
    };
    let mut cases = vec![
        within(None, poll("no deadline", |_| {})),
        within(Some(Duration::from_secs(1)), poll("a deadline that is too short", |_| {})),
        poll("no queue", |r| r.task_queue = None),
        poll("empty queue", |r| r.task_queue = queue("")),
        poll("long queue", |r| r.task_queue = queue(&long())),
        poll("a partition", |r| r.task_queue = queue("/_sys/q/1")),
        poll("long identity", |r| r.identity = long()),
        within(None, activities("no deadline", |_| {})),
        activities("no queue", |r| r.task_queue = None),
        activities("long identity", |r| r.identity = long()),
    ];
    let request = PollWorkflowTaskQueueRequest {
        namespace: name(),
        task_queue: sticky(),
        deployment_options: Some(versioned.clone()),
        ..Default::default()
    };
    cases.push(case("PollWorkflowTaskQueue", "versioned and sticky without a normal name", request.clone()));
    let request = PollWorkflowTaskQueueRequest { task_queue: queue("q"), ..request };
    cases.push(case("PollWorkflowTaskQueue", "versioned without a name", request));
    cases
}

fn namespaces() -> Vec<Case> {
    let register = |what, change: fn(&mut RegisterNamespaceRequest)| {
        let mut request = RegisterNamespaceRequest {
            namespace: "golden".into(),
            workflow_execution_retention_period: seconds(86_400),
            ..Default::default()
        };
        change(&mut request);
        case("RegisterNamespace", what, request)
    };
    let update = |what, change: fn(&mut UpdateNamespaceRequest)| {
        let mut request = UpdateNamespaceRequest { namespace: name(), ..Default::default() };
        change(&mut request);
        case("UpdateNamespace", what, request)
    };
    let describe = |what, namespace: &str, id: &str| {
        let request = DescribeNamespaceRequest { namespace: namespace.into(), id: id.into(), ..Default::default() };
        case("DescribeNamespace", what, request)
    };
    vec![
        register("no name", |r| r.namespace.clear()),
        register("long name", |r| r.namespace = long()),
        register("a name that is taken", |r| r.namespace = name()),
        register("no retention", |r| r.workflow_execution_retention_period = None),
        register("retention of a minute", |r| r.workflow_execution_retention_period = seconds(60)),
        register("negative retention", |r| r.workflow_execution_retention_period = seconds(-1)),
        register("global", |r| r.is_global_namespace = true),
        register("another cluster", |r| r.active_cluster_name = "moon".into()),
        register("two clusters", |r| {
            r.clusters = ["active", "active"]
                .map(|name| ClusterReplicationConfig { cluster_name: name.into(), ..Default::default() })
                .to_vec();
        }),
        describe("neither name nor id", "", ""),
        describe("both name and id", "default", "1f4a4b5e-0f3c-4c12-9c40-5a1d7a9a3b11"),
        describe("unknown name", "nobody", ""),
        describe("unknown id", "", "1f4a4b5e-0f3c-4c12-9c40-5a1d7a9a3b11"),
        describe("right", "default", ""),
        update("unknown namespace", |r| r.namespace = "nobody".into()),
        update("nothing to change", |_| {}),
        update("retention of a minute", |r| {
            r.config = Some(NamespaceConfig { workflow_execution_retention_ttl: seconds(60), ..Default::default() });
        }),
        update("a state that is none", |r| {
            r.namespace = "old".into();
            r.update_info = Some(UpdateNamespaceInfo { state: 1, ..Default::default() });
        }),
        update("a bad binary that is not there", |r| r.delete_bad_binary = "sum".into()),
        update("promotion", |r| r.promote_namespace = true),
    ]
}

fn clients() -> Vec<Case> {
    let info = |what, headers: &[(&'static str, &'static str)]| {
        from(case("GetSystemInfo", what, GetSystemInfoRequest::default()), headers)
    };
    vec![
        info("a client of the next version", &[("client-name", "temporal-go"), ("client-version", "2.0.0")]),
        info("a client of no version", &[("client-name", "temporal-go"), ("client-version", "next")]),
        info(
            "a client that wants a server of the next version",
            &[("client-name", "x"), ("client-version", "1"), ("supported-server-versions", ">=9.0.0")],
        ),
        info(
            "the CLI",
            &[
                ("client-name", "temporal-cli"),
                ("client-version", "1.5.1"),
                ("supported-server-versions", ">=1.0.0 <2.0.0"),
            ],
        ),
        from(
            case(
                "StartWorkflowExecution",
                "an unknown namespace before an old client",
                StartWorkflowExecutionRequest { namespace: "nobody".into(), ..start() },
            ),
            &[("client-name", "temporal-go"), ("client-version", "2.0.0")],
        ),
        from(
            case(
                "StartWorkflowExecution",
                "an old client before a missing workflow id",
                StartWorkflowExecutionRequest { workflow_id: String::new(), ..start() },
            ),
            &[("client-name", "temporal-go"), ("client-version", "2.0.0")],
        ),
    ]
}

/// Requests without a namespace.
fn nowhere() -> Vec<Case> {
    let mut cases = Vec::new();
    macro_rules! nowhere {
        ($($rpc:literal $request:ident),* $(,)?) => {$(
            cases.push(case($rpc, "nothing at all", $request::default()));
        )*};
    }
    nowhere!(
        "UpdateNamespace" UpdateNamespaceRequest,
        "SignalWithStartWorkflowExecution" SignalWithStartWorkflowExecutionRequest,
        "SignalWorkflowExecution" SignalWorkflowExecutionRequest,
        "RequestCancelWorkflowExecution" RequestCancelWorkflowExecutionRequest,
        "TerminateWorkflowExecution" TerminateWorkflowExecutionRequest,
        "DescribeWorkflowExecution" DescribeWorkflowExecutionRequest,
        "GetWorkflowExecutionHistory" GetWorkflowExecutionHistoryRequest,
        "GetWorkflowExecutionHistoryReverse" GetWorkflowExecutionHistoryReverseRequest,
        "QueryWorkflow" QueryWorkflowRequest,
        "ResetStickyTaskQueue" ResetStickyTaskQueueRequest,
        "PollWorkflowTaskQueue" PollWorkflowTaskQueueRequest,
        "PollActivityTaskQueue" PollActivityTaskQueueRequest,
        "RespondActivityTaskCompletedById" RespondActivityTaskCompletedByIdRequest,
        "RecordActivityTaskHeartbeatById" RecordActivityTaskHeartbeatByIdRequest,
        "DescribeTaskQueue" DescribeTaskQueueRequest,
        "ShutdownWorker" ShutdownWorkerRequest,
        "RecordWorkerHeartbeat" RecordWorkerHeartbeatRequest,
        "ListWorkers" ListWorkersRequest,
        "CountWorkers" CountWorkersRequest,
        "DescribeWorker" DescribeWorkerRequest,
        "ListNamespaces" ListNamespacesRequest,
    );
    cases
}
