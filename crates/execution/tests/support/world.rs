//! One run as its shard would hold it: the state in memory and the rows on disk. Every step
//! is checked against the laws of the core, so that each test checks them too.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use bytes::Bytes;
use execution::workflow::{Change, Command, Decision, NewRun, RowKey, State, Task, apply, decide, replay};
use execution::{Limits, Rejection};
use prost::Message;
use temporalio_protos::temporal::api::enums::v1::WorkflowExecutionStatus;
use temporalio_protos::temporal::api::history::v1::HistoryEvent;

/// The simulated clock begins here, on a full day.
pub(crate) const EPOCH: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) limits: Limits,
    pub(crate) history: Vec<HistoryEvent>,
    rows: BTreeMap<RowKey, Bytes>,
    /// What the changes begin with: nothing, or what a reset rebuilt.
    origin: State,
    /// Everything since the run began; soft changes go when the leader does.
    changes: Vec<Change>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            state: State::new(),
            now: EPOCH,
            limits: Limits::default(),
            history: Vec::new(),
            rows: BTreeMap::new(),
            origin: State::new(),
            changes: Vec::new(),
        }
    }

    /// Decides, checks, applies and checks again.
    pub(crate) fn step(&mut self, command: &Command) -> Result<Decision, Rejection> {
        let decided = decide(&self.state, command.clone(), self.now, &self.limits);
        let again = decide(&self.state, command.clone(), self.now, &self.limits);
        assert_same(&decided, &again);
        let decision = decided?;
        let before = self.state.clone();
        self.apply(&decision.changes);
        self.check(&before, &decision.changes, &decision.tasks);
        if let Some(run) = &decision.new_run {
            self.succeeded_by(run);
        }
        Ok(decision)
    }

    /// The leader is lost, the next one reads the rows.
    pub(crate) fn crash(&mut self) {
        self.state = self.decoded();
        self.changes.retain(|change| !matches!(change, Change::Soft(_)));
    }

    /// The run that the decision began, at the same time.
    pub(crate) fn succeeded_by(&self, run: &NewRun) -> Self {
        let mut next =
            Self { state: (*run.initial).clone(), now: self.now, limits: self.limits.clone(), ..Self::new() };
        let before = next.state.clone();
        next.apply(&run.changes);
        next.check(&before, &run.changes, &run.tasks);
        next
    }

    /// The run that a reset made out of `base`, before its first step.
    pub(crate) fn rebuilt(state: State, rows: &BTreeSet<RowKey>, base: &Self) -> Self {
        let count = usize::try_from(state.next_event_id() - 1).expect("ids are positive");
        let rows = rows.iter().map(|row| (row.clone(), state.encode_row(row).expect("the row exists"))).collect();
        let history = base.history[..count].to_vec();
        let new = Self {
            origin: state.clone(),
            state,
            now: base.now,
            limits: base.limits.clone(),
            history,
            rows,
            changes: Vec::new(),
        };
        let decoded = new.decoded();
        assert!(decoded == new.state, "the rows are the state: {decoded:#?} {:#?}", new.state);
        new
    }

    fn apply(&mut self, changes: &[Change]) {
        let mut touched = Vec::new();
        for change in changes {
            apply(&mut self.state, change);
            touched.extend(self.state.touched(change));
            if let Change::Event(event) = change {
                self.history.push(event.clone());
            }
        }
        for key in touched {
            match self.state.encode_row(&key) {
                Some(bytes) => self.rows.insert(key, bytes),
                None => self.rows.remove(&key),
            };
        }
        self.changes.extend_from_slice(changes);
    }

    fn check(&self, before: &State, changes: &[Change], tasks: &[Task]) {
        let ids: Vec<i64> = self.history.iter().map(|event| event.event_id).collect();
        let gapless: Vec<i64> = (1..).take(ids.len()).collect();
        assert_eq!(ids, gapless, "event ids are gapless");
        assert_eq!(replay::check(&self.history), Ok(()), "workers can go on with the history");
        assert_eq!(self.state.next_event_id(), gapless.len() as i64 + 1);
        let folded = fold(&self.origin, &self.changes, |_| true);
        assert!(folded == self.state, "the state is the fold of its changes: {folded:#?} {:#?}", self.state);
        let durable = fold(&self.origin, &self.changes, |change| !matches!(change, Change::Soft(_)));
        let decoded = self.decoded();
        assert!(decoded == durable, "the rows are the state: {decoded:#?} {durable:#?}");
        self.check_tasks(before, tasks);
        if before.status() != WorkflowExecutionStatus::Running && before.next_event_id() > 1 {
            let events = changes.iter().any(|change| matches!(change, Change::Event(_)));
            assert!(!events, "a closed run stays closed");
        }
        if self.state.status() == WorkflowExecutionStatus::Running {
            return;
        }
        let is_errand = |task: &Task| matches!(task, Task::Errand(_));
        assert!(self.state.tasks().iter().all(is_errand), "a closed run asks for no worker");
        assert_eq!(self.state.unwritten_tail(), []);
    }

    /// What the state asks for is what was asked for: nothing is forgotten or invented.
    fn check_tasks(&self, before: &State, asked: &[Task]) {
        let (before, after) = (before.tasks(), self.state.tasks());
        for task in asked {
            assert!(after.contains(task), "{task:?} was asked for and the state does not know it: {after:?}");
        }
        for task in &after {
            assert!(before.contains(task) || asked.contains(task), "{task:?} was never asked for");
        }
    }

    fn decoded(&self) -> State {
        let rows: Vec<(RowKey, Bytes)> = self.rows.iter().map(|(key, bytes)| (key.clone(), bytes.clone())).collect();
        for (key, _) in &rows {
            assert_eq!(RowKey::from_bytes(&key.to_bytes()).as_ref(), Some(key));
        }
        State::decode(&rows).expect("what was encoded can be decoded")
    }
}

fn fold(origin: &State, changes: &[Change], kept: impl Fn(&Change) -> bool) -> State {
    let mut state = origin.clone();
    for change in changes.iter().filter(|change| kept(change)) {
        apply(&mut state, change);
    }
    state
}

fn assert_same(first: &Result<Decision, Rejection>, second: &Result<Decision, Rejection>) {
    match (first, second) {
        (Err(first), Err(second)) => assert_eq!(first, second),
        (Ok(first), Ok(second)) => {
            assert_eq!(first.changes, second.changes, "the same input gives the same decision");
            assert_eq!(first.tasks, second.tasks);
            let new_run = |decision: &Decision| decision.new_run.as_ref().map(|run| run.changes.clone());
            assert_eq!(new_run(first), new_run(second));
            let bytes = |decision: &Decision| events_of(decision);
            assert_eq!(bytes(first), bytes(second), "byte for byte");
        }
        _ => panic!("the same input was refused once: {first:?} {second:?}"),
    }
}

fn events_of(decision: &Decision) -> Vec<usize> {
    decision
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Event(event) => Some(event.encoded_len()),
            _ => None,
        })
        .collect()
}
