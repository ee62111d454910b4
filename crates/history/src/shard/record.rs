//! From a decision to the rows that replicate it.

use std::collections::BTreeSet;

use base::Timestamp;
use bytes::Bytes;
use execution::workflow::{Change, State};

use super::cache::{Entry, EventBatch};
use super::draft::Draft;
use super::input::QueryOutcome;
use super::leader::{Fault, Leader};
use crate::run::RunKey;
use crate::table::{current, event, pending, state, timer, visible};
use crate::wire;

impl Leader {
    /// Makes the draft the state of its run, and puts what changed into the batch.
    pub(super) fn record(&mut self, mut draft: Draft) {
        let new_run = draft.new_run.take();
        let run = draft.run.clone();
        self.record_run(draft);
        if let Some(new_run) = new_run {
            let next = run.workflow.run(new_run.run_id.as_str());
            self.record_current(&next);
            self.record_run(Draft::of_new_run(next, *new_run));
        }
    }

    /// The run becomes the current one of its workflow id.
    pub(super) fn record_current(&mut self, run: &RunKey) {
        let run_id = run.run_id.as_str();
        self.building.put(current::key(&run.workflow), current::encode(run_id));
        self.cache.set_current(&run.workflow, Some(run_id.to_owned()), self.next_seq);
    }

    fn record_run(&mut self, draft: Draft) {
        let is_durable = draft.is_durable();
        let Draft { run, state, changes, rows, tasks, .. } = draft;
        let news = self.update_news(&run, &state, &changes);
        if !self.cache.contains(&run) {
            self.cache.insert(run.clone(), Entry::new(None));
        }
        if is_durable {
            self.wrote = true;
            self.depends = self.next_seq;
            if self.context.config.verify_rows {
                self.written.insert(run.clone());
            }
            let entry = self.cache.get(&run).expect("inserted above");
            let is_seen_changed = state.is_seen_changed(entry.state.as_ref());
            let was_open = entry.state.as_ref().is_none_or(|before| before.delete_after().is_none());
            let rows = rows.into_iter().map(|row| (state.encode_row(&row), row));
            // What a row was that never was, or is gone, needs no delete.
            let rows: Vec<_> = rows.filter(|(value, row)| value.is_some() || entry.has(row)).collect();
            for (value, row) in &rows {
                let key = state::key(&run, row);
                match value {
                    Some(value) => self.building.put(key, value.clone()),
                    None => self.building.delete(key),
                }
            }
            if was_open && state.delete_after().is_some() {
                self.cache.note_closed(&run);
            }
            if is_seen_changed {
                self.building.put(visible::key(&run), visible::encode(&run, state.list_info()));
            }
            let seq = self.next_seq;
            self.cache.update(&run, |entry| {
                entry.last_seq = seq;
                for (value, row) in rows {
                    entry.size(row, value.as_ref().map(Bytes::len));
                }
            });
        } else {
            self.is_soft = true;
        }
        self.record_events(&run, &changes);
        self.building.after.tasks.extend(tasks.into_iter().map(|task| (run.clone(), task)));
        self.cache.update(&run, |entry| entry.state = Some(state));
        self.record_pending(&run);
        self.rearm(&run);
        self.unblock_queries(&run);
        self.publish(news);
    }

    /// The events of the decision are one value.
    fn record_events(&mut self, run: &RunKey, changes: &[Change]) {
        let events = changes.iter().filter_map(|change| match change {
            Change::Event(event) => Some(event),
            _ => None,
        });
        let Some(first) = events.clone().next() else { return };
        let last = events.clone().next_back().map_or(first.event_id, |event| event.event_id);
        let bytes = wire::encode_history(events);
        self.building.put(event::key(run, first.event_id), bytes.clone());
        self.building.after.changed.push(run.clone());
        let batch = EventBatch { first: first.event_id, next: last + 1, bytes, seq: self.next_seq };
        let (applied_seq, bytes_max) = (self.applied_seq, self.context.config.cache_history_bytes_max);
        self.cache.update(run, |entry| entry.remember(batch, applied_seq, bytes_max));
    }

