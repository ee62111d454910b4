//! Updates: alone, and with the start of their workflow.

use api::Error;
use base::Entropy;
use temporalio_protos::temporal::api::enums::v1::UpdateWorkflowExecutionLifecycleStage as Stage;
use temporalio_protos::temporal::api::workflowservice::v1::{
    StartWorkflowExecutionRequest, UpdateWorkflowExecutionRequest,
};

use super::{execution, invalid, links, not_longer, start};
use crate::{Config, Limits};

pub(crate) fn update(
    request: &mut UpdateWorkflowExecutionRequest,
    limits: &Limits,
    entropy: &dyn Entropy,
) -> Result<(), Error> {
    execution(request.workflow_execution.as_ref())?;
    let inner = request.request.as_mut();
    let Some((meta, input, inner)) = inner.and_then(|inner| {
        let (meta, input) = (inner.meta.as_mut()?, inner.input.as_ref());
        Some((meta, input, (&inner.completion_callbacks, &inner.links)))
    }) else {
        return Err(invalid("Update meta is not set on request."));
    };
    not_longer(&meta.update_id, limits.id_bytes_max, "UpdateId length exceeds limit.")?;
    if meta.update_id.is_empty() {
        meta.update_id = entropy.uuid();
    }
    let Some(input) = input else { return Err(invalid("Update input is not set on request.")) };
    if input.name.is_empty() {
        return Err(invalid("Update name is not set on request."));
    }
    let (callbacks, given_links) = inner;
    if !callbacks.is_empty() {
        return Err(invalid("completion callbacks of updates are not supported by this server yet"));
    }
    links(given_links.iter(), limits)?;
    let policy = request.wait_policy.get_or_insert_default();
    match Stage::try_from(policy.lifecycle_stage) {
        Ok(Stage::Unspecified) => policy.set_lifecycle_stage(Stage::Completed),
        Ok(Stage::Admitted) => {
            return Err(Error::PermissionDenied(
                "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported.".into(),
            ));
        }
        // Whatever is unknown is not waited for.
        Ok(Stage::Accepted | Stage::Completed) | Err(_) => {}
    }
    Ok(())
}

/// Each of the two as if it were alone, and what does not go together.
pub(crate) fn update_with_start(
    start: &mut StartWorkflowExecutionRequest,
    update: &mut UpdateWorkflowExecutionRequest,
    namespace: &str,
    config: &Config,
    entropy: &dyn Entropy,
) -> Result<(), Error> {
    let first = start_part(start, namespace, config, entropy);
    let second = update_part(update, namespace, &config.limits, entropy);
    let second = match (&first, second) {
        (Ok(()), Ok(workflow_id)) if workflow_id != start.workflow_id => {
            Err(invalid("WorkflowId is not consistent with previous operation(s)."))
        }
        (_, second) => second.map(|_| ()),
    };
    if first.is_ok() && second.is_ok() {
        return Ok(());
    }
    let operations = [first, second].map(|part| Some(part.err().unwrap_or(Error::OperationAborted)));
    Err(Error::MultiOperation {
        message: "Update-with-Start could not be executed.".into(),
        operations: operations.to_vec(),
    })
}

fn start_part(
    request: &mut StartWorkflowExecutionRequest,
    namespace: &str,
    config: &Config,
    entropy: &dyn Entropy,
) -> Result<(), Error> {
    same_namespace(&request.namespace, namespace)?;
    start(request, config, entropy)?;
    if !request.cron_schedule.is_empty() {
        return Err(invalid("CronSchedule is not allowed."));
    }
    if request.request_eager_execution {
        return Err(invalid("RequestEagerExecution is not supported."));
    }
    if request.workflow_start_delay.is_some_and(|delay| delay.seconds > 0 || delay.nanos > 0) {
        return Err(invalid("WorkflowStartDelay is not supported."));
    }
    namespace.clone_into(&mut request.namespace);
    Ok(())
}

fn update_part(
    request: &mut UpdateWorkflowExecutionRequest,
    namespace: &str,
    limits: &Limits,
    entropy: &dyn Entropy,
) -> Result<String, Error> {
    same_namespace(&request.namespace, namespace)?;
    update(request, limits, entropy)?;
    if !request.first_execution_run_id.is_empty() {
        return Err(invalid("FirstExecutionRunId is not allowed."));
    }
    let execution = execution(request.workflow_execution.as_ref())?;
    if !execution.run_id.is_empty() {
        return Err(invalid("RunId is not allowed."));
    }
    Ok(execution.workflow_id.clone())
}

fn same_namespace(given: &str, namespace: &str) -> Result<(), Error> {
    if given.is_empty() || given == namespace {
        return Ok(());
    }
    Err(invalid("Operation namespace did not match request's namespace."))
}
