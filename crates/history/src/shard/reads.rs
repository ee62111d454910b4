//! From rows to runs and pages of history.

use std::ops::Bound;

use api::Error;
use bytes::Bytes;
use execution::workflow::{Command, Reply, State};
use prost::Message;
use storage::Scan;
use temporalio_protos::temporal::api::history::v1::{History, HistoryEvent};

use super::cache::{Entry, EventBatch};
use super::draft::{Draft, StepError};
use super::leader::{Fault, Leader};
use super::record::is_pending;
use crate::error;
use crate::run::{RunKey, WorkflowKey};
use crate::table::{current, event, key, state};
use crate::wire;

/// Rows read at once.
const ROWS_PER_SCAN: usize = 256;
const EVENT_BATCHES_PER_SCAN: usize = 32;

/// Events as encoded histories that can be joined.
#[derive(Default)]
pub(super) struct Page {
    pub(super) pieces: Vec<Bytes>,
    /// The first event that is not on the page.
    pub(super) next: i64,
}

impl Leader {
    /// Brings the run into the cache. Says whether it exists.
    pub(super) fn load(&mut self, run: &RunKey) -> Result<bool, Fault> {
        if !self.cache.contains(run) {
            let rows = self.state_rows(run)?;
            if rows.is_empty() {
                return Ok(false);
            }
            let mut decoded = Vec::with_capacity(rows.len());
            let prefix = state::prefix(run).len();
            for (key, value) in &rows {
                let row = state::row(&key[prefix..]).ok_or_else(|| unreadable(run, "row key"))?;
                decoded.push((row, value.clone()));
            }
            let state = State::decode(&decoded).map_err(|error| unreadable(run, &error.to_string()))?;
            let mut entry = Entry::new(None);
            entry.is_pending = is_pending(&state);
            entry.state = Some(state);
            for (row, value) in decoded {
                entry.size(row, Some(value.len()));
            }
            self.cache.insert(run.clone(), entry);
        }
        self.cache.touch(run);
        let entry = self.cache.get(run).expect("loaded above");
        self.depends = self.depends.max(entry.last_seq);
        if entry.is_quarantined {
            return Err(error::quarantined().into());
        }
        Ok(entry.state.is_some())
    }

