//! The language against a small sample, and its mistakes.

use temporalio_protos::temporal::api::common::v1::{Payload, SearchAttributes, WorkflowExecution, WorkflowType};
use temporalio_protos::temporal::api::enums::v1::WorkflowExecutionStatus as Status;
use temporalio_protos::temporal::api::workflow::v1::WorkflowExecutionInfo;

use super::*;
use crate::document::Document;
use crate::list::{Counts, Page};

fn custom() -> CustomAttributes {
    use AttributeType::{Bool, Datetime, Double, Int, Keyword, KeywordList, Text};
    let named = [("Color", Keyword), ("Tags", KeywordList), ("Note", Text), ("Size", Int), ("Price", Double)];
    let more = [("Urgent", Bool), ("Due", Datetime), ("Odd Name", Keyword)];
    named.into_iter().chain(more).map(|(name, kind)| (name.to_owned(), kind)).collect()
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// `index` orders both start and close times.
fn execution(index: i64, status: Status, attributes: &[(&str, &str)]) -> Document {
    let closed = status != Status::Running;
    let fields = attributes
        .iter()
        .map(|(name, json)| ((*name).to_owned(), Payload { data: json.as_bytes().to_vec(), ..Payload::default() }));
    let info = WorkflowExecutionInfo {
        execution: Some(WorkflowExecution { workflow_id: format!("order-{index}"), run_id: format!("run-{index:03}") }),
        r#type: Some(WorkflowType { name: "Order".to_owned() }),
        start_time: at(1_700_000_000 + index),
        execution_time: at(1_700_000_000 + index),
        close_time: at(1_700_001_000 + index).filter(|_| closed),
        execution_duration: closed.then_some(prost_types::Duration { seconds: 1000, nanos: 0 }),
        status: status.into(),
        history_length: if closed { 11 } else { 0 },
        search_attributes: Some(SearchAttributes { indexed_fields: fields.collect() }),
        task_queue: "orders".to_owned(),
        ..WorkflowExecutionInfo::default()
    };
    Document { info }
}

fn sample() -> Vec<Document> {
    vec![
        execution(1, Status::Running, &[("Color", "\"red\""), ("Size", "1"), ("Due", "\"2030-01-02T03:04:05Z\"")]),
        execution(2, Status::Completed, &[("Color", "\"blue\""), ("Tags", "[\"a\",\"b\"]"), ("Price", "2.5")]),
        execution(3, Status::Failed, &[("Note", "\"A quick brown fox\""), ("Urgent", "true"), ("Size", "3")]),
        execution(4, Status::Running, &[("TemporalNamespaceDivision", "\"hidden\"")]),
        execution(5, Status::Completed, &[("Odd Name", "\"x\""), ("Color", "\"reddish\"")]),
    ]
}

fn found(text: &str) -> Vec<i64> {
    let query = Query::parse(text, &custom()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut numbers: Vec<i64> = sample()
        .iter()
        .filter(|document| query.filter.matches(document))
        .map(|document| document.start_nanos() / 1_000_000_000 - 1_700_000_000)
        .map(|number| i64::try_from(number).expect("small"))
        .collect();
    numbers.sort_unstable();
    numbers
}

fn error(text: &str) -> String {
    Query::parse(text, &custom()).expect_err(text).to_string()
}

#[test]
fn every_operator_finds_what_it_says() {
    let cases: &[(&str, &[i64])] = &[
        ("", &[1, 2, 3, 5]),
        ("WorkflowId = 'order-2'", &[2]),
        ("WorkflowType = 'Order' and ExecutionStatus = 'Running'", &[1]),
        ("ExecutionStatus = 2", &[2, 5]),
        ("ExecutionStatus IN ('Failed', 'Running')", &[1, 3]),
        ("ExecutionStatus != \"Completed\"", &[1, 3]),
        ("NOT ExecutionStatus = 'Completed'", &[1, 3]),
        ("Color = 'red' OR Color = 'blue'", &[1, 2]),
        ("Color STARTS_WITH 'red'", &[1, 5]),
        ("Color NOT STARTS_WITH 'red'", &[2]),
        ("Color > 'blue'", &[1, 5]),
        ("Color IS NULL", &[3]),
        ("Color is not null and (Size = 1 or Price > 2)", &[1, 2]),
        ("Tags = 'a'", &[2]),
        ("Tags != 'a'", &[1, 3, 5]),
        ("Tags in ('b', 'c')", &[2]),
        ("Note = 'FOX jumps'", &[3]),
        ("Size >= 1 AND Size <= 2.5", &[1]),
        ("Size BETWEEN 2 AND 5", &[3]),
        ("Size NOT BETWEEN 2 AND 5", &[1]),
        ("Price = +2.5", &[2]),
        ("Urgent = true", &[3]),
        ("Due < '2031-01-01T00:00:00Z'", &[1]),
        ("CloseTime IS NULL", &[1]),
        ("StartTime > '2023-11-14T22:13:22Z'", &[3, 5]),
        ("StartTime = 1700000001000000000", &[1]),
        ("ExecutionDuration > '10m'", &[2, 3, 5]),
        ("ExecutionDuration = '00:16:40'", &[2, 3, 5]),
        ("HistoryLength = 11", &[2, 3, 5]),
        ("`Odd Name` = 'x'", &[5]),
        ("TemporalNamespaceDivision = 'hidden'", &[4]),
        ("TaskQueue = 'orders' and not (Size = 1)", &[3]),
    ];
    for (text, expected) in cases {
        assert_eq!(found(text), *expected, "{text}");
    }
}

#[test]
fn mistakes_are_named() {
    let cases = [
        (
            "Color = red",
            "operation is not supported: column name on the right side of comparison expression (did you forget to quote \"red\"?)",
        ),
        ("Nothing = 'x'", "invalid search attribute: Nothing"),
        (
            "Size = 'x'",
            "invalid expression: invalid value type for search attribute Size of type Int: \"x\" (type: string)",
        ),
        (
            "Color = 1",
            "invalid expression: invalid value type for search attribute Color of type Keyword: 1 (type: int64)",
        ),
        ("ExecutionStatus = 'Gone'", "invalid expression: invalid ExecutionStatus value 'Gone'"),
        ("StartTime > 'soon'", "invalid expression: unable to parse datetime 'soon'"),
        ("Note > 'x'", "operation is not supported: operator '>' not supported for Text type search attribute 'Note'"),
        (
            "Tags < 'x'",
            "operation is not supported: operator '<' not supported for KeywordList type search attribute 'Tags'",
        ),
        (
            "Size STARTS_WITH 'x'",
            "invalid expression: invalid value type for search attribute Size of type Int: \"x\" (type: string)",
        ),
        (
            "Urgent BETWEEN 1 AND 2",
            "invalid expression: cannot do range condition on search attribute 'Urgent' of type Bool",
        ),
        ("Color", "invalid expression: incomplete expression"),
        ("Color = 'a' LIMIT 3", "operation is not supported: 'LIMIT' clause"),
        ("Color is true", "invalid expression: 'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'"),
        ("GROUP BY Color", "operation is not supported: 'GROUP BY' clause is not supported for search attribute Color"),
        (
            "GROUP BY ExecutionStatus, Color",
            "operation is not supported: 'GROUP BY' clause supports only a single field",
        ),
        ("ORDER BY Note", "operation is not supported: unable to sort by search attribute type Text"),
    ];
    for (text, expected) in cases {
        let error = error(text);
        assert_eq!(error.lines().next(), Some(format!("invalid query: {expected}").as_str()), "{text}");
        assert_eq!(error.lines().nth(1), Some(format!("  {text}").as_str()), "the user's own words");
        assert!(error.contains("^ expected "), "{error}");
    }
    for text in
        ["Color =", "and", "Color = 'x", "(Color = 'x'", "Color = 'x' Color", "Color in ()", "= 1", "Color not 1"]
    {
        let text = error(text);
        assert!(text.starts_with("invalid query: malformed SQL query: syntax error at position"), "{text}");
    }
    let deep = "(".repeat(10_000);
    assert!(error(&deep).contains("syntax error"));
    assert!(error(&format!("Size = {}1", "-".repeat(10_000))).contains("syntax error"));
}

#[test]
fn the_place_is_marked_and_what_would_be_right_is_said() {
    // The query, how it ends from the mark on, and what was expected there.
    let cases = [
        ("Size > 1 AND Size = 'x'", "'x'", "a number"),
        ("Color = red", "red", "a text in quotes"),
        ("Color IN ('a', 1)", "1)", "a text in quotes"),
        ("Tags < 'x'", "< 'x'", "one of =, !=, IN, NOT IN"),
        (
            "workflowtype = 'x'",
            "workflowtype = 'x'",
            "WorkflowType: names are written in the case that they were registered in",
        ),
        (
            "Size = 1 AND Nothing = 'x'",
            "Nothing = 'x'",
            "a search attribute that the server knows or this namespace has registered: Color, Due, Note, Odd Name, \
             Price, Size, Tags, Urgent",
        ),
        ("Color = 'a' LIMIT 3", "LIMIT 3", "no LIMIT: the size of a page is asked for beside the query"),
        ("Color =", "", "the name of a search attribute or a value"),
        ("GROUP BY Color", "Color", "one of ExecutionStatus and TemporalNamespaceDivision"),
        ("StartTime > 'soon'", "'soon'", "a time such as '2026-01-31T12:00:00Z', or nanoseconds since 1970"),
        ("  Urgent = 1 ", "1", "true or false"),
    ];
    for (text, marked, expected) in cases {
        let error = error(text);
        let shown = format!("  {}", text.trim());
        let mark = format!("{}^ expected {expected}", " ".repeat(shown.len() - marked.len()));
        assert_eq!(error.lines().skip(1).collect::<Vec<_>>(), [shown, mark], "{error}");
    }
}

#[test]
fn a_value_of_another_type_than_the_current_is_nowhere() {
    let documents = [
        execution(1, Status::Running, &[("Size", "\"large\"")]),
        execution(2, Status::Running, &[("Size", "7")]),
        execution(3, Status::Running, &[("Size", "[1,2]")]),
    ];
    let found = |text: &str| -> Vec<i128> {
        let query = Query::parse(text, &custom()).expect(text);
        let matching = documents.iter().filter(|document| query.filter.matches(document));
        matching.map(|document| document.start_nanos() / 1_000_000_000 - 1_700_000_000).collect()
    };
    assert_eq!(found("Size IS NULL"), [1, 3]);
    assert_eq!(found("Size IS NOT NULL"), [2]);
    assert_eq!(found("Size != 1"), [2]);
    assert_eq!(found("Size > 0"), [2]);
    assert_eq!(found("Size IN (1, 2, 7)"), [2]);
    let query = Query::parse("ORDER BY Size", &custom()).expect("a query");
    let mut page = Page::new(&query, 9, b"").expect("no token");
    documents.iter().for_each(|document| page.offer(document.clone()));
    assert_eq!(page.finish().0[0].run_id(), "run-002", "what has no value comes last");
}

#[test]
fn pages_are_in_order_and_miss_nothing() {
    for text in
        ["", "ORDER BY StartTime", "ORDER BY Size DESC", "WorkflowType = 'Order' ORDER BY Color, StartTime desc"]
    {
        let query = Query::parse(text, &custom()).expect(text);
        let mut whole = Page::new(&query, 100, b"").expect("no token");
        sample().into_iter().for_each(|document| whole.offer(document));
        let (all, token) = whole.finish();
        assert!(token.is_empty());
        let all: Vec<_> = all.iter().map(|document| document.run_id().to_owned()).collect();
        let (mut paged, mut token) = (Vec::new(), Vec::new());
        loop {
            let mut page = Page::new(&query, 1, &token).expect("our own token");
            sample().into_iter().for_each(|document| page.offer(document));
            let (documents, next) = page.finish();
            paged.extend(documents.iter().map(|document| document.run_id().to_owned()));
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(paged, all, "{text}");
    }
    let query = Query::all();
    let mut page = Page::new(&query, 9, b"").expect("no token");
    sample().into_iter().for_each(|document| page.offer(document));
    let order: Vec<_> = page.finish().0.iter().map(|document| document.run_id().to_owned()).collect();
    assert_eq!(order, ["run-001", "run-005", "run-003", "run-002"], "open ones first, then the last closed");
    assert!(Page::new(&query, 9, b"nonsense").is_err());
}

fn groups(text: &str, documents: &[Document]) -> (i64, Vec<(String, i64)>) {
    let query = Query::parse(text, &custom()).expect("a query");
    let mut counts = Counts::new(&query);
    documents.iter().for_each(|document| counts.offer(document));
    let groups = counts.groups().expect("it groups").map(|(name, count)| (name.to_owned(), count));
    let groups = groups.collect();
    (counts.total, groups)
}

#[test]
fn groups_of_states_are_in_the_order_of_their_numbers() {
    let named = |pairs: &[(&str, i64)]| pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    let expected = named(&[("Running", 1), ("Completed", 2), ("Failed", 1)]);
    assert_eq!(groups("WorkflowType = 'Order' GROUP BY ExecutionStatus", &sample()), (4, expected));
    let all = [
        Status::Paused,
        Status::TimedOut,
        Status::ContinuedAsNew,
        Status::Terminated,
        Status::Canceled,
        Status::Failed,
        Status::Completed,
        Status::Running,
    ];
    let documents: Vec<_> = (1..).zip(all).map(|(index, status)| execution(index, status, &[])).collect();
    let names = ["Running", "Completed", "Failed", "Canceled", "Terminated", "ContinuedAsNew", "TimedOut", "Paused"];
    assert_eq!(groups("GROUP BY ExecutionStatus", &documents), (8, named(&names.map(|name| (name, 1)))));
}

#[test]
fn what_has_no_division_is_in_the_group_without_a_name() {
    let expected = vec![(String::new(), 4), ("hidden".to_owned(), 1)];
    assert_eq!(groups("GROUP BY TemporalNamespaceDivision", &sample()), (5, expected));
}
