//! Update-with-start: a run and an update for it, both or neither.
//!
//! | the latest run | what happens |
//! |---|---|
//! | knows the update as completed | its outcome, whatever the policies say |
//! | runs, and this request started it, or it knows the update, or USE_EXISTING | the update alone |
//! | otherwise | what the start does; then the update, in the same batch |

use api::Error;
use api::internal::UpdateWithStart;
use execution::policy::start_policy::{CurrentRun, StartDecision, decide_start};
use execution::workflow::UpdateStage;
use temporalio_protos::temporal::api::enums::v1::{WorkflowExecutionStatus, WorkflowIdConflictPolicy};
use temporalio_protos::temporal::api::workflowservice::v1::{
    StartWorkflowExecutionRequest, StartWorkflowExecutionResponse, UpdateWorkflowExecutionRequest,
};

use super::input::{Answer, UpdateWait};
use super::leader::{Fault, Leader};
use super::requests::Caller;
use super::start::{Begin, link_to_start};
use super::update::update_id;
use crate::error::{self, rejected};
use crate::run::WorkflowKey;

impl Leader {
    pub(super) fn update_with_start(&mut self, caller: &Caller, request: UpdateWithStart) -> Result<Answer, Fault> {
        let (start, update) = (request.start.unwrap_or_default(), request.update.unwrap_or_default());
        let workflow = caller.workflow(&start.workflow_id);
        let current = self.current_run(&workflow).map_err(start_failed)?;
        if let Some(current) = &current
            && let Some(wait) = self.update_existing(caller, &workflow, current, &start, &update)?
        {
            return Ok(Answer::Update(Box::new(wait)));
        }
        let replaced = match decide_start(current.as_ref(), &start).map_err(|r| start_failed(rejected(r).into()))? {
            StartDecision::CreateNew => None,
            StartDecision::TerminateThenCreate { run_id } => Some(run_id),
            StartDecision::ReturnExisting { .. } | StartDecision::UseExisting { .. } => {
                return Err(start_failed(Error::Unavailable("Workflow was not started: 2".into()).into()));
            }
        };
        let begin = Begin { request: start, signal: None, parent: None };
        let mut begun = self.begin_run(caller, &workflow, current, replaced, begin).map_err(start_failed)?;
        let id = update_id(&update).to_owned();
        let stage = self.admit(&mut begun.draft, update).map_err(update_failed)?;
        let run = begun.draft.run.clone();
        let first_execution_run_id = begun.draft.state.first_execution_run_id().to_owned();
        self.record_begun(begun);
        let start = StartWorkflowExecutionResponse {
            run_id: run.run_id.as_str().to_owned(),
            first_execution_run_id,
            started: true,
            status: WorkflowExecutionStatus::Running.into(),
            link: Some(link_to_start(caller, &run)),
            ..StartWorkflowExecutionResponse::default()
        };
        let wait = self.update_wait(&run, &id, stage)?;
        Ok(Answer::Update(Box::new(UpdateWait { start: Some(start), ..wait })))
    }

    /// The update alone, if that is what the request comes to.
    fn update_existing(
        &mut self,
        caller: &Caller,
        workflow: &WorkflowKey,
        current: &CurrentRun,
        start: &StartWorkflowExecutionRequest,
        update: &UpdateWorkflowExecutionRequest,
    ) -> Result<Option<UpdateWait>, Fault> {
        let run = workflow.run(&current.run_id);
        let id = update_id(update);
        let state = self.state(&run);
        let (stage, status) = (state.update_stage(id), state.status());
        let mut response = StartWorkflowExecutionResponse {
            run_id: current.run_id.clone(),
            started: false,
            status: status.into(),
            ..StartWorkflowExecutionResponse::default()
        };
        if let UpdateStage::Completed { .. } = stage {
            let wait = self.update_wait(&run, id, stage)?;
            return Ok(Some(UpdateWait { start: Some(response), ..wait }));
        }
        let is_open = state.delete_after().is_none();
        let joins = start.request_id == current.start_request_id
            || stage != UpdateStage::Unknown
            || start.workflow_id_conflict_policy() == WorkflowIdConflictPolicy::UseExisting;
        if !is_open || !joins {
            return Ok(None);
        }
        let mut draft = self.draft(&run)?;
        let stage = self.admit(&mut draft, update.clone()).map_err(update_failed)?;
        if !draft.changes.is_empty() {
            self.record(draft);
        }
        response.link = Some(link_to_start(caller, &run));
        let wait = self.update_wait(&run, id, stage)?;
        Ok(Some(UpdateWait { start: Some(response), ..wait }))
    }
}

fn start_failed(fault: Fault) -> Fault {
    part_failed(fault, |error| error::multi_operation(Some(error), Some(Error::OperationAborted)))
}

fn update_failed(fault: Fault) -> Fault {
    part_failed(fault, |error| error::multi_operation(Some(Error::OperationAborted), Some(error)))
}

fn part_failed(fault: Fault, part: impl FnOnce(Error) -> Error) -> Fault {
    match fault {
        Fault::Caller(error) => Fault::Caller(part(error)),
        stop => stop,
    }
}
