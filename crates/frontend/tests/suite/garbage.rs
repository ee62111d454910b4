//! Random bytes against every path: an answer, never a panic, and nothing passed on that
//! was refused.

use std::time::Duration;

use api::METHODS;
use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use prost::Message as _;
use temporalio_protos::temporal::api::workflowservice::v1::StartWorkflowExecutionRequest;
use tonic::Code;

use crate::fake::Fake;

fn answered(path: &str, body: Bytes) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let fake = Fake::new();
    let answer = runtime.block_on(fake.service().call(path, &HeaderMap::new(), body, Some(Duration::from_secs(5))));
    if let Err(status) = answer {
        assert!(fake.untouched(), "{path}: {status}");
        assert_ne!(status.code(), Code::Unknown, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(body in prop::collection::vec(any::<u8>(), 0..120)) {
        for method in METHODS {
            answered(method.path, Bytes::from(body.clone()));
        }
    }

    /// Fields with the right framing, so that most of it decodes.
    #[test]
    fn random_fields(fields in prop::collection::vec((1_u8..16, prop::collection::vec(any::<u8>(), 0..20)), 0..8)) {
        let mut body = Vec::new();
        for (number, value) in fields {
            body.push((number << 3) | 2);
            body.push(u8::try_from(value.len()).expect("short"));
            body.extend(value);
        }
        for method in METHODS {
            answered(method.path, Bytes::from(body.clone()));
        }
    }
}

#[tokio::test]
async fn broken_messages_are_called_so() {
    let service = Fake::new().service();
    let path = "/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution";
    let whole = StartWorkflowExecutionRequest { namespace: "default".into(), ..Default::default() }.encode_to_vec();
    let truncated = whole[..whole.len() - 1].to_vec();
    let bad_utf8 = vec![0x0a, 2, 0xc3, 0x28];
    for body in [truncated, bad_utf8] {
        let status = service.call(path, &HeaderMap::new(), body.into(), None).await.expect_err("refused");
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().starts_with("grpc: error unmarshalling request: proto: "), "{}", status.message());
    }
}
