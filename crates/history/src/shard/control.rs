//! What operators do to an open run: pause it, let it go on, change its options.

use api::Error;
use execution::policy::timeouts::priority_problem;
use execution::workflow::{Command, Reply, UpdateOptions, check_mask};
use temporalio_protos::temporal::api::workflow::v1::WorkflowExecutionOptions;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PauseWorkflowExecutionRequest, PauseWorkflowExecutionResponse, UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse, UpdateWorkflowExecutionOptionsRequest, UpdateWorkflowExecutionOptionsResponse,
};

use super::input::Answer;
use super::leader::{Fault, Leader};
use super::requests::{Caller, named};

impl Leader {
    pub(super) fn pause(&mut self, caller: &Caller, request: PauseWorkflowExecutionRequest) -> Result<Answer, Fault> {
        let run = self.resolve(&caller.workflow(&request.workflow_id), &request.run_id)?;
        self.command(&run, Command::Pause(Box::new(request)))?;
        Ok(Answer::message(&PauseWorkflowExecutionResponse::default()))
    }

    pub(super) fn unpause(
        &mut self,
        caller: &Caller,
        request: UnpauseWorkflowExecutionRequest,
    ) -> Result<Answer, Fault> {
        let run = self.resolve(&caller.workflow(&request.workflow_id), &request.run_id)?;
        self.command(&run, Command::Unpause(Box::new(request)))?;
        Ok(Answer::message(&UnpauseWorkflowExecutionResponse::default()))
    }

    pub(super) fn update_options(
        &mut self,
        caller: &Caller,
        request: UpdateWorkflowExecutionOptionsRequest,
    ) -> Result<Answer, Fault> {
        let paths = request.update_mask.unwrap_or_default().paths;
        check_mask(&paths).map_err(|message| Error::InvalidArgument(format!("error parsing UpdateMask: {message}")))?;
        let asked = request.workflow_execution_options.as_ref();
        if let Some(problem) = priority_problem(asked.and_then(|options| options.priority.as_ref())) {
            return Err(Error::InvalidArgument(problem.to_owned()).into());
        }
        let execution = named(request.workflow_execution)?;
        if !execution.run_id.is_empty() && uuid::Uuid::try_parse(&execution.run_id).is_err() {
            return Err(Error::InvalidArgument("RunId is not valid UUID.".to_owned()).into());
        }
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        let options = request.workflow_execution_options.unwrap_or_default();
        let update = UpdateOptions { options, paths, identity: request.identity };
        let mut draft = self.draft(&run)?;
        let reply = self.step(&mut draft, Command::UpdateOptions(Box::new(update)))?;
        self.record(draft);
        let options: WorkflowExecutionOptions = match reply {
            Reply::Options(options) => *options,
            Reply::Refused(rejection) => return Err(crate::error::rejected(rejection).into()),
            _ => WorkflowExecutionOptions::default(),
        };
        Ok(Answer::message(&UpdateWorkflowExecutionOptionsResponse {
            workflow_execution_options: Some(options),
            ..UpdateWorkflowExecutionOptionsResponse::default()
        }))
    }
}