    /// Keeps the PENDING row true: after a failover a started workflow task is not.
    fn record_pending(&mut self, run: &RunKey) {
        let Some(entry) = self.cache.get(run) else { return };
        let is_pending = entry.state.as_ref().is_some_and(is_pending);
        if is_pending == entry.is_pending {
            return;
        }
        if is_pending {
            self.building.put(pending::key(run), Bytes::new());
        } else {
            self.building.delete(pending::key(run));
        }
        self.cache.update(run, |entry| entry.is_pending = is_pending);
    }

    /// Sees to it that the run is woken in time. An early wake-up may stay, it only costs
    /// a look; once the run is closed that look is spared.
    pub(super) fn rearm(&mut self, run: &RunKey) {
        let Some(entry) = self.cache.get(run) else { return };
        let Some(state) = &entry.state else { return };
        let (armed, soft_armed) = (entry.armed, entry.soft_armed);
        let wanted = state.deadline();
        let soft_wanted = state.soft_deadline();
        let is_closed = state.delete_after().is_some();
        if soft_wanted != soft_armed {
            if let Some(at) = soft_armed {
                self.timers.disarm_soft(at, run);
            }
            if let Some(at) = soft_wanted {
                self.timers.arm_soft(at, run);
            }
            self.cache.update(run, |entry| entry.soft_armed = soft_wanted);
        }
        let Some(wanted) = wanted else { return };
        let is_served = armed.is_some_and(|armed| if is_closed { armed == wanted } else { armed <= wanted });
        if is_served {
            return;
        }
        if let Some(armed) = armed {
            self.building.delete(timer::key(armed, run));
            self.timers.disarm(armed, run);
        }
        self.building.put(timer::key(wanted, run), Bytes::new());
        self.timers.arm(wanted, run, self.next_seq);
        let seq = self.next_seq;
        self.cache.update(run, |entry| {
            entry.armed = Some(wanted);
            entry.last_seq = seq;
        });
    }

    /// Queries that waited for a workflow task go on without one when none is left.
    fn unblock_queries(&mut self, run: &RunKey) {
        let has_task = self
            .cache
            .get(run)
            .and_then(|entry| entry.state.as_ref())
            .is_some_and(|state| state.delete_after().is_none() && state.pending_workflow_task().is_some());
        if has_task {
            return;
        }
        for query in self.queries.remove(run).unwrap_or_default() {
            // The asking task may have given up.
            let _ = query.result.send(QueryOutcome::Unblocked);
        }
    }

    /// Removes a closed run and all its rows.
    pub(super) fn delete_run(&mut self, run: &RunKey) -> Result<(), Fault> {
        let is_current = self.current_run_id(&run.workflow)?.as_deref() == Some(run.run_id.as_str());
        if is_current {
            self.building.delete(current::key(&run.workflow));
            self.cache.set_current(&run.workflow, None, self.next_seq);
        }
        self.building.delete_prefix(state::prefix(run));
        self.building.delete_prefix(event::prefix(run));
        self.building.delete(pending::key(run));
        self.building.delete(visible::key(run));
        self.disarm(run);
        self.building.deletions += 1;
        let mut gone = Entry::new(None);
        gone.last_seq = self.next_seq;
        self.cache.insert(run.clone(), gone);
        self.building.after.changed.push(run.clone());
        // Who waits for an update asks again, and learns that it is gone.
        self.updates.remove(run);
        Ok(())
    }
}

impl Leader {
    /// Its wake-up would find nothing. One that was written by an earlier term and is not
    /// where the state says goes when its time comes.
    fn disarm(&mut self, run: &RunKey) {
        let Some(entry) = self.cache.get(run) else { return };
        let state = entry.state.as_ref();
        let stated = state.and_then(|state| [state.deadline(), state.delete_after()].into_iter().flatten().min());
        let times: BTreeSet<Timestamp> = [entry.armed, stated].into_iter().flatten().collect();
        let soft = entry.soft_armed;
        for at in times {
            self.building.delete(timer::key(at, run));
            self.timers.disarm(at, run);
        }
        if let Some(at) = soft {
            self.timers.disarm_soft(at, run);
        }
    }
}

/// Whether a new leader would have to dispatch something for the run.
pub(super) fn is_pending(state: &State) -> bool {
    let is_open = state.delete_after().is_none();
    state.has_errands() || is_open && state.has_durable_tasks()
}
