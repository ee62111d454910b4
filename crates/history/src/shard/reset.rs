//! `ResetWorkflowExecution`: the new run's history is copied batch by batch, its state is
//! folded on the way, and everything else is decided by the core.
//!
//! ```text
//!  [rows of the copied events] ... [rows of the copied events] [base, current and new run]
//!        not seen by anybody                                     one batch: all or nothing
//! ```
//! A long history does not fit into one proposal. Its rows go ahead under the new run's id,
//! which nobody knows; should the leader be lost before the last batch, a wake-up of a run
//! that does not exist removes them.

use std::time::Duration;

use api::Error;
use execution::workflow::{
    Change, Command, Excluded, Fork, RESETTER_IDENTITY, Rebuild, Rebuilt, Reply, Reset, State, UpdateOptions,
};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::workflow::v1::PostResetOperation;
use temporalio_protos::temporal::api::workflow::v1::post_reset_operation::Variant;
use temporalio_protos::temporal::api::workflowservice::v1::{
    ResetWorkflowExecutionRequest, ResetWorkflowExecutionResponse, TerminateWorkflowExecutionRequest,
};

use super::cache::{Entry, EventBatch};
use super::draft::Draft;
use super::input::Answer;
use super::leader::{Fault, Leader};
use super::reads::decode;
use super::requests::{Caller, named};
use crate::run::{RunKey, WorkflowKey};
use crate::table::{event, timer};
use crate::wire;

/// Rows of a reset that was not finished are removed after this time.
const ORPHANED_AFTER: Duration = Duration::from_secs(600);

/// A reset while it is decided. Nothing of it is in the batch yet.
struct Resetting {
    base: RunKey,
    /// The state of the base before the reset.
    before: State,
    fork: i64,
    excluded: Excluded,
    new: Draft,
    /// History of the new run that is not among the changes of its draft.
    batches: Vec<EventBatch>,
}

impl Leader {
    pub(super) fn reset(&mut self, caller: &Caller, request: ResetWorkflowExecutionRequest) -> Result<Answer, Fault> {
        let execution = named(request.workflow_execution.clone())?;
        let workflow = caller.workflow(&execution.workflow_id);
        let base = self.resolve(&workflow, &execution.run_id)?;
        let before = self.state(&base).clone();
        let fork = request.workflow_task_finish_event_id;
        if fork <= 1 || fork >= before.reset_end() {
            return Err(invalid("Workflow task finish ID must be > 1 && <= workflow last event ID."));
        }
        let operations = operations(request.post_reset_operations.clone())?;
        let current = self.current_of(&workflow)?;
        if let Some(current) = &current
            && self.state(current).was_made_by(&request.request_id)
        {
            return Ok(answer(current));
        }
        let (rebuilt, batches, run) = self.rebuild(&base, &before, fork, &request)?;
        let excluded = Excluded::new(request.reset_reapply_exclude_types(), request.reset_reapply_type());
        let new = Draft { rows: rebuilt.rows, ..Draft::new(run, rebuilt.state) };
        let mut resetting = Resetting { base, before, fork, excluded, new, batches };
        let reset = Reset {
            base_run_id: resetting.base.run_id.as_str().to_owned(),
            reason: request.reason.clone(),
            started_event_id: rebuilt.started_event_id,
        };
        self.step(&mut resetting.new, Command::Reset(Box::new(reset)))?;
        let (base, ended) = self.ended(&resetting, current.as_ref(), &request.reason)?;
        self.reapply_all(&mut resetting, ended.as_ref())?;
        for operation in operations {
            self.step(&mut resetting.new, Command::UpdateOptions(Box::new(operation)))?;
        }
        let reply = self.step(&mut resetting.new, Command::FinishReset)?;
        if let Reply::Refused(rejection) = reply {
            return Err(crate::error::rejected(rejection).into());
        }
        Ok(self.record_reset(resetting, base, ended))
    }

    /// The current run of the id, loaded, if there is one.
    fn current_of(&mut self, workflow: &WorkflowKey) -> Result<Option<RunKey>, Fault> {
        let Some(run_id) = self.current_run_id(workflow)? else { return Ok(None) };
        let run = workflow.run(&run_id);
        Ok(if self.load(&run)? { Some(run) } else { None })
    }

