//! Updates: let in, waited for, looked up.
//!
//! ```text
//!  asked ─▶ the core lets it in, or knows it ─▶ how far it is, and a channel with what follows
//!  changes that tell of an update ──committed──▶ its channel
//!  run closed ─▶ every channel of the run gets its last word
//!  term over ─▶ the channels are dropped; who waits asks the next leader
//! ```

use std::collections::BTreeMap;

use api::Error;
use execution::workflow::{Change, Command, Reply, Soft, State, UpdateEnd, UpdateStage};
use prost::Message;
use temporalio_protos::temporal::api::failure::v1::Failure;
use temporalio_protos::temporal::api::history::v1::History;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_protos::temporal::api::update::v1::{Outcome, outcome};
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollWorkflowExecutionUpdateRequest, UpdateWorkflowExecutionRequest,
};
use tokio::sync::watch;

use super::draft::Draft;
use super::input::{Answer, Progress, UpdateWait};
use super::leader::{Fault, Leader};
use super::requests::{Caller, named};
use crate::error;
use crate::run::RunKey;

/// Who waits for updates of each run, by update id. Ordered, so that a term ends in one way.
pub(super) type Updates = BTreeMap<RunKey, BTreeMap<String, watch::Sender<Progress>>>;

/// Told once it is committed.
pub(super) struct UpdateNews {
    pub(super) waiting: watch::Sender<Progress>,
    pub(super) progress: Progress,
}

impl Leader {
    pub(super) fn update(&mut self, caller: &Caller, request: UpdateWorkflowExecutionRequest) -> Result<Answer, Fault> {
        let execution = named(request.workflow_execution.clone())?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        let id = update_id(&request).to_owned();
        let mut draft = self.draft(&run)?;
        let stage = self.admit(&mut draft, request)?;
        if !draft.changes.is_empty() {
            self.record(draft);
        }
        Ok(Answer::Update(Box::new(self.update_wait(&run, &id, stage)?)))
    }

    pub(super) fn poll_update(
        &mut self,
        caller: &Caller,
        request: &PollWorkflowExecutionUpdateRequest,
    ) -> Result<Answer, Fault> {
        let reference = request.update_ref.clone().unwrap_or_default();
        let execution = named(reference.workflow_execution)?;
        let run = self.resolve(&caller.workflow(&execution.workflow_id), &execution.run_id)?;
        let stage = self.state(&run).update_stage(&reference.update_id);
        if stage == UpdateStage::Unknown {
            return Err(error::no_such_update(&reference.update_id).into());
        }
        Ok(Answer::Update(Box::new(self.update_wait(&run, &reference.update_id, stage)?)))
    }

    /// Lets the update into the draft of its run.
    pub(super) fn admit(
        &mut self,
        draft: &mut Draft,
        request: UpdateWorkflowExecutionRequest,
    ) -> Result<UpdateStage, Fault> {
        match self.step(draft, Command::AdmitUpdate(Box::new(request)))? {
            Reply::Update(stage) => Ok(stage),
            Reply::Refused(rejection) => Err(error::rejected(rejection).into()),
            _ => Err(Error::Internal("an update is answered with how far it is".into()).into()),
        }
    }

    /// How far a known update of a loaded run is, and how to hear more.
    pub(super) fn update_wait(&mut self, run: &RunKey, id: &str, stage: UpdateStage) -> Result<UpdateWait, Fault> {
        let now = match stage {
            UpdateStage::Completed { event_id } => Progress::Completed(Box::new(self.outcome(run, event_id)?)),
            UpdateStage::Failed(failure) => Progress::Completed(Box::new(failed(*failure))),
            UpdateStage::Accepted => Progress::Accepted,
            UpdateStage::Admitted | UpdateStage::Unknown => Progress::Admitted,
        };
        let next = match now {
            Progress::Admitted | Progress::Accepted => Some(self.subscribe(run, id)),
            _ => None,
        };
        Ok(UpdateWait { run_id: run.run_id.as_str().to_owned(), now, next, start: None })
    }

