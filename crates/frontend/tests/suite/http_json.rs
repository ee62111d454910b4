//! The HTTP API over real sockets: what becomes of verbs, paths, queries and bodies, and
//! how answers and errors look.

use std::sync::Arc;
use std::time::Duration;

use api::internal::history_request::Request;
use base::{Net as _, TcpNet};
use frontend::{HttpApi, HttpConfig};
use prost::Message as _;
use serde_json::{Value, json};
use temporalio_protos::temporal::api::common::v1::{Payload, Payloads};
use temporalio_protos::temporal::api::workflowservice::v1::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

struct Running {
    address: String,
    shutdown: CancellationToken,
    server: JoinSet<()>,
}

struct Answer {
    code: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

async fn run(fake: &Arc<Fake>, config: HttpConfig) -> Running {
    let api = HttpApi::new(fake.service(), config);
    let listener = TcpNet.listen("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let shutdown = CancellationToken::new();
    let mut server = JoinSet::new();
    let stop = shutdown.clone();
    server.spawn(async move { api.serve(listener, stop).await.expect("serves") });
    Running { address, shutdown, server }
}

impl Running {
    async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("read");
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
        Answer { code, head: head.to_lowercase(), body: bytes[end + 4..].to_vec() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        let length = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await
    }
}

fn asked(fake: &Fake) -> Request {
    fake.history.lock().unwrap().pop().and_then(|asked| asked.request).expect("history was asked")
}

#[tokio::test]
async fn a_start_becomes_a_request_and_its_answer_json() {
    let fake = Fake::new();
    let running = run(&fake, HttpConfig::default()).await;
    let response = StartWorkflowExecutionResponse { run_id: "run".into(), started: true, ..Default::default() };
    fake.will_answer(Ok(response.encode_to_vec().into()));
    let body = r#"{"workflowType":{"name":"T"},"task_queue":{"name":"q"},"input":[{"n":1.50}],
        "workflowRunTimeout":"90s","workflowIdReusePolicy":"AllowDuplicate"}"#;
    let answer = running.post("/api/v1/namespaces/default/workflows/my%2Fid", body).await;
    assert_eq!((answer.code, answer.text()), (200, r#"{"runId":"run","started":true}"#));
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    let Request::Start(start) = asked(&fake) else { panic!("another request") };

    assert_eq!((start.workflow_id.as_str(), start.namespace.as_str()), ("my/id", "default"));
    assert_eq!(start.task_queue.expect("set").name, "q");
    assert_eq!(start.workflow_run_timeout.expect("set").seconds, 90);
    let payload = &start.input.expect("set").payloads[0];
    assert_eq!(
        (payload.metadata["encoding"].as_slice(), payload.data.as_slice()),
        (&b"json/plain"[..], &br#"{"n":1.50}"#[..])
    );
}

#[tokio::test]
async fn a_query_sets_fields_by_their_paths() {
    let fake = Fake::new();
    let running = run(&fake, HttpConfig::default()).await;
    for prefix in ["/api/v1", ""] {
        let path = format!(
            "{prefix}/namespaces/default/workflows/w/history?execution.runId=0d7bd3a2-9e0a-4f3e-8a1e-2b2b2b2b2b2b&maximum_page_size=7&waitNewEvent=true&historyEventFilterType=CloseEvent&pretty"
        );
        let answer = running.get(&path).await;
        assert_eq!(answer.code, 200, "{}", answer.text());
        let Request::GetHistory(read) = asked(&fake) else { panic!("another request") };
        let text = format!("{read:?}");
        assert!(text.contains("0d7bd3a2-9e0a-4f3e-8a1e-2b2b2b2b2b2b"), "{text}");
    }
    for (query, problem) in [
        ("nothing=1", "\"nothing\" is not a field of the request"),
        ("execution.x=1", "\"x\" is not a field of the request"),
        ("maximumPageSize=many", "maximumPageSize: \"many\" is not a number in range"),
        ("waitNewEvent=maybe", "waitNewEvent: \"maybe\" is not true or false"),
        ("historyEventFilterType=Some", "historyEventFilterType: \"Some\" is not a value of HistoryEventFilterType"),
        ("nextPageToken=%25%25", "nextPageToken: \"%%\" is not base64"),
    ] {
        let answer = running.get(&format!("/api/v1/namespaces/default/workflows/w/history?{query}")).await;
        assert_eq!((answer.code, answer.json()), (400, json!({ "code": 3, "message": problem })), "{query}");
    }
    assert!(fake.untouched());
}

#[tokio::test]
async fn payloads_are_short_unless_asked_otherwise() {
    let fake = Fake::new();
    let running = run(&fake, HttpConfig::default()).await;
    let payload = Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: b"{\"a\": 12345678901234567890}".to_vec(),
        ..Default::default()
    };
    let response =
        QueryWorkflowResponse { query_result: Some(Payloads { payloads: vec![payload] }), ..Default::default() };
    let path = "/api/v1/namespaces/default/workflows/w/query/state";
    let whole = json!({ "queryResult": { "payloads": [
        { "metadata": { "encoding": "anNvbi9wbGFpbg==" }, "data": "eyJhIjogMTIzNDU2Nzg5MDEyMzQ1Njc4OTB9" }
    ] } });
    for (path, pretty, short) in [
        (path.to_owned(), false, true),
        (format!("{path}?pretty"), true, true),
        (format!("{path}?noPayloadShorthand"), false, false),
        (format!("{path}?pretty=1&noPayloadShorthand=1"), true, false),
    ] {
        fake.will_answer(Ok(response.encode_to_vec().into()));
        let answer = running.post(&path, "{}").await;
        assert_eq!(answer.code, 200, "{}", answer.text());
        assert_eq!(answer.text().contains("\n  \"queryResult\""), pretty, "{}", answer.text());
        if short {
            assert_eq!(answer.text().replace(['\n', ' '], ""), r#"{"queryResult":[{"a":12345678901234567890}]}"#);
        } else {
            assert_eq!(answer.json(), whole);
        }
    }
}

#[tokio::test]
async fn errors_are_told_as_status_and_code() {
    let fake = Fake::new();
    let running = run(&fake, HttpConfig::default()).await;
    fake.will_answer(Err(api::Error::NotFound("workflow not found for ID: w".to_owned())));
    let answer = running.get("/api/v1/namespaces/default/workflows/w").await;
    assert_eq!(
        (answer.code, answer.json()),
        (
            404,
            json!({
                "code": 5, "message": "workflow not found for ID: w",
                "details": [{ "@type": "type.googleapis.com/temporal.api.errordetails.v1.NotFoundFailure" }],
            })
        )
    );
    let answer = running.get("/api/v1/nowhere").await;
    assert_eq!((answer.code, answer.json()), (404, json!({ "code": 5, "message": "Not Found" })));
    let answer = running.post("/api/v1/cluster-info", "").await;
    assert_eq!((answer.code, answer.json()), (501, json!({ "code": 12, "message": "Method Not Allowed" })));
    for (body, problem) in [
        ("{", "the body is not JSON: EOF while parsing an object at line 1 column 1"),
        (r#"{"workflow":1}"#, "unrecognized field name 'workflow'"),
        (r#"{"retryPolicy":{"initialInterval":7}}"#, "retryPolicy.initialInterval: invalid type"),
    ] {
        let answer = running.post("/api/v1/namespaces/default/workflows/w", body).await;
        assert_eq!((answer.code, answer.json()["code"].clone()), (400, json!(3)), "{body}");
        let message = answer.json()["message"].as_str().expect("text").to_owned();
        assert!(message.contains(problem), "{message}");
    }
    let large = format!(r#"{{"identity":"{}"}}"#, "x".repeat(4 << 20));
    let answer = running.post("/api/v1/namespaces/default/workflows/w", &large).await;
    assert_eq!(answer.code, 400);
    assert!(answer.text().contains("http: request body too large"), "{}", answer.text());
}

#[tokio::test]
async fn browsers_are_let_in_by_origin() {
    let fake = Fake::new();
    let config = HttpConfig { cors_origins: vec!["https://ui.example".to_owned()], ..HttpConfig::default() };
    let running = run(&fake, config).await;
    let ask = |verb: &str, origin: &str| {
        format!(
            "{verb} /api/v1/system-info HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\naccess-control-request-headers: authorization\r\nconnection: close\r\n\r\n"
        )
    };
    let answer = running.ask(&ask("OPTIONS", "https://ui.example")).await;
    assert_eq!(answer.code, 204);
    assert!(answer.head.contains("access-control-allow-origin: https://ui.example"), "{}", answer.head);
    assert!(answer.head.contains("access-control-allow-headers: authorization"), "{}", answer.head);
    let answer = running.ask(&ask("GET", "https://ui.example")).await;
    assert!(answer.code == 200 && answer.head.contains("access-control-allow-origin"), "{}", answer.head);
    let answer = running.ask(&ask("GET", "https://other.example")).await;
    assert!(answer.code == 200 && !answer.head.contains("access-control"), "{}", answer.head);
    let answer = running.ask(&ask("OPTIONS", "https://other.example")).await;
    assert!(answer.code == 501 && !answer.head.contains("access-control"), "{}", answer.head);
}

#[tokio::test]
async fn the_api_describes_itself() {
    let fake = Fake::new();
    let running = run(&fake, HttpConfig::default()).await;
    for (path, content_type) in [("/swagger.json", "application/json"), ("/openapi.yaml", "application/yaml")] {
        let answer = running.get(path).await;
        assert_eq!(answer.code, 200);
        assert!(answer.head.contains(&format!("content-type: {content_type}")), "{}", answer.head);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(answer.body.as_slice()), &mut text)
            .expect("gzip");
        assert!(text.contains("/api/v1/namespaces/{namespace}/workflows"));
    }
}

#[tokio::test]
async fn the_end_lets_calls_finish_and_closes_idle_connections() {
    let fake = Fake::new();
    let mut running = run(&fake, HttpConfig::default()).await;
    let mut idle = TcpStream::connect(&running.address).await.expect("connects");
    idle.write_all(b"GET /api/v1/system-info HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    running.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(20), running.server.join_next()).await;
    assert!(ended.expect("ends").is_some());
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("closed in order");
}