    /// Copies the history before `fork` and folds it.
    fn rebuild(
        &mut self,
        base: &RunKey,
        before: &State,
        fork: i64,
        request: &ResetWorkflowExecutionRequest,
    ) -> Result<(Rebuilt, Vec<EventBatch>, RunKey), Fault> {
        let run_id = self.fresh_ids().run_id;
        let now = self.read_clock();
        let run = base.workflow.run(run_id.as_str());
        let mut rebuild = Rebuild::new(before, Fork { run_id, request_id: request.request_id.clone(), now });
        let mut batches = Vec::new();
        let mut next = 1;
        while next < fork {
            for batch in self.batches_from(base, next)? {
                if next >= fork {
                    break;
                }
                let mut events = decode(base, &batch)?;
                events.retain(|event| event.event_id < fork);
                let mut bytes = batch.bytes;
                if batch.next > fork {
                    check_boundary(events.last(), fork)?;
                    bytes = wire::encode_history(events.iter());
                }
                next = batch.next.min(fork);
                batches.push(EventBatch { first: batch.first, next, bytes, seq: 0 });
                for event in events {
                    rebuild.fold(event, &self.context.config.limits);
                }
            }
        }
        Ok((rebuild.finish(), batches, run))
    }

    /// The base run tells where it went, and the current run makes room if it is open; two
    /// drafts unless they are the same run.
    fn ended(
        &mut self,
        resetting: &Resetting,
        current: Option<&RunKey>,
        reason: &str,
    ) -> Result<(Option<Draft>, Option<Draft>), Fault> {
        let mut base = self.draft(&resetting.base)?;
        self.step(&mut base, Command::ResetTo(resetting.new.run.run_id.as_str().to_owned()))?;
        let terminate = TerminateWorkflowExecutionRequest {
            reason: reason.to_owned(),
            identity: RESETTER_IDENTITY.to_owned(),
            ..TerminateWorkflowExecutionRequest::default()
        };
        let terminate = Command::Terminate(Box::new(terminate));
        match current.filter(|current| self.state(current).delete_after().is_none()) {
            None => Ok((Some(base), None)),
            Some(current) if *current == base.run => {
                self.step(&mut base, terminate)?;
                Ok((None, Some(base)))
            }
            Some(current) => {
                let mut ended = self.draft(current)?;
                self.step(&mut ended, terminate)?;
                Ok((Some(base), Some(ended)))
            }
        }
    }

