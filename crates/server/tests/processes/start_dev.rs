//! `perpetuo server start-dev` as a process: what its command line says about namespaces and
//! search attributes holds from the first request on, and again after a restart.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use api::Raw;
use prost::Message;
use temporalio_protos::temporal::api::common::v1::{Payload, SearchAttributes, WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::IndexedValueType;
use temporalio_protos::temporal::api::operatorservice::v1::{
    AddSearchAttributesRequest, ListSearchAttributesRequest, ListSearchAttributesResponse,
    RemoveSearchAttributesRequest,
};
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1::{
    CountWorkflowExecutionsRequest, CountWorkflowExecutionsResponse, DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse, ListWorkflowExecutionsRequest, ListWorkflowExecutionsResponse,
    StartWorkflowExecutionRequest,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::process::{self, free_port};

struct Server {
    child: Child,
    address: String,
    /// What it printed before it was ready.
    banner: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Without a farewell: what was acknowledged must be there again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(port: u16, arguments: &[&str]) -> Command {
    let mut command = process::command(&["server", "start-dev", "--port", &port.to_string()]);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns when the banner is complete, which the server prints when it is ready.
fn start(arguments: &[&str]) -> Server {
    let port = free_port();
    let mut child = command(port, arguments).stderr(Stdio::inherit()).spawn().expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut banner = String::new();
    while !banner.contains("Stop with Ctrl-C.") {
        let read = lines.read_line(&mut banner).expect("text");
        assert!(read > 0, "the server ended: {banner}");
    }
    Server { child, address: format!("127.0.0.1:{port}"), banner }
}

/// What a start that must fail says.
fn refused(arguments: &[&str]) -> String {
    let mut child = command(free_port(), arguments).spawn().expect("the binary starts");
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    let status = child.wait().expect("an end");
    assert!(!status.success(), "{arguments:?} was taken: {said}");
    said
}

impl Server {
    async fn try_call<R: Message + Default>(&self, rpc: &str, request: &impl Message) -> Result<R, Status> {
        let method = api::METHODS.iter().find(|method| method.name == rpc).expect("an RPC");
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        let mut grpc = tonic::client::Grpc::<Channel>::new(endpoint.connect().await.expect("a connection"));
        grpc.ready().await.expect("ready");
        let mut request = Request::new(request.encode_to_vec().into());
        request.set_timeout(Duration::from_secs(30));
        let answer = grpc.unary(request, method.path.parse().expect("a path"), Raw).await?;
        Ok(R::decode(answer.into_inner()).expect("a reply"))
    }

    async fn call<R: Message + Default>(&self, rpc: &str, request: &impl Message) -> R {
        self.try_call(rpc, request).await.unwrap_or_else(|status| panic!("{rpc}: {status}"))
    }

    async fn attributes(&self, namespace: &str) -> Vec<(String, IndexedValueType)> {
        let request = ListSearchAttributesRequest { namespace: namespace.to_owned() };
        let list: ListSearchAttributesResponse = self.call("ListSearchAttributes", &request).await;
        let mut all: Vec<_> = list
            .custom_attributes
            .into_iter()
            .map(|(name, kind)| (name, IndexedValueType::try_from(kind).expect("a type")))
            .collect();
        all.sort();
        all
    }

    /// Starts a workflow with one attribute; nothing ever runs it.
    async fn workflow(&self, id: &str, name: &str, json: &str) -> Result<(), Status> {
        let value = Payload {
            metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
            data: json.as_bytes().to_vec(),
            ..Payload::default()
        };
        let request = StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_id: id.to_owned(),
            workflow_type: Some(WorkflowType { name: "Order".to_owned() }),
            task_queue: Some(TaskQueue { name: "orders".to_owned(), ..TaskQueue::default() }),
            request_id: id.to_owned(),
            search_attributes: Some(SearchAttributes { indexed_fields: [(name.to_owned(), value)].into() }),
            ..StartWorkflowExecutionRequest::default()
        };
        let started: Result<Bytes, Status> = self.try_call("StartWorkflowExecution", &request).await;
        started.map(drop)
    }

    async fn register(&self, name: &str, kind: IndexedValueType) {
        let search_attributes = [(name.to_owned(), kind as i32)].into();
        let request = AddSearchAttributesRequest { namespace: "default".to_owned(), search_attributes };
        let _: Bytes = self.call("AddSearchAttributes", &request).await;
    }

    async fn unregister(&self, name: &str) {
        let search_attributes = vec![name.to_owned()];
        let request = RemoveSearchAttributesRequest { namespace: "default".to_owned(), search_attributes };
        let _: Bytes = self.call("RemoveSearchAttributes", &request).await;
    }

    /// Of one workflow, as description and list show it, and how many match the query.
    async fn seen(&self, id: &str, name: &str, query: &str) -> (Shown, Shown, Result<i64, String>) {
        let execution = Some(WorkflowExecution { workflow_id: id.to_owned(), run_id: String::new() });
        let request = DescribeWorkflowExecutionRequest { namespace: "default".to_owned(), execution };
        let described: DescribeWorkflowExecutionResponse = self.call("DescribeWorkflowExecution", &request).await;
        let described = described.workflow_execution_info.expect("a description").search_attributes;
        let request = ListWorkflowExecutionsRequest {
            namespace: "default".to_owned(),
            query: format!("WorkflowId = '{id}'"),
            ..ListWorkflowExecutionsRequest::default()
        };
        let list: ListWorkflowExecutionsResponse = self.call("ListWorkflowExecutions", &request).await;
        let listed = list.executions.into_iter().next().expect("a row").search_attributes;
        let request = CountWorkflowExecutionsRequest { namespace: "default".to_owned(), query: query.to_owned() };
        let count: Result<CountWorkflowExecutionsResponse, Status> =
            self.try_call("CountWorkflowExecutions", &request).await;
        let count = count.map(|count| count.count).map_err(|status| status.message().to_owned());
        (shown(described, name), shown(listed, name), count)
    }
}

/// An attribute as text, and the type it is labelled with.
type Shown = Option<(String, String)>;

fn shown(attributes: Option<SearchAttributes>, name: &str) -> Shown {
    let payload = attributes?.indexed_fields.remove(name)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&payload.data), text(payload.metadata.get("type").expect("a type"))))
}

