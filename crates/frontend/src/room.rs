//! What may still be asked of a cluster that is short of room on its disks. Timers and what
//! workflows do to each other go on in any case; this is the door for calls from outside.
//!
//! | room | begins something | goes on with something | makes room, ends something, reads |
//! |---|---|---|---|
//! | ample | ✓ | ✓ | ✓ |
//! | low | refused | ✓ | ✓ |
//! | critical | refused | refused | ✓ |

use api::Error;
use cluster::{DiskShortage, SpaceLevel};
use temporalio_protos::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};

use crate::Backend;

/// What a call does to the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Growth {
    /// Reads, ends something, deletes, or writes nothing at all.
    None,
    /// What was begun comes closer to its end, or is told to wait.
    Continues,
    /// New work, or new settings. Also what this list does not know.
    Begins,
}

/// Calls that never add to the store, or little and so that more can go, by prefix. Ends of
/// work are the way out of a full disk.
const NONE: &[&str] = &[
    "Count",
    "Delete",
    "Describe",
    "Fetch",
    "Get",
    "List",
    "PollWorkflowExecutionUpdate",
    "Query",
    "RecordWorkerHeartbeat",
    "RemoveSearchAttributes",
    "RequestCancel",
    "ResetStickyTaskQueue",
    "RespondQueryTaskCompleted",
    "Scan",
    "ShutdownWorker",
    "Stop",
    "Terminate",
];

/// The same for what goes on. Polls are among them: when completions are refused no task is
/// to be handed out.
const CONTINUES: &[&str] = &["Pause", "Poll", "RecordActivityTaskHeartbeat", "Respond"];

fn growth(name: &str) -> Growth {
    let is_among = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if is_among(NONE) {
        Growth::None
    } else if is_among(CONTINUES) {
        Growth::Continues
    } else {
        Growth::Begins
    }
}

/// Refuses what there is no room for.
pub(crate) fn admit(name: &str, backend: &dyn Backend) -> Result<(), Error> {
    let Some(shortage) = backend.disk_shortage() else { return Ok(()) };
    let refused_from = match shortage.level {
        SpaceLevel::Ample => return Ok(()),
        SpaceLevel::Low => Growth::Begins,
        SpaceLevel::Critical => Growth::Continues,
    };
    if growth(name) >= refused_from { Err(refusal(&shortage)) } else { Ok(()) }
}

fn refusal(shortage: &DiskShortage) -> Error {
    let DiskShortage { node, place, free_bytes, needed_bytes, .. } = shortage;
    Error::ResourceExhausted {
        message: format!(
            "The disk of node {node} is nearly full: {} are free in {place}, {} are needed before it takes new work. \
             Make room there, or delete workflows.",
            size(*free_bytes),
            size(*needed_bytes)
        ),
        cause: ResourceExhaustedCause::PersistenceStorageLimit.into(),
        scope: ResourceExhaustedScope::System.into(),
    }
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < 10 * MIB { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes / MIB) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_of_some_call() {
        for prefix in NONE.iter().chain(CONTINUES) {
            let mut names = api::METHODS.iter().map(|method| method.name);
            assert!(names.any(|name| name.starts_with(prefix)), "{prefix}");
        }
    }

    #[test]
    fn calls_are_told_apart() {
        let names = |wanted: Growth| {
            let all = api::METHODS.iter().map(|method| method.name);
            all.filter(|name| growth(name) == wanted).collect::<Vec<_>>()
        };
        let begins = names(Growth::Begins);
        for name in [
            "StartWorkflowExecution",
            "SignalWorkflowExecution",
            "SignalWithStartWorkflowExecution",
            "ExecuteMultiOperation",
            "UpdateWorkflowExecution",
            "ResetWorkflowExecution",
            "UnpauseWorkflowExecution",
            "RegisterNamespace",
            "CreateSchedule",
            "StartBatchOperation",
            "AddSearchAttributes",
        ] {
            assert!(begins.contains(&name), "{name}");
        }
        let continues = names(Growth::Continues);
        for name in ["RespondWorkflowTaskCompleted", "PollActivityTaskQueue", "RespondActivityTaskFailedById"] {
            assert!(continues.contains(&name), "{name}");
        }
        let none = names(Growth::None);
        for name in [
            "TerminateWorkflowExecution",
            "RequestCancelWorkflowExecution",
            "DeleteWorkflowExecution",
            "DeleteNamespace",
            "GetWorkflowExecutionHistory",
            "QueryWorkflow",
            "RespondQueryTaskCompleted",
            "PollWorkflowExecutionUpdate",
        ] {
            assert!(none.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_refusal_says_where_and_how_much() {
        let shortage = DiskShortage {
            node: base::NodeId(2),
            level: SpaceLevel::Low,
            place: "/data".to_owned(),
            free_bytes: 3 << 20,
            needed_bytes: 320 << 20,
        };
        let text = refusal(&shortage).to_string();
        assert!(text.contains("node 2") && text.contains("3072 KiB are free in /data, 320 MiB are needed"), "{text}");
    }
}