    /// What happened to the base after the fork, and to the runs it continued as.
    fn reapply_all(&mut self, resetting: &mut Resetting, ended: Option<&Draft>) -> Result<(), Fault> {
        if resetting.excluded.everything() {
            return Ok(());
        }
        let mut run = resetting.base.clone();
        let (mut first, mut end) = (resetting.fork, resetting.before.next_event_id());
        loop {
            let last = self.reapply_run(resetting, &run, first, end)?;
            if let Some(ended) = ended.filter(|ended| ended.run == run) {
                let events = ended.changes.iter().filter_map(|change| match change {
                    Change::Event(event) => Some(event.clone()),
                    _ => None,
                });
                return self.reapply(resetting, &run, events.collect());
            }
            let Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(continued)) =
                last.and_then(|event| event.attributes)
            else {
                return Ok(());
            };
            run = run.workflow.run(&continued.new_execution_run_id);
            if !self.load(&run)? {
                return Ok(());
            }
            (first, end) = (1, self.state(&run).next_event_id());
        }
    }

    /// Returns the last event of the run.
    fn reapply_run(
        &mut self,
        resetting: &mut Resetting,
        run: &RunKey,
        first: i64,
        end: i64,
    ) -> Result<Option<HistoryEvent>, Fault> {
        let (mut next, mut last) = (first, None);
        while next < end {
            for batch in self.batches_from(run, next)? {
                let mut events = decode(run, &batch)?;
                events.retain(|event| event.event_id >= first);
                next = batch.next;
                last = events.last().cloned().or(last);
                self.reapply(resetting, run, events)?;
            }
        }
        Ok(last)
    }

    fn reapply(&mut self, resetting: &mut Resetting, run: &RunKey, mut events: Vec<HistoryEvent>) -> Result<(), Fault> {
        let (excluded, is_base) = (resetting.excluded, *run == resetting.base);
        events.retain(|event| if is_base { excluded.keeps(event) } else { excluded.keeps_of_later_run(event) });
        if events.is_empty() {
            return Ok(());
        }
        if let Reply::Refused(rejection) = self.step(&mut resetting.new, Command::Reapply(events))? {
            return Err(crate::error::rejected(rejection).into());
        }
        let bytes: usize = resetting.new.events().map(prost::Message::encoded_len).sum();
        if bytes >= self.context.config.batch_bytes_max {
            resetting.batches.extend(take_events(&mut resetting.new));
        }
        Ok(())
    }

    fn record_reset(&mut self, resetting: Resetting, base: Option<Draft>, ended: Option<Draft>) -> Answer {
        let Resetting { mut new, batches, .. } = resetting;
        let run = new.run.clone();
        self.cache.insert(run.clone(), Entry::new(None));
        let orphaned = timer::key(self.read_clock() + ORPHANED_AFTER, &run);
        let is_long =
            batches.iter().map(|batch| batch.bytes.len()).sum::<usize>() >= self.context.config.batch_bytes_max;
        if is_long {
            self.building.put(orphaned.clone(), bytes::Bytes::new());
        }
        let (applied_seq, bytes_max) = (self.applied_seq, self.context.config.cache_history_bytes_max);
        for batch in batches {
            self.building.put(event::key(&run, batch.first), batch.bytes.clone());
            let batch = EventBatch { seq: self.next_seq, ..batch };
            self.cache.update(&run, |entry| entry.remember(batch, applied_seq, bytes_max));
            if is_long && self.building.bytes >= self.context.config.batch_bytes_max {
                self.propose();
            }
        }
        if is_long {
            self.building.delete(orphaned);
        }
        for draft in [base, ended].into_iter().flatten() {
            self.record(draft);
        }
        self.record_current(&run);
        new.tasks = new.state.tasks();
        self.record(new);
        answer(&run)
    }
}

/// What is done to the new run before a worker gets it.
fn operations(operations: Vec<PostResetOperation>) -> Result<Vec<UpdateOptions>, Fault> {
    let operations = operations.into_iter().map(|operation| match operation.variant {
        Some(Variant::UpdateWorkflowOptions(update)) => Ok(UpdateOptions {
            options: update.workflow_execution_options.unwrap_or_default(),
            paths: update.update_mask.unwrap_or_default().paths,
            identity: String::new(),
        }),
        Some(Variant::SignalWorkflow(_)) => {
            Err(invalid("unsupported post reset operation: *workflow.PostResetOperation_SignalWorkflow_"))
        }
        None => Err(invalid("unsupported post reset operation: <nil>")),
    });
    operations.collect()
}

/// The incumbent can rebuild a run only up to where one of its own batches ends; our batches
/// are the same, but that it writes the start of a workflow task on its own.
fn check_boundary(last: Option<&HistoryEvent>, fork: i64) -> Result<(), Fault> {
    let started = last.and_then(|event| event.attributes.as_ref());
    if matches!(started, Some(Attributes::WorkflowTaskStartedEventAttributes(_))) {
        return Ok(());
    }
    Err(invalid(&format!(
        "StateRebuilder unable to Rebuild mutable state to event ID: {}, version: 0, this event must be at the boundary",
        fork - 1
    )))
}

/// Moves the events among the draft's changes into a batch of their own.
fn take_events(draft: &mut Draft) -> Option<EventBatch> {
    let first = draft.events().next()?.event_id;
    let bytes = wire::encode_history(draft.events());
    draft.changes.retain(|change| !matches!(change, Change::Event(_)));
    Some(EventBatch { first, next: draft.state.next_event_id(), bytes, seq: 0 })
}

fn answer(run: &RunKey) -> Answer {
    Answer::message(&ResetWorkflowExecutionResponse { run_id: run.run_id.as_str().to_owned() })
}

fn invalid(message: &str) -> Fault {
    Error::InvalidArgument(message.to_owned()).into()
}
