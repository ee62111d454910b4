//! What the client did and was told, in the order of the simulation. The oracle reads it;
//! printed, it is the trace that must be the same for the same seed.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use temporalio_protos::temporal::api::history::v1::HistoryEvent;
use temporalio_protos::temporal::api::update::v1::Outcome;

/// One thing that was asked of the cluster. An operation without an acknowledgement is
/// *unknown*: it may have happened or not.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Event {
    /// `request_id` tells attempts of different clients apart.
    StartAcknowledged {
        workflow_id: String,
        request_id: String,
        run_id: String,
    },
    StartRefused {
        workflow_id: String,
        request_id: String,
    },
    /// A start that was content with the run that there was.
    Joined {
        workflow_id: String,
        run_id: String,
    },
    SignalInvoked {
        workflow_id: String,
        name: String,
    },
    SignalAcknowledged {
        workflow_id: String,
        name: String,
    },
    ActivityStarted {
        workflow_id: String,
        activity_id: String,
        attempt: i32,
    },
    ActivityAcknowledged {
        workflow_id: String,
        activity_id: String,
        attempt: i32,
    },
    /// Of an update that is completed or refused.
    UpdateAcknowledged {
        workflow_id: String,
        update_id: String,
        outcome: Box<Outcome>,
    },
    CancelAcknowledged {
        workflow_id: String,
    },
    TerminateAcknowledged {
        workflow_id: String,
    },
    ResetAcknowledged {
        workflow_id: String,
        base_run_id: String,
        run_id: String,
    },
    /// The cluster denies what it has acknowledged.
    Denied {
        workflow_id: String,
        answer: String,
    },
    TaskAcknowledged {
        workflow_id: String,
        run_id: String,
        started_event_id: i64,
    },
    /// A history as a worker or a reader saw it.
    Observed {
        workflow_id: String,
        run_id: String,
        events: Vec<HistoryEvent>,
    },
    /// The history of a run after everything was healed and closed; the last one of a
    /// workflow is its current run's.
    Final {
        workflow_id: String,
        run_id: String,
        events: Vec<HistoryEvent>,
    },
}

impl Event {
    fn is_acknowledgement(&self) -> bool {
        matches!(
            self,
            Self::StartAcknowledged { .. }
                | Self::Joined { .. }
                | Self::SignalAcknowledged { .. }
                | Self::UpdateAcknowledged { .. }
                | Self::CancelAcknowledged { .. }
                | Self::TerminateAcknowledged { .. }
                | Self::ResetAcknowledged { .. }
                | Self::ActivityAcknowledged { .. }
                | Self::TaskAcknowledged { .. }
        )
    }
}

/// How much happened: a run in which nothing breaks proves nothing.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) leaders: u64,
    pub(crate) power_cuts: u64,
    pub(crate) wiped: u64,
    pub(crate) acknowledged: u64,
}

/// The shared record of a run.
#[derive(Clone, Default)]
pub(crate) struct Record {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Default)]
struct Inner {
    counts: Counts,
    events: Vec<Event>,
    trace: Vec<String>,
}

impl Record {
    pub(crate) fn push(&self, event: Event) {
        self.trace(&Short(&event));
        self.inner.borrow_mut().events.push(event);
    }

    /// A line of the trace with the time of the simulation before it.
    pub(crate) fn trace(&self, line: &dyn fmt::Display) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.trace_at(at, line);
    }

    pub(crate) fn trace_at(&self, at: std::time::Duration, line: &dyn fmt::Display) {
        self.inner.borrow_mut().trace.push(format!("{:>10.3} {line}", at.as_secs_f64() * 1000.0));
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.inner.borrow_mut().counts);
    }

    pub(crate) fn counts(&self) -> Counts {
        let inner = self.inner.borrow();
        let acknowledged = inner.events.iter().filter(|event| event.is_acknowledgement()).count() as u64;
        Counts { acknowledged, ..inner.counts }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.inner.borrow().events.clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.inner.borrow().trace.clone()
    }
}

/// Histories as their length only.
struct Short<'a>(&'a Event);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Observed { workflow_id, run_id, events } => {
                write!(f, "Observed {workflow_id} {run_id} {} events", events.len())
            }
            Event::Final { workflow_id, run_id, events } => {
                write!(f, "Final {workflow_id} {run_id}")?;
                for event in events {
                    let time = event.event_time.unwrap_or_default();
                    write!(
                        f,
                        "\n           {:>3} {} {}.{:09}",
                        event.event_id,
                        event.event_type().as_str_name(),
                        time.seconds,
                        time.nanos
                    )?;
                }
                Ok(())
            }
            other => write!(f, "{other:?}"),
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is a command-line tool")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
