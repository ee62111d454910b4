//! The steps of a reset, in the order in which the shard takes them.

use execution::workflow::{Change, Command, Excluded, Fork, RESETTER_IDENTITY, Rebuild, Rebuilt, Reset};
use execution::{Limits, Rejection};
use temporalio_protos::temporal::api::enums::v1::{
    ResetReapplyExcludeType, ResetReapplyType, WorkflowExecutionStatus as Status,
};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::workflowservice::v1 as wf;

use super::script::Call;
use super::world::World;

/// The new run, and what changed in the base and in the new run.
pub(crate) struct Outcome {
    pub(crate) new: World,
    pub(crate) base_changes: Vec<Change>,
    pub(crate) new_changes: Vec<Change>,
}

/// Resets `base`, which is the current run too.
pub(crate) fn reset(base: &mut World, call: &Call, run_id: &str) -> Result<Outcome, Rejection> {
    let fork: i64 = call.number("at").expect("at=<event id>");
    let Rebuilt { state, rows, started_event_id } = rebuild(base, fork, run_id, call);
    let mut new = World::rebuilt(state, &rows, base);
    let reset = Reset { base_run_id: base.state.execution().run_id, reason: call.text("reason"), started_event_id };
    let mut new_changes = new.step(&Command::Reset(Box::new(reset)))?.changes;
    let mut again: Vec<HistoryEvent> = base.history.iter().filter(|event| event.event_id >= fork).cloned().collect();
    let mut base_changes = base.step(&Command::ResetTo(run_id.to_owned()))?.changes;
    if base.state.status() == Status::Running {
        let terminate = wf::TerminateWorkflowExecutionRequest {
            reason: call.text("reason"),
            identity: RESETTER_IDENTITY.into(),
            ..Default::default()
        };
        base_changes.extend(base.step(&Command::Terminate(Box::new(terminate)))?.changes);
        again.extend(base_changes.iter().filter_map(|change| match change {
            Change::Event(event) => Some(event.clone()),
            _ => None,
        }));
    }
    let excluded = excluded(call);
    again.retain(|event| excluded.keeps(event));
    new_changes.extend(new.step(&Command::Reapply(again))?.changes);
    new_changes.extend(new.step(&Command::FinishReset)?.changes);
    Ok(Outcome { new, base_changes, new_changes })
}

fn rebuild(base: &World, fork: i64, run_id: &str, call: &Call) -> Rebuilt {
    let mut rebuild =
        Rebuild::new(&base.state, Fork { run_id: run_id.into(), request_id: call.text("request"), now: base.now });
    for event in base.history.iter().filter(|event| event.event_id < fork) {
        rebuild.fold(event.clone(), &Limits::default());
    }
    rebuild.finish()
}

fn excluded(call: &Call) -> Excluded {
    use ResetReapplyExcludeType as E;
    let kinds = call.text("exclude");
    let kinds = kinds.split(',').filter(|kind| !kind.is_empty()).map(|kind| match kind {
        "signal" => E::Signal,
        "update" => E::Update,
        kind => panic!("exclude={kind}"),
    });
    Excluded::new(kinds, ResetReapplyType::AllEligible)
}
