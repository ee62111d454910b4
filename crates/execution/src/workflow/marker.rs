//! Markers: facts that the worker wants to find in history again (local activities, versions,
//! side effects). They change nothing else.

use temporalio_protos::temporal::api::command::v1::RecordMarkerCommandAttributes;
use temporalio_protos::temporal::api::enums::v1::WorkflowTaskFailedCause as Cause;
use temporalio_protos::temporal::api::history::v1::MarkerRecordedEventAttributes;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;

use super::commands::{Fail, Turn};

pub(crate) fn record(turn: &mut Turn<'_, '_>, command: RecordMarkerCommandAttributes) -> Result<(), Fail> {
    let cause = Cause::BadRecordMarkerAttributes;
    let name = command.marker_name;
    if name.is_empty() {
        return Err(Fail::task(cause, "MarkerName is not set on RecordMarkerCommand."));
    }
    let limit = turn.step.limits.id_bytes_max;
    if name.len() > limit {
        let length = name.len();
        let message = format!(
            "MarkerName on RecordMarkerCommand exceeds length limit. MarkerName={name} Length={length} Limit={limit}"
        );
        return Err(Fail::task(cause, message));
    }
    let payloads = command
        .details
        .iter()
        .flat_map(|(key, value)| value.payloads.iter().map(|payload| payload.data.len()).chain([key.len()]));
    if payloads.sum::<usize>() > turn.step.limits.blob_bytes_max {
        return Err(Fail::run(cause, "RecordMarkerCommandAttributes.Details exceeds size limit."));
    }
    turn.event(Attributes::MarkerRecordedEventAttributes(MarkerRecordedEventAttributes {
        marker_name: name,
        details: command.details,
        workflow_task_completed_event_id: turn.completed_event_id,
        header: command.header,
        failure: command.failure,
    }));
    Ok(())
}
