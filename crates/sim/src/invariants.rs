//! What must hold of every run, whatever broke. One file per invariant.

mod activities_exactly_once;
mod children_exactly_once;
mod closed_as_told;
mod external_exactly_once;
mod history_gapless;
mod history_immutable;
mod never_denied;
mod parent_close_policy;
mod replayable;
mod resets_once;
mod signals_exactly_once;
mod started_once;
mod tasks_kept;
mod timers_never_early;
mod updates_exactly_once;

use std::collections::BTreeMap;

use temporalio_protos::temporal::api::history::v1::HistoryEvent;

use crate::record::Event;

type Check = fn(&[Event], &Finals<'_>) -> Vec<String>;

/// By workflow id: what is left of its runs.
pub(crate) type Finals<'a> = BTreeMap<&'a str, Runs<'a>>;

/// A run and its whole history.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) id: &'a str,
    pub(crate) events: &'a [HistoryEvent],
}

/// In the order of their starts.
#[derive(Clone, Default)]
pub(crate) struct Runs<'a>(Vec<Run<'a>>);

impl<'a> Runs<'a> {
    pub(crate) fn current(&self) -> Run<'a> {
        *self.0.last().expect("a workflow that was read has a run")
    }

    pub(crate) fn get(&self, id: &str) -> Option<Run<'a>> {
        self.iter().find(|run| run.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Run<'a>> {
        self.0.iter().copied()
    }

    fn add(&mut self, run: Run<'a>) {
        self.0.retain(|known| known.id != run.id);
        self.0.push(run);
    }
}

/// All runs, each with its workflow id.
pub(crate) fn runs<'a>(finals: &Finals<'a>) -> impl Iterator<Item = (&'a str, Run<'a>)> {
    finals.iter().flat_map(|(workflow_id, runs)| runs.iter().map(|run| (*workflow_id, run)))
}

const ALL: &[(&str, Check)] = &[
    ("started once", started_once::check),
    ("history gapless", history_gapless::check),
    ("history immutable", history_immutable::check),
    ("replayable", replayable::check),
    ("never denied", never_denied::check),
    ("signals exactly once", signals_exactly_once::check),
    ("activities exactly once", activities_exactly_once::check),
    ("tasks kept", tasks_kept::check),
    ("timers never early", timers_never_early::check),
    ("children exactly once", children_exactly_once::check),
    ("parent close policy", parent_close_policy::check),
    ("external exactly once", external_exactly_once::check),
    ("updates exactly once", updates_exactly_once::check),
    ("resets once", resets_once::check),
    ("closed as told", closed_as_told::check),
];

/// One line for each violation.
pub(crate) fn check(events: &[Event]) -> Vec<String> {
    let finals = finals(events);
    let mut violations = Vec::new();
    for (name, check) in ALL {
        violations.extend(check(events, &finals).into_iter().map(|violation| format!("{name} violated: {violation}")));
    }
    violations
}

fn finals(events: &[Event]) -> Finals<'_> {
    let mut finals = Finals::new();
    for event in events {
        if let Event::Final { workflow_id, run_id, events } = event {
            finals.entry(workflow_id.as_str()).or_default().add(Run { id: run_id, events });
        }
    }
    finals
}

/// Made-up records, by which each invariant shows that it can fail.
#[cfg(test)]
mod testing {
    use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

    use super::*;

    pub(super) fn event(event_id: i64, attributes: Attributes) -> HistoryEvent {
        HistoryEvent { event_id, attributes: Some(attributes), ..Default::default() }
    }

    pub(super) fn ended(workflow_id: &str, run_id: &str, events: Vec<HistoryEvent>) -> Event {
        Event::Final { workflow_id: workflow_id.into(), run_id: run_id.into(), events }
    }

    pub(super) fn violations_of(check: Check, events: &[Event]) -> usize {
        check(events, &finals(events)).len()
    }
}
