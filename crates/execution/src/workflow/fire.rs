//! A wake-up: everything whose time has come, in time order, never early.

use super::command::FreshIds;
use super::deadlines::Due;
use super::step::Step;
use super::{activity, close, start, timer, workflow_task};

/// A wake-up does at most this many things; the rest is due at once again.
const FIRED_PER_STEP_MAX: usize = 1000;

pub(crate) fn fire(step: &mut Step<'_>, fresh: &FreshIds) {
    for _ in 0..FIRED_PER_STEP_MAX {
        let due = step.state.next_due().filter(|(time, _)| *time <= step.now && step.state.is_running());
        let Some((_, due)) = due else { return };
        match due {
            Due::FirstTask => start::first_task_due(step),
            Due::Timer(_) => fire_timers(step),
            Due::Activity(scheduled_event_id, due) => activity::due(step, scheduled_event_id, due),
            Due::StickyTask => workflow_task::sticky_time_out(step),
            Due::KeepStart => workflow_task::keep(step),
            Due::WorkflowTask => workflow_task::time_out(step),
            Due::SpeculativeTask => workflow_task::speculative_time_out(step),
            Due::Run => close::time_out(step, fresh),
        }
    }
}

/// All due user timers fire together, before the workflow task that tells of them.
fn fire_timers(step: &mut Step<'_>) {
    let due: Vec<_> = step
        .state
        .deadlines
        .iter()
        .take_while(|(time, _)| *time <= step.now)
        .filter_map(|(_, due)| if let Due::Timer(id) = due { Some(*id) } else { None })
        .take(FIRED_PER_STEP_MAX)
        .collect();
    for started_event_id in due {
        timer::fire(step, started_event_id);
    }
    workflow_task::schedule(step);
}
