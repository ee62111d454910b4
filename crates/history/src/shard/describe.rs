//! What a run looks like from outside.

use temporalio_protos::temporal::api::workflowservice::v1::DescribeWorkflowExecutionRequest;

use super::input::Answer;
use super::leader::{Fault, Leader};
use super::requests::{Caller, named};

impl Leader {
    pub(super) fn describe(
        &mut self,
        caller: &Caller,
        request: DescribeWorkflowExecutionRequest,
    ) -> Result<Answer, Fault> {
        let execution = named(request.execution)?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        let limits = self.limits.of_namespace(&self.context.namespaces, run.workflow.namespace_id.as_str());
        Ok(Answer::message(&self.state(&run).describe(limits.search_attributes.as_deref())))
    }
}
