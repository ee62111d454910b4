//! What is built of the public API: the source of `docs/compatibility.md`, which a test
//! keeps equal to this table and to the descriptors.
//!
//! An RPC that is not listed is not built.

mod capabilities;
mod fields;

use std::fmt::Write as _;

use api::METHODS;

pub use capabilities::{CAPABILITIES, Capability};
pub use fields::{EVERYWHERE, FIELDS, Field, Treatment};

/// How far an RPC is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Each field of the request acts as on the official server in its default configuration,
    /// or is refused with an error that says so; the table of fields names the refused ones.
    Complete,
    /// Works, but what a field asks for is passed over in silence; the remark says what.
    Partial,
    /// Answers UNIMPLEMENTED with its name.
    Unimplemented,
}

/// One line: the RPC, how far it is, and what to know about it.
pub type Row = (&'static str, State, &'static str);

/// Everything that is built.
pub const TABLE: &[Row] = &[
    ("RegisterNamespace", State::Complete, "One cluster: no global namespaces, no archival."),
    (
        "DescribeNamespace",
        State::Complete,
        "By name or id. [Capabilities](#capabilities) are true only for what is built.",
    ),
    ("ListNamespaces", State::Complete, ""),
    ("UpdateNamespace", State::Complete, "One cluster: no failover, no promotion, no archival."),
    (
        "StartWorkflowExecution",
        State::Complete,
        "Completion callbacks are recorded; nothing delivers them yet. Nothing can be pinned to a worker deployment's \
         version, since there are none.",
    ),
    ("SignalWithStartWorkflowExecution", State::Complete, "As StartWorkflowExecution."),
    ("SignalWorkflowExecution", State::Complete, ""),
    ("RequestCancelWorkflowExecution", State::Complete, ""),
    ("TerminateWorkflowExecution", State::Complete, ""),
    ("ResetWorkflowExecution", State::Complete, ""),
    (
        "UpdateWorkflowExecutionOptions",
        State::Complete,
        "Priority, and the override that follows the current version; nothing can be pinned, time skipping is off.",
    ),
    ("PauseWorkflowExecution", State::Complete, ""),
    ("UnpauseWorkflowExecution", State::Complete, ""),
    ("DeleteWorkflowExecution", State::Complete, ""),
    ("DescribeWorkflowExecution", State::Complete, "Callbacks are shown; they are not delivered yet."),
    ("GetWorkflowExecutionHistory", State::Complete, ""),
    ("GetWorkflowExecutionHistoryReverse", State::Complete, ""),
    ("UpdateWorkflowExecution", State::Complete, ""),
    ("PollWorkflowExecutionUpdate", State::Complete, ""),
    (
        "ExecuteMultiOperation",
        State::Complete,
        "A start and an update, as on the official server. As StartWorkflowExecution.",
    ),
    ("QueryWorkflow", State::Complete, ""),
    ("RespondQueryTaskCompleted", State::Complete, ""),
    (
        "PollWorkflowTaskQueue",
        State::Complete,
        "Versioned workers are refused, as where worker deployments are switched off.",
    ),
    (
        "RespondWorkflowTaskCompleted",
        State::Complete,
        "All commands; those of Nexus fail the workflow task, as where Nexus is off. Children, signals and cancel requests stay within the namespace, as is the default. Versioned workers are refused.",
    ),
    ("RespondWorkflowTaskFailed", State::Complete, ""),
    (
        "PollActivityTaskQueue",
        State::Complete,
        "Versioned workers are refused, as where worker deployments are switched off.",
    ),
    ("RespondActivityTaskCompleted", State::Complete, ""),
    ("RespondActivityTaskCompletedById", State::Complete, "Of activities of workflows; standalone ones are refused."),
    ("RespondActivityTaskFailed", State::Complete, ""),
    ("RespondActivityTaskFailedById", State::Complete, "Of activities of workflows; standalone ones are refused."),
    ("RespondActivityTaskCanceled", State::Complete, ""),
    ("RespondActivityTaskCanceledById", State::Complete, "Of activities of workflows; standalone ones are refused."),
    ("RecordActivityTaskHeartbeat", State::Complete, ""),
    ("RecordActivityTaskHeartbeatById", State::Complete, "Of activities of workflows; standalone ones are refused."),
    ("PauseActivity", State::Complete, ""),
    ("UnpauseActivity", State::Complete, ""),
    ("ResetActivity", State::Complete, ""),
    ("UpdateActivityOptions", State::Complete, ""),
    (
        "PauseActivityExecution",
        State::Complete,
        "Of activities of workflows; standalone ones are refused, as is the default.",
    ),
    (
        "UnpauseActivityExecution",
        State::Complete,
        "Of activities of workflows; standalone ones are refused, as is the default.",
    ),
    (
        "ResetActivityExecution",
        State::Complete,
        "Of activities of workflows; standalone ones are refused, as is the default.",
    ),
    (
        "UpdateActivityExecutionOptions",
        State::Complete,
        "Of activities of workflows; standalone ones are refused, as is the default.",
    ),
    ("ResetStickyTaskQueue", State::Complete, ""),
    ("DescribeTaskQueue", State::Complete, "Workers without a version are the only ones there are."),
    (
        "ListTaskQueuePartitions",
        State::Complete,
        "A queue has one partition; its owner is told by its address for peers.",
    ),
    (
        "UpdateTaskQueueConfig",
        State::Complete,
        "Fairness is off, as it is by default: weights and the rate of fairness keys are stored and shown only.",
    ),
    ("ShutdownWorker", State::Complete, "Ends the worker's polls and gives up its sticky queue."),
    ("RecordWorkerHeartbeat", State::Complete, "Remembered by one node per namespace, for five minutes."),
    (
        "ListWorkers",
        State::Complete,
        "Always ordered by instance key; a page ends at 3 MiB even when none was asked for. Errors of queries as \
         ListWorkflowExecutions.",
    ),
    ("CountWorkers", State::Complete, ""),
    ("DescribeWorker", State::Complete, ""),
    ("GetClusterInfo", State::Complete, ""),
    ("GetSystemInfo", State::Complete, "[Capabilities](#capabilities) are true only for what is built."),
    (
        "ListWorkflowExecutions",
        State::Complete,
        "Every row of the namespace is looked at. Also sorts by ORDER BY. The first line of an error is that of the official \
         server; below it stands the query with a mark where it went wrong, and what was expected there.",
    ),
    ("ScanWorkflowExecutions", State::Complete, "As ListWorkflowExecutions."),
    ("CountWorkflowExecutions", State::Complete, "As ListWorkflowExecutions."),
    ("ListOpenWorkflowExecutions", State::Complete, ""),
    ("ListClosedWorkflowExecutions", State::Complete, ""),
    ("GetSearchAttributes", State::Complete, ""),
    (
        "DeleteNamespace",
        State::Complete,
        "Its executions are removed at once, in the background; the record stays, as deleted.",
    ),
    ("AddSearchAttributes", State::Complete, ""),
    (
        "RemoveSearchAttributes",
        State::Complete,
        "Values that are there are hidden from descriptions, lists and queries, also while the name is registered with a \
         type that they are not of; they are not lost. Histories show what was written.",
    ),
    ("ListSearchAttributes", State::Complete, ""),
];

