//! Reading history: pages forward and back, the close event, waiting for more.
//!
//! | reader | running, nothing new | running, new events | closed |
//! |---|---|---|---|
//! | plain | last page ends with the task's unwritten events, as they were at the first | pages up to the first page's end | same |
//! | waits for new events | waits | page and a token, always | pages, no token at the end |
//! | wants the close event | empty, no token | | the last event |
//! | waits for the close event | waits | waits | the last event |

use api::internal::HistoryPageToken;
use bytes::Bytes;
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::HistoryEventFilterType;
use temporalio_protos::temporal::api::history::v1::{History, HistoryEvent};
use temporalio_protos::temporal::api::workflowservice::v1::{
    GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse, GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
};
use tokio::sync::oneshot;

use super::input::Answer;
use super::leader::{Fault, Leader};
use super::reads::Page;
use super::requests::{Caller, named};
use crate::error;
use crate::run::RunKey;
use crate::wire;

/// `Scheduled` and `Started`.
const UNWRITTEN_MAX: usize = 2;

impl Leader {
    pub(super) fn get_history(
        &mut self,
        caller: &Caller,
        request: &GetWorkflowExecutionHistoryRequest,
    ) -> Result<Answer, Fault> {
        let execution = named(request.execution.clone())?;
        let workflow = caller.workflow(&execution.workflow_id);
        let token = decode_token(&request.next_page_token, &execution.run_id)?;
        let run_id = token.as_ref().map_or(&execution.run_id, |token| &token.run_id);
        let run = self.resolve(&workflow, run_id)?;
        let (next, is_running) = self.progress(&run);
        if request.history_event_filter_type() == HistoryEventFilterType::CloseEvent {
            return match (is_running, request.wait_new_event) {
                (false, _) => self.answer_page(self.page(&run, next - 1, next, 1)?, None),
                (true, true)
                    if caller.can_bind && request.next_page_token.is_empty() && execution.run_id.is_empty() =>
                {
                    Ok(Answer::bound_to(&run))
                }
                (true, true) => self.wait_for_events(&run, &HistoryPageToken::at(&run, next, next)),
                (true, false) => self.answer_page(Page::default(), None),
            };
        }
        let mut view = token.unwrap_or_else(|| self.view(caller, request, &run, next));
        if view.first_event_id < 1 || view.first_event_id > view.next_event_id || view.next_event_id > next {
            return Err(error::invalid_page_token().into());
        }
        if request.wait_new_event && view.first_event_id == view.next_event_id {
            view.next_event_id = next;
            if view.first_event_id == next && is_running {
                return self.wait_for_events(&run, &HistoryPageToken::at(&run, next, next));
            }
        }
        self.answer_events(request, &run, view)
    }

    /// What a reader that comes without a token is going to read.
    fn view(
        &self,
        caller: &Caller,
        request: &GetWorkflowExecutionHistoryRequest,
        run: &RunKey,
        next: i64,
    ) -> HistoryPageToken {
        let mut view = HistoryPageToken::at(run, 1, next);
        if !request.wait_new_event && !caller.written_events_only {
            let tail = self.state(run).unwritten_tail();
            if follows(&tail, next) {
                view.unwritten = tail;
            }
        }
        view
    }

    fn answer_events(
        &self,
        request: &GetWorkflowExecutionHistoryRequest,
        run: &RunKey,
        mut view: HistoryPageToken,
    ) -> Result<Answer, Fault> {
        let (next, is_running) = self.progress(run);
        let end = view.next_event_id;
        let mut page = self.page(run, view.first_event_id, end, self.page_events(request.maximum_page_size))?;
        if page.next < end {
            view.first_event_id = page.next;
            return self.answer_page(page, Some(&view));
        }
        if request.wait_new_event {
            // A closed run may have grown since the first page; then there is one more.
            let goes_on = is_running || end < next;
            let token = goes_on.then(|| HistoryPageToken::at(run, end, if is_running { end } else { next }));
            return self.answer_page(page, token.as_ref());
        }
        if !view.unwritten.is_empty() {
            page.pieces.push(wire::encode_history(view.unwritten.iter()));
        }
        self.answer_page(page, None)
    }

