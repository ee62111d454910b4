//! What operators ask of pending activities: pause, unpause, reset, change their options.

use execution::workflow::{Command, Reply};
use temporalio_protos::temporal::api::workflowservice::v1::{
    PauseActivityRequest, PauseActivityResponse, ResetActivityRequest, ResetActivityResponse, UnpauseActivityRequest,
    UnpauseActivityResponse, UpdateActivityOptionsRequest, UpdateActivityOptionsResponse,
};

use super::input::Answer;
use super::leader::{Fault, Leader};
use super::requests::{Caller, named};
use crate::error;

impl Leader {
    pub(super) fn pause_activity(&mut self, caller: &Caller, request: PauseActivityRequest) -> Result<Answer, Fault> {
        let execution = named(request.execution.clone())?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        self.command(&run, Command::PauseActivity(Box::new(request)))?;
        Ok(Answer::message(&PauseActivityResponse::default()))
    }

    pub(super) fn unpause_activity(
        &mut self,
        caller: &Caller,
        request: UnpauseActivityRequest,
    ) -> Result<Answer, Fault> {
        let execution = named(request.execution.clone())?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        let randomness = self.fresh_ids().jitter;
        self.command(&run, Command::UnpauseActivity(Box::new(request), randomness))?;
        Ok(Answer::message(&UnpauseActivityResponse::default()))
    }

    pub(super) fn reset_activity(&mut self, caller: &Caller, request: ResetActivityRequest) -> Result<Answer, Fault> {
        let execution = named(request.execution.clone())?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        let randomness = self.fresh_ids().jitter;
        self.command(&run, Command::ResetActivity(Box::new(request), randomness))?;
        Ok(Answer::message(&ResetActivityResponse::default()))
    }

    pub(super) fn update_activity_options(
        &mut self,
        caller: &Caller,
        request: UpdateActivityOptionsRequest,
    ) -> Result<Answer, Fault> {
        let execution = named(request.execution.clone())?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        let mut draft = self.draft(&run)?;
        let reply = self.step(&mut draft, Command::UpdateActivityOptions(Box::new(request)))?;
        self.record(draft);
        match reply {
            Reply::ActivityOptions(options) => {
                Ok(Answer::message(&UpdateActivityOptionsResponse { activity_options: Some(*options) }))
            }
            Reply::Refused(rejection) => Err(error::rejected(rejection).into()),
            _ => Err(error::activity_not_found().into()),
        }
    }
}