/// The row of an RPC, listed or not.
#[must_use]
pub fn row(name: &'static str) -> Row {
    TABLE.iter().find(|(listed, _, _)| *listed == name).copied().unwrap_or((name, State::Unimplemented, ""))
}

/// The official server that answers are compared with.
const OFFICIAL: &str = "1.32.1";

/// The text of `docs/compatibility.md`.
#[must_use]
pub fn document() -> String {
    let count = |state| METHODS.iter().filter(|method| row(method.name).1 == state).count();
    let mut text = format!(
        "# Compatibility\n\n\
         Every RPC of Temporal's public API and its state. Generated from the descriptors and from\n\
         `crates/frontend/src/compatibility.rs`; a test fails when it is stale.\n\n\
         {} RPCs: {} complete, {} partial, {} not built. What is not built answers `UNIMPLEMENTED` and names the RPC.\n\n\
         *Complete* means: each field of the request acts as it does on the official server {OFFICIAL} in its default\n\
         configuration, or is refused with an error that says what is off. The one exception are completion callbacks, which\n\
         are kept and shown but not delivered yet. The fields that are refused, or kept and shown only, or that nothing\n\
         depends on, are named [below](#fields); a test walks the descriptors and fails on a field that is neither there nor\n\
         in `crates/frontend/testdata/acting_fields.txt`. Fields that act are set by scenarios that both\n\
         servers must answer alike (`cargo xtask differential`); `unset_fields.txt` there names the few that are shown\n\
         to act elsewhere. Where answers differ on purpose, `intended.txt` says why. *Partial* is what passes over a field.\n\n\
         `grpc.health.v1.Health` and server reflection (`v1`, `v1alpha`) are served too.\n",
        METHODS.len(),
        count(State::Complete),
        count(State::Partial),
        count(State::Unimplemented),
    );
    let mut service = "";
    for method in METHODS {
        if method.service != service {
            service = method.service;
            let title = service.rsplit('.').next().unwrap_or(service);
            write!(text, "\n## {title}\n\n| RPC | state | remarks |\n|---|---|---|\n").expect("writing to a string");
        }
        let (name, state, remark) = row(method.name);
        let state = match state {
            State::Complete => "complete",
            State::Partial => "partial",
            State::Unimplemented => "-",
        };
        writeln!(text, "| {name} | {state} | {remark} |").expect("writing to a string");
    }
    text.push_str(
        "\n## Fields\n\nThe fields of requests that do less than the API says; `*` stands for every request that has the field. All others of an\nRPC that is built act.\n\n\
         | message | field | | why |\n|---|---|---|---|\n",
    );
    for (message, field, treatment, why) in EVERYWHERE.iter().chain(FIELDS) {
        let treatment = match treatment {
            Treatment::Refused => "refused",
            Treatment::NoEffect => "no effect",
            Treatment::Recorded => "recorded",
        };
        writeln!(text, "| {message} | {field} | {treatment} | {why} |").expect("writing to a string");
    }
    capabilities_section(&mut text);
    text
}