    pub(super) fn get_history_reverse(
        &mut self,
        caller: &Caller,
        request: GetWorkflowExecutionHistoryReverseRequest,
    ) -> Result<Answer, Fault> {
        let execution = named(request.execution)?;
        let workflow = caller.workflow(&execution.workflow_id);
        let token = decode_token(&request.next_page_token, &execution.run_id)?;
        let run_id = token.as_ref().map_or(&execution.run_id, |token| &token.run_id);
        let run = self.resolve(&workflow, run_id)?;
        let (next, _) = self.progress(&run);
        let end = token.map_or(next, |token| token.next_event_id);
        if end < 1 || end > next {
            return Err(error::invalid_page_token().into());
        }
        let (events, at) = self.page_back(&run, end, self.page_events(request.maximum_page_size))?;
        let token = (at > 1).then(|| HistoryPageToken::at(&run, 1, at).encode_to_vec());
        Ok(Answer::message(&GetWorkflowExecutionHistoryReverseResponse {
            history: Some(History { events }),
            next_page_token: token.unwrap_or_default(),
        }))
    }

    /// The next event id, and whether the run is open.
    fn progress(&self, run: &RunKey) -> (i64, bool) {
        let state = self.state(run);
        (state.next_event_id(), state.delete_after().is_none())
    }

    fn page_events(&self, asked: i32) -> usize {
        let max = self.context.config.history_page_events_max;
        usize::try_from(asked).ok().filter(|asked| *asked > 0).map_or(max, |asked| asked.min(max))
    }

    fn answer_page(&self, page: Page, token: Option<&HistoryPageToken>) -> Result<Answer, Fault> {
        Ok(Answer::body(encode_page(&page.pieces, token)))
    }

    fn wait_for_events(&mut self, run: &RunKey, token: &HistoryPageToken) -> Result<Answer, Fault> {
        let empty = encode_page(&[], Some(token));
        if self.waiters.len() >= self.context.config.history_waiters_max && !self.waiters.contains_key(run) {
            self.waiters.retain(|_, waiters| {
                waiters.retain(|waiter| !waiter.is_closed());
                !waiters.is_empty()
            });
            if self.waiters.len() >= self.context.config.history_waiters_max {
                return Err(error::shard_busy().into());
            }
        }
        let (wake_up, wake) = oneshot::channel();
        let waiters = self.waiters.entry(run.clone()).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        if waiters.len() >= self.context.config.history_waiters_max {
            return Err(error::shard_busy().into());
        }
        waiters.push(wake_up);
        Ok(Answer::WaitForEvents { run_id: run.run_id.as_str().to_owned(), empty, wake })
    }
}

/// Adds the constructor where the message is used. What a token promises is told where it is declared.
pub(super) trait PageToken {
    /// Of a reader of written events.
    fn at(run: &RunKey, first_event_id: i64, next_event_id: i64) -> Self;
}

impl PageToken for HistoryPageToken {
    fn at(run: &RunKey, first_event_id: i64, next_event_id: i64) -> Self {
        Self { run_id: run.run_id.as_str().to_owned(), first_event_id, next_event_id, unwritten: Vec::new() }
    }
}

/// Whether these can be the events of a workflow task that come next.
fn follows(unwritten: &[HistoryEvent], next_event_id: i64) -> bool {
    let mut ids = unwritten.iter().map(|event| event.event_id.checked_sub(next_event_id));
    unwritten.len() <= UNWRITTEN_MAX && (0..).zip(&mut ids).all(|(place, distance)| distance == Some(place))
}

fn decode_token(bytes: &[u8], run_id: &str) -> Result<Option<HistoryPageToken>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let token = HistoryPageToken::decode(bytes).map_err(|_| error::invalid_page_token())?;
    if token.run_id.is_empty() || !follows(&token.unwritten, token.next_event_id) {
        return Err(error::invalid_page_token().into());
    }
    if !run_id.is_empty() && run_id != token.run_id {
        return Err(error::page_token_of_another_run().into());
    }
    Ok(Some(token))
}

fn encode_page(pieces: &[Bytes], token: Option<&HistoryPageToken>) -> Bytes {
    let response = GetWorkflowExecutionHistoryResponse {
        next_page_token: token.map(Message::encode_to_vec).unwrap_or_default(),
        ..GetWorkflowExecutionHistoryResponse::default()
    };
    wire::with_field(&response, wire::HISTORY_OF_PAGE, pieces)
}
