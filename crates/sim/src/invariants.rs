//! What must hold of every run, whatever broke. One file per invariant.

mod activities_exactly_once;
mod history_gapless;
mod history_immutable;
mod never_denied;
mod signals_exactly_once;
mod started_once;
mod tasks_kept;
mod timers_never_early;

use std::collections::BTreeMap;

use temporalio_protos::temporal::api::history::v1::HistoryEvent;

use crate::record::Event;

type Check = fn(&[Event], &Finals<'_>) -> Vec<String>;

/// The final history of each workflow.
pub(crate) type Finals<'a> = BTreeMap<&'a str, (&'a str, &'a [HistoryEvent])>;

const ALL: &[(&str, Check)] = &[
    ("started once", started_once::check),
    ("history gapless", history_gapless::check),
    ("history immutable", history_immutable::check),
    ("never denied", never_denied::check),
    ("signals exactly once", signals_exactly_once::check),
    ("activities exactly once", activities_exactly_once::check),
    ("tasks kept", tasks_kept::check),
    ("timers never early", timers_never_early::check),
];

/// One line for each violation.
pub(crate) fn check(events: &[Event]) -> Vec<String> {
    let mut finals = Finals::new();
    for event in events {
        if let Event::Final { workflow_id, run_id, events } = event {
            finals.insert(workflow_id, (run_id, events));
        }
    }
    let mut violations = Vec::new();
    for (name, check) in ALL {
        violations.extend(check(events, &finals).into_iter().map(|violation| format!("{name} violated: {violation}")));
    }
    violations
}