/// Where this server says less or more of itself than the official one.
fn capabilities_section(text: &mut String) {
    write!(
        text,
        "\n## Capabilities\n\nWhat `GetSystemInfo`, `DescribeNamespace`, `ListNamespaces` and `GetClusterInfo` say otherwise than the official server\n\
         {OFFICIAL} in its default configuration, and what follows. All other bits are said alike; a test fails on one that nobody has\n\
         looked at.\n\n| message | field | official | here | why, and what SDKs do |\n|---|---|---|---|---|\n"
    )
    .expect("writing to a string");
    for (message, field, official, ours, why) in CAPABILITIES.iter().filter(|row| !row.4.is_empty()) {
        writeln!(text, "| {message} | {field} | {official} | {ours} | {why} |").expect("writing to a string");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::{DescriptorPool, MessageDescriptor};

    use super::*;
    use crate::handlers;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");

    #[test]
    fn the_document_is_fresh() {
        let document = document();
        #[expect(clippy::disallowed_methods, reason = "the switch that rewrites expectations")]
        if std::env::var("UPDATE_EXPECT").is_ok() {
            std::fs::write(PATH, &document).expect("the document can be written");
        }
        let written = std::fs::read_to_string(PATH).expect("the document exists");
        assert!(written == document, "docs/compatibility.md is stale: run the tests with UPDATE_EXPECT=1");
    }

    /// Values that are carried as they are: whoever gets them looks into them.
    const CARRIED: &[&str] = &[
        "Payload",
        "Payloads",
        "Memo",
        "Header",
        "SearchAttributes",
        "Failure",
        "Link",
        "UserMetadata",
        "EventGroupMarker",
        "WorkerHeartbeat",
        "WorkflowTaskCompletedMetadata",
        "MeteringMetadata",
    ];

    /// Messages that mean nothing where their field is refused.
    const REFUSED_WHOLE: &[&str] = &[
        "TimeSkippingConfig",
        "NexusHandler",
        "PinnedOverride",
        "OneTimeOverride",
        "ScheduleNexusOperationCommandAttributes",
        "RequestCancelNexusOperationCommandAttributes",
    ];

    fn pool() -> DescriptorPool {
        DescriptorPool::decode(api::DESCRIPTORS).expect("the descriptors are sound")
    }

    /// Every field of the requests of what is built, in requests within requests too.
    fn fields_of_requests() -> BTreeSet<(String, String)> {
        let pool = pool();
        let built = METHODS.iter().filter(|method| row(method.name).1 != State::Unimplemented);
        let mut messages: Vec<MessageDescriptor> = built
            .map(|method| {
                let service = pool.get_service_by_name(method.service).expect("a service");
                let found = service.methods().find(|known| known.name() == method.name);
                found.expect("an RPC").input()
            })
            .collect();
        let (mut seen, mut fields) = (BTreeSet::new(), BTreeSet::new());
        while let Some(message) = messages.pop() {
            let is_leaf = CARRIED.contains(&message.name()) || REFUSED_WHOLE.contains(&message.name());
            if message.full_name().starts_with("google.") || is_leaf || !seen.insert(message.full_name().to_owned()) {
                continue;
            }
            for field in message.fields() {
                if !message.is_map_entry() {
                    fields.insert((message.name().to_owned(), field.name().to_owned()));
                }
                messages.extend(field.kind().as_message().cloned());
            }
        }
        fields
    }

    fn acting_fields() -> BTreeSet<(String, String)> {
        let lines = include_str!("../testdata/acting_fields.txt").lines().filter(|line| !line.starts_with('#'));
        let parts = lines.filter(|line| !line.is_empty()).map(|line| line.split_once(": ").expect("MESSAGE: fields"));
        parts.flat_map(|(message, names)| names.split(' ').map(|name| (message.to_owned(), name.to_owned()))).collect()
    }

    #[test]
    fn every_field_of_a_request_is_classified() {
        let (requests, acting) = (fields_of_requests(), acting_fields());
        let listed = |message: &str, field: &str| FIELDS.iter().any(|row| (row.0, row.1) == (message, field));
        let everywhere = |field: &str| EVERYWHERE.iter().any(|row| row.1 == field);
        let mut problems = Vec::new();
        for (message, field) in &requests {
            let ways = [acting.contains(&(message.clone(), field.clone())), listed(message, field), everywhere(field)];
            match ways.iter().filter(|way| **way).count() {
                0 => problems.push(format!("{message}.{field} is not classified")),
                1 => {}
                _ => problems.push(format!("{message}.{field} is classified twice")),
            }
        }
        let stale = acting.iter().filter(|field| !requests.contains(*field));
        problems.extend(stale.map(|(message, field)| format!("{message}.{field} is no field of a request")));
        let named = FIELDS.iter().map(|row| (row.0.to_owned(), row.1.to_owned()));
        let stale = named.filter(|field| !requests.contains(field));
        problems.extend(stale.map(|(message, field)| format!("{message}.{field} is no field of a request")));
        let unknown = EVERYWHERE.iter().filter(|row| !requests.iter().any(|(_, field)| field == row.1));
        problems.extend(unknown.map(|row| format!("no request has a field {}", row.1)));
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn the_table_says_what_the_handlers_do() {
        for (name, _, _) in TABLE {
            assert!(METHODS.iter().any(|method| method.name == *name), "{name} is no RPC");
        }
        for method in METHODS {
            let built = row(method.name).1 != State::Unimplemented;
            assert_eq!(built, handlers::find(method.name).is_some(), "{}", method.name);
        }
    }
}