    fn subscribe(&mut self, run: &RunKey, id: &str) -> watch::Receiver<Progress> {
        let waiting = self.updates.entry(run.clone()).or_default();
        // An update is in flight as long as it is here, and those are few.
        waiting.entry(id.to_owned()).or_insert_with(|| watch::channel(Progress::Admitted).0).subscribe()
    }

    /// What the event of a completed update holds.
    fn outcome(&self, run: &RunKey, event_id: i64) -> Result<Outcome, Fault> {
        let page = self.page(run, event_id, event_id + 1, 1)?;
        let bytes: Vec<u8> = page.pieces.concat();
        let event = History::decode(bytes.as_slice()).ok().and_then(|history| history.events.into_iter().next());
        match event.and_then(|event| event.attributes) {
            Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(completed)) => {
                Ok(completed.outcome.unwrap_or_default())
            }
            _ => Err(Error::Internal("a completed update points to another event".into()).into()),
        }
    }

    /// What those who wait must hear of the changes.
    pub(super) fn update_news(&mut self, run: &RunKey, state: &State, changes: &[Change]) -> Vec<UpdateNews> {
        let Some(mut waiting) = self.updates.remove(run) else { return Vec::new() };
        let mut news = Vec::new();
        for (id, progress) in changes.iter().filter_map(told) {
            let is_last = !matches!(progress, Progress::Accepted);
            let channel = if is_last { waiting.remove(id) } else { waiting.get(id).cloned() };
            news.extend(channel.map(|waiting| UpdateNews { waiting, progress }));
        }
        if state.delete_after().is_some() {
            for (id, channel) in std::mem::take(&mut waiting) {
                news.push(UpdateNews { waiting: channel, progress: last_word(state, &id) });
            }
        }
        if !waiting.is_empty() {
            self.updates.insert(run.clone(), waiting);
        }
        news
    }

    /// Tells them once the request that is evaluated, and all that it saw, is committed.
    pub(super) fn publish(&mut self, news: Vec<UpdateNews>) {
        if news.is_empty() {
            return;
        }
        let seq = if self.depends <= self.committed_seq { self.next_seq } else { self.depends };
        self.after(seq).updates.extend(news);
    }
}

pub(super) fn update_id(request: &UpdateWorkflowExecutionRequest) -> &str {
    let meta = request.request.as_ref().and_then(|request| request.meta.as_ref());
    meta.map_or("", |meta| &meta.update_id)
}

/// The update that a change is about, and how far it is now.
fn told(change: &Change) -> Option<(&str, Progress)> {
    match change {
        Change::Event(event) => match event.attributes.as_ref()? {
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
                Some((&a.protocol_instance_id, Progress::Accepted))
            }
            Attributes::WorkflowExecutionUpdateCompletedEventAttributes(a) => {
                let outcome = a.outcome.clone().unwrap_or_default();
                Some((&a.meta.as_ref()?.update_id, Progress::Completed(Box::new(outcome))))
            }
            _ => None,
        },
        Change::Soft(Soft::UpdateEnded { id, end }) => Some((id, ended(end))),
        _ => None,
    }
}

fn ended(end: &UpdateEnd) -> Progress {
    match end {
        UpdateEnd::Rejected(failure) => Progress::Completed(Box::new(failed((**failure).clone()))),
        UpdateEnd::Refused(rejection) => Progress::Failed(error::rejected(rejection.clone())),
        UpdateEnd::Lost => Progress::Lost,
    }
}

/// The run is closed: what becomes of an update of which nothing else was said.
fn last_word(state: &State, id: &str) -> Progress {
    match state.update_stage(id) {
        UpdateStage::Failed(failure) => Progress::Completed(Box::new(failed(*failure))),
        _ if state.new_execution_run_id().is_some() => {
            Progress::Failed(error::rejected(execution::workflow::aborted_by_continuing()))
        }
        _ => Progress::Failed(error::aborted_by_closing()),
    }
}

fn failed(failure: Failure) -> Outcome {
    Outcome { value: Some(outcome::Value::Failure(failure)) }
}
