//! What each user does with its workflows, from the start to the last look at them.

use std::rc::Rc;

use temporalio_protos::temporal::api::enums::v1::{EventType, ParentClosePolicy};

use super::{OBSERVE_PAUSE, User};
use crate::program::{
    CANCELLED, FINISH, JOINED, PARENT, Program, RESET, Script, TARGET, TERMINATED, UPDATED, WAITING, WORK,
};
use crate::record::Event;
use crate::workflow::{REFUSED, SLOW};

impl User {
    pub(super) async fn works(mut self, program: Program, rival: usize) {
        tokio::time::sleep(program.start_after).await;
        self.start(&program.workflow_id, WORK, rival).await;
        if rival == 0 {
            for index in 0..program.signals {
                tokio::time::sleep(program.signal_pause).await;
                self.signal(&program.workflow_id, &format!("signal-{index}")).await;
            }
        } else {
            // At once, when no worker may have had its turn, and in the middle.
            for (number, pause) in program.pauses.iter().enumerate() {
                self.pause(&program.workflow_id, number, *pause).await;
                tokio::time::sleep(*pause).await;
            }
        }
        self.follow(&program.workflow_id).await;
    }

    /// Both rivals ask for the same updates, and must be told the same.
    pub(super) async fn updates(mut self, script: Rc<Script>, rival: usize) {
        let program = &script.updated;
        self.start(&program.workflow_id, UPDATED, rival).await;
        for index in 0..program.updates {
            tokio::time::sleep(program.pause).await;
            if rival == 0 {
                self.update(&program.workflow_id, &format!("{REFUSED}-{index}"), rival).await;
            }
            let name = if index % 2 == 0 { "prompt" } else { SLOW };
            self.update(&program.workflow_id, &format!("{name}-{index}"), rival).await;
        }
        self.follow(&program.workflow_id).await;
    }

    pub(super) async fn joins(mut self, script: Rc<Script>, rival: usize) {
        tokio::time::sleep(script.pauses[3]).await;
        self.signal_with_start(JOINED, WAITING, &format!("joined-{rival}")).await;
        if rival == 0 {
            // The other one must find the workflow open.
            let other = "joined-1";
            while !self.is_signaled(JOINED, other).await {
                tokio::time::sleep(OBSERVE_PAUSE).await;
            }
            self.signal(JOINED, FINISH).await;
            self.follow(JOINED).await;
        }
    }

    pub(super) async fn has_children(mut self, script: Rc<Script>) {
        self.start(TARGET, WAITING, 0).await;
        for parent in &script.parents {
            tokio::time::sleep(parent.start_after / 2).await;
            self.start(&parent.workflow_id, PARENT, 0).await;
        }
        for parent in &script.parents {
            if !self.follow(&parent.workflow_id).await {
                return;
            }
        }
        self.follow(TARGET).await;
        for child in script.parents.iter().flat_map(crate::program::Parent::children) {
            if child.policy == ParentClosePolicy::Abandon {
                self.signal(&child.workflow_id, FINISH).await;
            }
            self.follow(&child.workflow_id).await;
        }
    }

    pub(super) async fn cancels(mut self, script: Rc<Script>) {
        tokio::time::sleep(script.pauses[0] / 2).await;
        self.start(CANCELLED, WAITING, 0).await;
        tokio::time::sleep(script.pauses[0] / 2).await;
        self.cancel(CANCELLED).await;
        self.follow(CANCELLED).await;
    }

    pub(super) async fn terminates(mut self, script: Rc<Script>) {
        tokio::time::sleep(script.pauses[1] / 2).await;
        self.start(TERMINATED, WAITING, 0).await;
        tokio::time::sleep(script.pauses[1] / 2).await;
        self.terminate(TERMINATED).await;
        self.follow(TERMINATED).await;
    }

    /// Signals before and after a reset are all there in the end.
    pub(super) async fn resets(mut self, script: Rc<Script>) {
        tokio::time::sleep(script.pauses[2] / 2).await;
        let Some(base) = self.start(RESET, WAITING, 0).await else { return };
        tokio::time::sleep(script.pauses[2] / 2).await;
        self.signal(RESET, "before").await;
        let completed = loop {
            tokio::time::sleep(script.pauses[2] / 4).await;
            let Ok(events) = self.read_run(RESET, &base).await else { continue };
            let seen = Event::Observed { workflow_id: RESET.to_owned(), run_id: base.clone(), events: events.clone() };
            self.record.push(seen);
            let mut completed = events.iter().filter(|event| event.event_type() == EventType::WorkflowTaskCompleted);
            if let Some(first) = completed.next() {
                break first.event_id;
            }
        };
        self.reset(RESET, &base, completed).await;
        self.signal(RESET, "after").await;
        self.signal(RESET, FINISH).await;
        if self.conclude(RESET, &base).await {
            self.follow(RESET).await;
        }
    }

    async fn is_signaled(&mut self, workflow_id: &str, name: &str) -> bool {
        use temporalio_protos::temporal::api::history::v1::history_event::Attributes as A;
        let Ok((_, events)) = self.read(workflow_id).await else { return false };
        events.iter().any(|event| {
            matches!(&event.attributes, Some(A::WorkflowExecutionSignaledEventAttributes(a)) if a.signal_name == name)
        })
    }
}
