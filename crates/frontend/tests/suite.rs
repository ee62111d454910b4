//! The frontend from outside: in process and over HTTP/2, before a fake cluster.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(deprecated, reason = "old clients still send what is deprecated")]

#[path = "suite/answers.rs"]
mod answers;
#[path = "suite/cases.rs"]
mod cases;
#[path = "suite/fake.rs"]
mod fake;
#[path = "suite/forwarding.rs"]
mod forwarding;
#[path = "suite/garbage.rs"]
mod garbage;
#[path = "suite/http2.rs"]
mod http2;
#[path = "suite/http_json.rs"]
mod http_json;
#[path = "suite/namespaces.rs"]
mod namespaces;
#[path = "suite/raw.rs"]
mod raw;
#[path = "suite/refused.rs"]
mod refused;
#[path = "suite/update_cases.rs"]
mod update_cases;
