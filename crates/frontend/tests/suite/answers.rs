//! Our answers to [`cases`](crate::cases) against those recorded from the official
//! server in `testdata/answers.txt`. Where we differ on purpose, a line says so.
//!
//! To record: `RECORD_FROM=http://127.0.0.1:7333 cargo test -p frontend --test suite answers`
//! against an official server (1.32.1, fresh, with the namespace `default`).
//! `testdata/differences.txt` is rewritten by `UPDATE_EXPECT=1`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;
use temporalio_protos::google::rpc;
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use temporalio_protos::temporal::api::namespace::v1::UpdateNamespaceInfo;
use temporalio_protos::temporal::api::workflowservice::v1::{RegisterNamespaceRequest, UpdateNamespaceRequest};
use tonic::Status;

use crate::cases;
use crate::fake::{Fake, WORKFLOW_SERVICE};
use crate::raw::Client;

const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/answers.txt");
const DIFFERENCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/differences.txt");

/// The registry of the official server reads namespaces again only now and then.
const REGISTRY_REFRESH: Duration = Duration::from_secs(25);

#[expect(clippy::disallowed_methods, reason = "the switches of this test")]
fn switch(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Code, details and message on one line.
fn shown(answer: &Result<Bytes, Status>) -> String {
    let status = match answer {
        Ok(_) => return "OK".to_owned(),
        Err(status) => status,
    };
    let mut line = format!("{:?}", status.code());
    if !status.details().is_empty() {
        let inner = rpc::Status::decode(status.details()).expect("a google.rpc.Status");
        for detail in inner.details {
            let name = detail.type_url.rsplit('.').next().unwrap_or_default().to_owned();
            write!(line, " {name}({})", String::from_utf8_lossy(&detail.value).escape_debug()).expect("a string");
        }
    }
    write!(line, " {:?}", status.message()).expect("a string");
    line
}

fn read(path: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].trim().to_owned())).collect()
}

#[tokio::test]
async fn answers_are_those_of_the_official_server() {
    if let Some(address) = switch("RECORD_FROM") {
        record(address).await;
    }
    let recorded = read(ANSWERS);
    let mut differences =
        String::from("# Where our answer is not the official server's: the case, then ours. Each is meant.\n\n");
    for case in cases::all() {
        let fake = Fake::new();
        let answer = fake.service().call(&case.path(), &case.headers, case.body.clone(), case.timeout).await;
        let ours = shown(&answer);
        assert!(answer.is_ok() || fake.untouched(), "{}: refused, but passed on", case.title());
        let theirs = recorded.get(&case.title());
        if theirs.is_none_or(|theirs| *theirs != ours) {
            write!(differences, "{}\n    {ours}\n", case.title()).expect("a string");
        }
    }
    if switch("UPDATE_EXPECT").is_some() {
        std::fs::write(DIFFERENCES, &differences).expect("written");
    }
    let expected = std::fs::read_to_string(DIFFERENCES).expect("the file is there");
    assert!(expected == differences, "differences are not the known ones:\n{differences}");
}

async fn record(address: String) {
    let client = Client::connect(address).await;
    prepare(&client).await;
    let mut text = String::from("# Recorded from the official server: the case, then its answer.\n\n");
    for case in cases::all() {
        let answer = client.call(&case.path(), &case.headers, case.body.clone(), case.timeout).await;
        write!(text, "{}\n    {}\n", case.title(), shown(&answer)).expect("a string");
    }
    std::fs::write(ANSWERS, text).expect("written");
}

/// Makes the namespace `old`, which is deprecated.
async fn prepare(client: &Client) {
    let register = RegisterNamespaceRequest {
        namespace: "old".to_owned(),
        workflow_execution_retention_period: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        ..Default::default()
    };
    let deprecate = UpdateNamespaceRequest {
        namespace: "old".to_owned(),
        update_info: Some(UpdateNamespaceInfo { state: NamespaceState::Deprecated as i32, ..Default::default() }),
        ..Default::default()
    };
    for (name, body) in
        [("RegisterNamespace", register.encode_to_vec()), ("UpdateNamespace", deprecate.encode_to_vec())]
    {
        let path = format!("/{WORKFLOW_SERVICE}/{name}");
        // The namespace is there already when this server was recorded from before.
        let _ = client.call(&path, &HeaderMap::new(), body.into(), Some(Duration::from_secs(10))).await;
    }
    tokio::time::sleep(REGISTRY_REFRESH).await;
}
