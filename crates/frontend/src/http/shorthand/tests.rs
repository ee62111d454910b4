//! Payloads and enums in both directions, and what must not be shortened.

use prost_reflect::DescriptorPool;

use super::*;

fn message(name: &str) -> MessageDescriptor {
    let pool = DescriptorPool::decode(api::DESCRIPTORS).expect("valid");
    pool.get_message_by_name(name).expect("known")
}

fn raw(text: &str) -> &RawValue {
    serde_json::from_str(text).expect("valid JSON")
}

fn start() -> MessageDescriptor {
    message("temporal.api.workflowservice.v1.StartWorkflowExecutionRequest")
}

fn data(text: &str) -> String {
    BASE64.encode(text)
}

#[test]
fn payloads_stand_for_themselves_in_both_directions() {
    let short = r#"{"input":[{"a":[1.10,12345678901234567890123]},"text",true],"memo":{"fields":{"x":null}}}"#;
    let long = expand(raw(short), &start()).expect("not deep");
    let json_plain =
        |json: &str| format!(r#"{{"metadata":{{"encoding":"{}"}},"data":"{}"}}"#, data("json/plain"), data(json));
    let expected = format!(
        r#"{{"input":{{"payloads":[{},{},{}]}},"memo":{{"fields":{{"x":{{"metadata":{{"encoding":"{}"}}}}}}}}}}"#,
        // Every digit is kept.
        json_plain(r#"{"a":[1.10,12345678901234567890123]}"#),
        json_plain(r#""text""#),
        json_plain("true"),
        data("binary/null"),
    );
    assert_eq!(long, expected);
    assert_eq!(shorten(raw(&long), &start()).expect("not deep"), short);
}

#[test]
fn protobuf_payloads_name_their_message() {
    let short = r#"{"input":[{"_protoMessageType":"my.Type","a":1}]}"#;
    let long = expand(raw(short), &start()).expect("not deep");
    assert!(
        long.contains(&data("json/protobuf")) && long.contains(&data("my.Type")) && long.contains(&data(r#"{"a":1}"#))
    );
    assert_eq!(shorten(raw(&long), &start()).expect("not deep"), short);
}

#[test]
fn what_is_no_plain_json_keeps_its_whole_form() {
    let binary = format!(r#"{{"metadata":{{"encoding":"{}"}},"data":"AAE="}}"#, data("binary/plain"));
    let typed =
        format!(r#"{{"metadata":{{"encoding":"{}","type":"eA=="}},"data":"{}"}}"#, data("json/plain"), data("1"));
    // JSON that would be taken for a whole payload when it came back.
    let disguised = format!(r#"{{"metadata":{{"encoding":"{}"}},"data":"{}"}}"#, data("json/plain"), data(&binary));
    let null = format!(r#"{{"metadata":{{"encoding":"{}"}},"data":"{}"}}"#, data("json/plain"), data("null"));
    for whole in [binary, typed, disguised, null] {
        let text = format!(r#"{{"input":{{"payloads":[{whole},{whole}]}}}}"#);
        assert_eq!(shorten(raw(&text), &start()).expect("not deep"), text);
        assert_eq!(expand(raw(&text), &start()).expect("not deep"), text);
        let one = format!(r#"{{"input":[{whole}]}}"#);
        assert_eq!(expand(raw(&one), &start()).expect("not deep"), format!(r#"{{"input":{{"payloads":[{whole}]}}}}"#));
    }
    // One of several: the others are still shortened.
    let one = format!(r#"{{"metadata":{{"encoding":"{}"}},"data":"{}"}}"#, data("json/plain"), data("1"));
    let other = format!(r#"{{"metadata":{{"encoding":"{}"}},"data":"AAE="}}"#, data("binary/plain"));
    let mixed = format!(r#"{{"input":{{"payloads":[{one},{other}]}}}}"#);
    let shortened = shorten(raw(&mixed), &start()).expect("not deep");
    assert_eq!(shortened, format!(r#"{{"input":{{"payloads":[1,{other}]}}}}"#));
    assert_eq!(expand(raw(&shortened), &start()).expect("not deep"), mixed);
}

#[test]
fn enums_may_be_short() {
    for name in ["AllowDuplicate", "ALLOW_DUPLICATE", "WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE"] {
        let text = expand(raw(&format!(r#"{{"workflowIdReusePolicy":"{name}"}}"#)), &start()).expect("not deep");
        assert_eq!(text, r#"{"workflowIdReusePolicy":"WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE"}"#);
    }
    // Left for the decoder to refuse.
    let text = r#"{"workflowIdReusePolicy":"Sometimes"}"#;
    assert_eq!(expand(raw(text), &start()).expect("not deep"), text);
}

#[test]
fn depth_is_bounded() {
    let failure = message("temporal.api.failure.v1.Failure");
    let nested = |depth: usize| "{\"cause\":".repeat(depth) + "{}" + &"}".repeat(depth);
    assert!(expand(raw(&nested(DEPTH_MAX - 1)), &failure).is_ok());
    assert_eq!(expand(raw(&nested(DEPTH_MAX)), &failure), Err(TooDeep));
    assert_eq!(expand(raw(&nested(100_000)), &failure), Err(TooDeep));
}