/// Any reply, not looked into.
#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {}

fn named(pairs: &[(&str, IndexedValueType)]) -> Vec<(String, IndexedValueType)> {
    pairs.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
}

#[tokio::test]
async fn attributes_are_there_from_the_first_request_on_in_every_namespace() {
    let server = start(&[
        "--namespace",
        "orders",
        "-n",
        "orders",
        "--search-attribute",
        "Color=keyword",
        "--search-attribute",
        "Size=INT",
    ]);
    assert!(server.banner.contains("Namespaces:       default, orders\n"), "{}", server.banner);
    let expected = named(&[("Color", IndexedValueType::Keyword), ("Size", IndexedValueType::Int)]);
    assert_eq!(server.attributes("default").await, expected);
    assert_eq!(server.attributes("orders").await, expected);
    server.workflow("one", "Color", "\"red\"").await.expect("the attribute is registered");
    let (described, listed, count) = server.seen("one", "Color", "Color = 'red'").await;
    let red = Some(("\"red\"".to_owned(), "Keyword".to_owned()));
    assert_eq!((described, listed, count), (red.clone(), red, Ok(1)));
}

#[tokio::test]
async fn a_restart_adds_what_is_new_and_refuses_another_type() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().to_str().expect("a path").to_owned();
    let arguments = |more: &[&'static str]| -> Vec<String> {
        ["--db-filename", &data].into_iter().chain(more.iter().copied()).map(str::to_owned).collect()
    };
    let started = |more: &[&'static str]| {
        let arguments = arguments(more);
        start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(Path::new(&data).is_dir());
    {
        let server = started(&["--search-attribute", "Color=Keyword"]);
        server.workflow("one", "Color", "\"red\"").await.expect("the attribute is registered");
    }
    let both = named(&[("Color", IndexedValueType::Keyword), ("Size", IndexedValueType::Int)]);
    for _ in 0..2 {
        let server = started(&["-n", "later", "--search-attribute", "Color=Keyword", "--search-attribute", "Size=Int"]);
        assert!(server.banner.contains("Namespaces:       default, later\n"), "{}", server.banner);
        assert_eq!(server.attributes("default").await, both);
        assert_eq!(server.attributes("later").await, both);
        let (described, ..) = server.seen("one", "Color", "").await;
        assert_eq!(described, Some(("\"red\"".to_owned(), "Keyword".to_owned())));
    }
    let other = arguments(&["--search-attribute", "Color=Text"]);
    let said = refused(&other.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("Color=Text") && said.contains("registered as Keyword"), "{said}");
    // The refused start changed nothing, and left the data usable.
    let server = started(&[]);
    assert!(server.banner.contains("default, later"), "{}", server.banner);
    assert_eq!(server.attributes("default").await, both);
}

#[test]
fn what_is_no_attribute_is_refused_before_anything_starts() {
    let said = refused(&["--search-attribute", "Color"]);
    assert!(said.contains("expected NAME=TYPE"), "{said}");
    let said = refused(&["--search-attribute", "Color=Colour"]);
    assert!(said.contains("Colour") && said.contains("KeywordList"), "{said}");
    let said = refused(&["--search-attribute", "A=Int", "--search-attribute", "A=Bool"]);
    assert!(said.contains("names A twice, as Int and as Bool"), "{said}");
}

/// Removed, and added again with another type: old values are under no type but their own.
#[tokio::test]
async fn values_of_another_type_are_hidden_wherever_they_could_be_seen() {
    let server = start(&["--search-attribute", "Field=Keyword"]);
    server.workflow("old", "Field", "\"red\"").await.expect("the attribute is registered");
    let red = Some(("\"red\"".to_owned(), "Keyword".to_owned()));
    assert_eq!(server.seen("old", "Field", "Field = 'red'").await, (red.clone(), red.clone(), Ok(1)));
    server.unregister("Field").await;
    let (described, listed, count) = server.seen("old", "Field", "Field = 'red'").await;
    assert_eq!((described, listed), (None, None));
    let error = count.expect_err("no such attribute");
    assert!(
        error.starts_with("invalid query: invalid search attribute: Field\n  Field = 'red'\n  ^ expected "),
        "{error}"
    );
    server.register("Field", IndexedValueType::Int).await;
    server.workflow("new", "Field", "7").await.expect("it has the new type");
    let seven = Some(("7".to_owned(), "Int".to_owned()));
    assert_eq!(server.seen("old", "Field", "Field IS NOT NULL").await, (None, None, Ok(1)));
    assert_eq!(server.seen("new", "Field", "Field = 7").await, (seven.clone(), seven, Ok(1)));
    assert_eq!(server.seen("old", "Field", "Field IS NULL").await.2, Ok(1));
    // The values were hidden, not lost.
    server.unregister("Field").await;
    server.register("Field", IndexedValueType::Keyword).await;
    assert_eq!(server.seen("old", "Field", "Field = 'red'").await, (red.clone(), red, Ok(1)));
    assert_eq!(server.seen("new", "Field", "Field = 'red'").await, (None, None, Ok(1)));
}
