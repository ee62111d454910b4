//! What was acknowledged as started is never denied afterwards: a reader that is answered
//! at all finds it. Source: `design.md` 3, reads are linearizable.

use super::Finals;
use crate::record::Event;

pub(super) fn check(events: &[Event], _: &Finals<'_>) -> Vec<String> {
    let denials = events.iter().filter_map(|event| match event {
        Event::Denied { workflow_id, answer } => Some(format!("{workflow_id}: {answer}")),
        _ => None,
    });
    denials.collect()
}