    pub(super) fn state_rows(&self, run: &RunKey) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        let prefix = state::prefix(run);
        let mut scan = Scan::prefix(prefix, ROWS_PER_SCAN);
        let mut rows = Vec::new();
        loop {
            let page = self.context.kv.scan(&scan)?;
            let is_last = page.len() < ROWS_PER_SCAN;
            rows.extend(page);
            match rows.last() {
                Some((key, _)) if !is_last => scan.start = Bound::Excluded(key.clone()),
                _ => return Ok(rows),
            }
        }
    }

    /// The state of a run that is loaded and exists.
    pub(super) fn state(&self, run: &RunKey) -> &State {
        let entry = self.cache.get(run).expect("callers load the run first");
        entry.state.as_ref().expect("callers saw that it exists")
    }

    pub(super) fn draft(&mut self, run: &RunKey) -> Result<Draft, Fault> {
        if !self.load(run)? {
            return Err(error::no_such_run(run).into());
        }
        Ok(Draft::new(run.clone(), self.state(run).clone()))
    }

    /// One command on top of the draft. A panic in the core quarantines the run.
    pub(super) fn step(&mut self, draft: &mut Draft, command: Command) -> Result<Reply, Fault> {
        let now = self.read_clock();
        let limits = self.limits.of(&self.context.namespaces, &draft.run, &command);
        match draft.step(command, now, &limits) {
            Ok(reply) => Ok(reply),
            Err(StepError::Rejected(rejection)) => Err(error::rejected(rejection).into()),
            Err(StepError::Panicked) => {
                tracing::error!(run = ?draft.run, "the core panicked, the execution is quarantined");
                if self.cache.contains(&draft.run) {
                    self.cache.update(&draft.run, |entry| entry.is_quarantined = true);
                }
                Err(error::quarantined().into())
            }
        }
    }

    pub(super) fn current_run_id(&mut self, workflow: &WorkflowKey) -> Result<Option<String>, Fault> {
        if let Some((run_id, seq)) = self.cache.current(workflow) {
            let run_id = run_id.map(ToOwned::to_owned);
            self.depends = self.depends.max(seq);
            return Ok(run_id);
        }
        let Some(value) = self.context.kv.get(&current::key(workflow))? else { return Ok(None) };
        let run_id = current::decode(&value).map_err(|error| {
            tracing::error!(?workflow, %error, "the current run's row does not decode");
            Error::Internal("the current run's row does not decode".into())
        })?;
        Ok(Some(run_id))
    }

    /// The run that a request means; an empty id means the current one. It is loaded.
    pub(super) fn resolve(&mut self, workflow: &WorkflowKey, run_id: &str) -> Result<RunKey, Fault> {
        let run = if run_id.is_empty() {
            let run_id = self.current_run_id(workflow)?.ok_or_else(|| error::no_current_run(workflow))?;
            workflow.run(&run_id)
        } else {
            workflow.run(run_id)
        };
        if !self.load(&run)? {
            return Err(error::no_such_run(&run).into());
        }
        Ok(run)
    }

    /// The events `first <= id < end` of a loaded run, as far as a page goes. Ends between
    /// two batches, unless `first` or `end` lies within one.
    pub(super) fn page(&self, run: &RunKey, first: i64, end: i64, events_max: usize) -> Result<Page, Fault> {
        let bytes_max = self.context.config.history_page_bytes_max;
        let mut page = Page { pieces: Vec::new(), next: first };
        let (mut events, mut bytes) = (0, 0);
        while page.next < end && events < events_max && bytes < bytes_max {
            let batches = self.batches_from(run, page.next)?;
            if batches.is_empty() {
                return Err(unreadable(run, "history ends too early"));
            }
            for batch in batches {
                if page.next >= end || (events > 0 && (events >= events_max || bytes >= bytes_max)) {
                    break;
                }
                let (from, to) = (page.next, batch.next.min(end));
                let piece = if batch.first == from && batch.next == to {
                    batch.bytes
                } else {
                    let count = |events: i64| usize::try_from(events).ok();
                    let (skip, take) = (count(from - batch.first), count(to - from));
                    let events = skip.zip(take).and_then(|(skip, take)| wire::some_events(&batch.bytes, skip, take));
                    events.ok_or_else(|| unreadable(run, "a batch of history"))?
                };
                events += usize::try_from(to - from).unwrap_or(0);
                bytes += piece.len();
                page.next = to;
                page.pieces.push(piece);
            }
        }
        Ok(page)
    }

    /// Events before `end`, newest first, as far as a page goes; and the next page's `end`.
    pub(super) fn page_back(
        &self,
        run: &RunKey,
        end: i64,
        events_max: usize,
    ) -> Result<(Vec<HistoryEvent>, i64), Fault> {
        let mut events = Vec::new();
        let mut at = end;
        while at > 1 && events.len() < events_max {
            let batches = self.batches_from(run, at - 1)?;
            let batch = batches.first().ok_or_else(|| unreadable(run, "history has a gap"))?;
            let decoded = decode(run, batch)?;
            events.extend(decoded.into_iter().rev().filter(|event| event.event_id < at));
            at = batch.first;
        }
        Ok((events, at))
    }

    /// Some batches in order, the first of which contains `event_id`.
    pub(super) fn batches_from(&self, run: &RunKey, event_id: i64) -> Result<Vec<EventBatch>, Fault> {
        let entry = self.cache.get(run).expect("callers load the run first");
        let end = entry.state.as_ref().map_or(1, State::next_event_id);
        let recent_first = entry.recent.front().map_or(end, |batch| batch.first);
        if event_id >= recent_first {
            let from = entry.recent.partition_point(|batch| batch.next <= event_id);
            return Ok(entry.recent.range(from..).cloned().collect());
        }
        let prefix = event::prefix(run);
        let mut containing = Scan::range(prefix.clone(), key::after_prefix(&event::key(run, event_id)), 1).reversed();
        containing.limit = 1;
        let found = self.context.kv.scan(&containing)?;
        let (start, _) = found.into_iter().next().ok_or_else(|| unreadable(run, "history has a gap"))?;
        // One more than is used: where a batch ends is where the next begins.
        let rows =
            self.context.kv.scan(&Scan::range(start, event::key(run, recent_first), EVENT_BATCHES_PER_SCAN + 1))?;
        let mut firsts = Vec::with_capacity(rows.len() + 1);
        for (key, _) in &rows {
            firsts.push(event::first_event_id(&key[prefix.len()..]).ok_or_else(|| unreadable(run, "event key"))?);
        }
        let is_cut = rows.len() > EVENT_BATCHES_PER_SCAN;
        if !is_cut {
            firsts.push(recent_first);
        }
        let batches = rows.into_iter().zip(firsts.windows(2));
        Ok(batches.map(|((_, bytes), ids)| EventBatch { first: ids[0], next: ids[1], bytes, seq: 0 }).collect())
    }
}

pub(super) fn decode(run: &RunKey, batch: &EventBatch) -> Result<Vec<HistoryEvent>, Fault> {
    let history = History::decode(batch.bytes.clone()).map_err(|error| unreadable(run, &error.to_string()))?;
    Ok(history.events)
}

/// The rows of one run are damaged: its callers are told, the shard goes on.
fn unreadable(run: &RunKey, what: &str) -> Fault {
    tracing::error!(?run, what, "rows of an execution cannot be read");
    Error::Internal(format!("rows of an execution cannot be read: {what}")).into()
}
