//! Activity tasks: handed out, answered, kept alive.

use api::internal::{
    ActivityAddress, ActivityTaskToken, RecordActivityTaskHeartbeat, RespondActivityTaskCanceled,
    RespondActivityTaskCompleted, RespondActivityTaskFailed, StartActivityTask, TaskKind,
};
use execution::workflow::{
    ActivityTarget, ActivityTaskStarted, CancelActivity, Command, CompleteActivity, FailActivity, Heartbeat, Reply,
};
use prost::Message;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueResponse, RecordActivityTaskHeartbeatResponse, RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedResponse, RespondActivityTaskFailedResponse,
};

use super::input::Answer;
use super::leader::{Fault, Leader};
use super::requests::Caller;
use super::worker::run_of;
use crate::error;
use crate::run::RunKey;

impl Leader {
    pub(super) fn start_activity_task(&mut self, request: StartActivityTask) -> Result<Answer, Fault> {
        let StartActivityTask { task, request_id, poll } = request;
        let (task, poll) = (task.unwrap_or_default(), poll.unwrap_or_default());
        let run = run_of(&task);
        let queue = poll.task_queue.as_ref().map_or("", |queue| &queue.name);
        self.dispatch.started(&run, TaskKind::Activity, &task, queue);
        if !self.load(&run)? {
            return Ok(Answer::task_gone());
        }
        let command = execution::workflow::StartActivityTask {
            scheduled_event_id: task.scheduled_event_id,
            stamp: task.stamp,
            request_id,
            poll,
        };
        let mut draft = self.draft(&run)?;
        let reply = self.step(&mut draft, Command::StartActivityTask(Box::new(command)))?;
        self.record(draft);
        match reply {
            Reply::ActivityTaskStarted(started) => Ok(Answer::message(&self.activity_response(&run, *started))),
            Reply::Refused(rejection) => Err(error::rejected(rejection).into()),
            _ => Ok(Answer::task_gone()),
        }
    }

    pub(super) fn complete_activity(
        &mut self,
        caller: &Caller,
        request: RespondActivityTaskCompleted,
    ) -> Result<Answer, Fault> {
        let (run, target) = self.addressed(caller, request.address)?;
        let request = request.request.unwrap_or_default();
        self.command(&run, Command::CompleteActivity(Box::new(CompleteActivity { target, request })))?;
        Ok(Answer::message(&RespondActivityTaskCompletedResponse::default()))
    }

    pub(super) fn fail_activity(
        &mut self,
        caller: &Caller,
        request: RespondActivityTaskFailed,
    ) -> Result<Answer, Fault> {
        let (run, target) = self.addressed(caller, request.address)?;
        let request = request.request.unwrap_or_default();
        self.command(&run, Command::FailActivity(Box::new(FailActivity { target, request })))?;
        Ok(Answer::message(&RespondActivityTaskFailedResponse::default()))
    }

    pub(super) fn cancel_activity(
        &mut self,
        caller: &Caller,
        request: RespondActivityTaskCanceled,
    ) -> Result<Answer, Fault> {
        let (run, target) = self.addressed(caller, request.address)?;
        let request = request.request.unwrap_or_default();
        self.command(&run, Command::CancelActivity(Box::new(CancelActivity { target, request })))?;
        Ok(Answer::message(&RespondActivityTaskCanceledResponse::default()))
    }

    pub(super) fn heartbeat(&mut self, caller: &Caller, request: RecordActivityTaskHeartbeat) -> Result<Answer, Fault> {
        let (run, target) = self.addressed(caller, request.address)?;
        let request = request.request.unwrap_or_default();
        let mut draft = self.draft(&run)?;
        let reply = self.step(&mut draft, Command::Heartbeat(Box::new(Heartbeat { target, request })))?;
        self.record(draft);
        match reply {
            Reply::Heartbeat { cancel_requested, activity_paused, activity_reset } => {
                Ok(Answer::message(&RecordActivityTaskHeartbeatResponse {
                    cancel_requested,
                    activity_paused,
                    activity_reset,
                }))
            }
            Reply::Refused(rejection) => Err(error::rejected(rejection).into()),
            _ => Err(error::activity_not_found().into()),
        }
    }

    pub(super) fn activity_response(
        &self,
        run: &RunKey,
        started: ActivityTaskStarted,
    ) -> PollActivityTaskQueueResponse {
        let mut response = started.response;
        response.task_token = ActivityTaskToken {
            namespace_id: run.workflow.namespace_id.as_str().to_owned(),
            workflow_id: run.workflow.workflow_id.as_str().to_owned(),
            run_id: run.run_id.as_str().to_owned(),
            scheduled_event_id: started.scheduled_event_id,
            started_event_id: started.started_event_id,
            attempt: started.attempt,
            activity_id: response.activity_id.clone(),
        }
        .encode_to_vec();
        response
    }

    /// The run and activity that a worker means, by token or by id.
    fn addressed(
        &mut self,
        caller: &Caller,
        address: Option<ActivityAddress>,
    ) -> Result<(RunKey, ActivityTarget), Fault> {
        let address = address.unwrap_or_default();
        let Some(token) = address.token else {
            let run = self.resolve(&caller.workflow(&address.workflow_id), &address.run_id)?;
            return Ok((run, ActivityTarget::Id(address.activity_id)));
        };
        let run = self.resolve(&caller.workflow(&token.workflow_id), &token.run_id)?;
        // A token without event ids was made by the client of an asynchronous completion.
        if token.scheduled_event_id == 0 && !token.activity_id.is_empty() {
            return Ok((run, ActivityTarget::Id(token.activity_id)));
        }
        let target = ActivityTarget::Token {
            scheduled_event_id: token.scheduled_event_id,
            attempt: token.attempt,
            started_event_id: token.started_event_id,
        };
        Ok((run, target))
    }
}
