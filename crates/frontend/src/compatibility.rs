//! What is built of the public API: the source of `docs/compatibility.md`, which a test
//! keeps equal to this table and to the descriptors.
//!
//! An RPC that is not listed is not built.

mod fields;

use std::fmt::Write as _;

use api::METHODS;

pub use fields::{FIELDS, Field, Treatment};

/// How far an RPC is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Does all that the official server does.
    Complete,
    /// Works; the remark says what is missing.
    Partial,
    /// Answers UNIMPLEMENTED with its name.
    Unimplemented,
}

/// One line: the RPC, how far it is, and what to know about it.
pub type Row = (&'static str, State, &'static str);

/// Everything that is built.
pub const TABLE: &[Row] = &[
    ("RegisterNamespace", State::Partial, "One cluster: no global namespaces, no archival."),
    ("DescribeNamespace", State::Complete, "By name or id. Capabilities are true only for what is built."),
    ("ListNamespaces", State::Complete, ""),
    ("UpdateNamespace", State::Partial, "One cluster: no failover, no promotion, no archival."),
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
    ("ResetWorkflowExecution", State::Partial, "No Nexus operations."),
    (
        "UpdateWorkflowExecutionOptions",
        State::Partial,
        "Priority; a versioning override is refused, time skipping is off.",
    ),
    ("PauseWorkflowExecution", State::Complete, ""),
    ("UnpauseWorkflowExecution", State::Complete, ""),
    ("DeleteWorkflowExecution", State::Complete, ""),
    (
        "DescribeWorkflowExecution",
        State::Partial,
        "Nothing of Nexus operations. Callbacks are shown; they are not delivered.",
    ),
    ("GetWorkflowExecutionHistory", State::Partial, "No archived histories."),
    ("GetWorkflowExecutionHistoryReverse", State::Complete, ""),
    ("UpdateWorkflowExecution", State::Partial, "No completion callbacks."),
    ("PollWorkflowExecutionUpdate", State::Complete, ""),
    (
        "ExecuteMultiOperation",
        State::Partial,
        "Start and update, as on the official server. As StartWorkflowExecution.",
    ),
    ("QueryWorkflow", State::Complete, ""),
    ("RespondQueryTaskCompleted", State::Complete, ""),
    ("PollWorkflowTaskQueue", State::Partial, "No worker versioning: versioned workers are refused."),
    (
        "RespondWorkflowTaskCompleted",
        State::Partial,
        "All commands; those of Nexus fail the workflow task, as where Nexus is off. Children, signals and cancel \
         requests stay within the namespace, as is the default. No worker versioning.",
    ),
    ("RespondWorkflowTaskFailed", State::Complete, ""),
    ("PollActivityTaskQueue", State::Partial, "No worker versioning: versioned workers are refused."),
    ("RespondActivityTaskCompleted", State::Complete, ""),
    ("RespondActivityTaskCompletedById", State::Partial, "No standalone activities."),
    ("RespondActivityTaskFailed", State::Complete, ""),
    ("RespondActivityTaskFailedById", State::Partial, "No standalone activities."),
    ("RespondActivityTaskCanceled", State::Complete, ""),
    ("RespondActivityTaskCanceledById", State::Partial, "No standalone activities."),
    ("RecordActivityTaskHeartbeat", State::Complete, ""),
    ("RecordActivityTaskHeartbeatById", State::Partial, "No standalone activities."),
    ("PauseActivity", State::Complete, ""),
    ("UnpauseActivity", State::Complete, ""),
    ("ResetActivity", State::Complete, ""),
    ("UpdateActivityOptions", State::Complete, ""),
    ("PauseActivityExecution", State::Partial, "Activities of workflows; no standalone activities."),
    ("UnpauseActivityExecution", State::Partial, "Activities of workflows; no standalone activities."),
    ("ResetActivityExecution", State::Partial, "Activities of workflows; no standalone activities."),
    ("UpdateActivityExecutionOptions", State::Partial, "Activities of workflows; no standalone activities."),
    ("ResetStickyTaskQueue", State::Complete, ""),
    ("DescribeTaskQueue", State::Partial, "Workers without a version are the only ones there are; no Nexus tasks."),
    (
        "ListTaskQueuePartitions",
        State::Complete,
        "A queue has one partition; its owner is told by its address for peers.",
    ),
    (
        "UpdateTaskQueueConfig",
        State::Partial,
        "Fairness is off, as it is by default: weights and the rate of fairness keys are stored and shown only.",
    ),
    ("ShutdownWorker", State::Complete, "Ends the worker's polls and gives up its sticky queue."),
    ("RecordWorkerHeartbeat", State::Complete, "Remembered by one node per namespace, for five minutes."),
    (
        "ListWorkers",
        State::Complete,
        "Always ordered by instance key; a page ends at 3 MiB even when none was asked for.",
    ),
    ("CountWorkers", State::Complete, ""),
    ("DescribeWorker", State::Complete, ""),
    ("GetClusterInfo", State::Complete, ""),
    ("GetSystemInfo", State::Complete, "Capabilities are true only for what is built."),
    ("ListWorkflowExecutions", State::Complete, "Every row of the namespace is looked at. Also sorts by ORDER BY."),
    ("ScanWorkflowExecutions", State::Complete, "As ListWorkflowExecutions."),
    ("CountWorkflowExecutions", State::Complete, "Every row of the namespace is looked at."),
    ("ListOpenWorkflowExecutions", State::Complete, ""),
    ("ListClosedWorkflowExecutions", State::Complete, ""),
    ("GetSearchAttributes", State::Complete, ""),
    (
        "DeleteNamespace",
        State::Complete,
        "Its executions are removed at once, in the background; the record stays, as deleted.",
    ),
    ("AddSearchAttributes", State::Complete, ""),
    ("RemoveSearchAttributes", State::Complete, ""),
    ("ListSearchAttributes", State::Complete, ""),
];

/// The row of an RPC, listed or not.
#[must_use]
pub fn row(name: &'static str) -> Row {
    TABLE.iter().find(|(listed, _, _)| *listed == name).copied().unwrap_or((name, State::Unimplemented, ""))
}

/// The text of `docs/compatibility.md`.
#[must_use]
pub fn document() -> String {
    let count = |state| METHODS.iter().filter(|method| row(method.name).1 == state).count();
    let mut text = format!(
        "# Compatibility\n\n\
         Every RPC of Temporal's public API and its state. Generated from the descriptors and from\n\
         `crates/frontend/src/compatibility.rs`; a test fails when it is stale.\n\n\
         {} RPCs: {} complete, {} partial, {} not built. What is not built answers `UNIMPLEMENTED` and names the RPC.\n\n\
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
        "\n## Fields\n\nThe fields of requests that do less than the API says. All others of an RPC that is built act.\n\n\
         | message | field | | why |\n|---|---|---|---|\n",
    );
    for (message, field, treatment, why) in FIELDS {
        let treatment = match treatment {
            Treatment::Refused => "refused",
            Treatment::NoEffect => "no effect",
            Treatment::Recorded => "recorded",
        };
        writeln!(text, "| {message} | {field} | {treatment} | {why} |").expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_fields_are_those_of_the_api() {
        let pool = prost_reflect::DescriptorPool::decode(api::DESCRIPTORS).expect("the descriptors are sound");
        for (message, field, ..) in FIELDS {
            let mut named = pool.all_messages().filter(|known| known.name() == *message);
            assert!(named.any(|known| known.get_field_by_name(field).is_some()), "{message} has no field {field}");
        }
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
