//! Plays one scenario against a server and writes down what came back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use temporalio_protos::google::rpc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use crate::coverage::Coverage;
use crate::print::{Ignored, Printer};
use crate::raw::Client;
use crate::script::{Action, Scenario, Step};
use crate::values;

/// How long a call may take when its step does not say.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long an event may take to appear.
const UNTIL_TIMEOUT: Duration = Duration::from_secs(15);

/// Between two looks at a history.
const UNTIL_INTERVAL: Duration = Duration::from_millis(50);

/// What every scenario ends with: what is left of its workflow.
const EPILOGUE: &[(&str, &str)] = &[
    ("GetWorkflowExecutionHistory", "execution{workflow_id:'$w'}"),
    ("DescribeWorkflowExecution", "execution{workflow_id:'$w'}"),
];

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) pool: DescriptorPool,
    pub(crate) client: Client,
    pub(crate) ignored: Ignored,
    /// Sets the ids of this run apart from those of others on the same server.
    pub(crate) nonce: String,
    pub(crate) coverage: Arc<Coverage>,
}

type Reply = Result<Bytes, Status>;

struct Play<'a> {
    target: &'a Target,
    printer: Printer<'a>,
    replies: BTreeMap<String, DynamicMessage>,
    running: BTreeMap<String, (Step, String, JoinSet<Reply>)>,
    text: String,
}

pub(crate) async fn play(target: &Target, scenario: &Scenario) -> String {
    let slug: String = format!("{}-{}", scenario.area, scenario.name)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let workflow = format!("{slug}-{}", target.nonce);
    let names = vec![(format!("queue-{workflow}"), "$q".to_owned()), (workflow, "$w".to_owned())];
    let printer = Printer { pool: &target.pool, ignored: &target.ignored, names, ids: BTreeMap::new(), full: false };
    let mut play = Play { target, printer, replies: BTreeMap::new(), running: BTreeMap::new(), text: String::new() };
    for step in &scenario.steps {
        play.step(step).await;
    }
    for (rpc, request) in EPILOGUE {
        let action = Action::Call { rpc: (*rpc).to_owned(), request: format!("namespace:'default' {request}") };
        let step = Step {
            heading: None,
            reply: None,
            quiet: false,
            full: true,
            background: false,
            within: None,
            client: None,
            action,
        };
        play.step(&step).await;
    }
    play.text
}

impl Play<'_> {
    async fn step(&mut self, step: &Step) {
        if let Some(heading) = &step.heading {
            writeln!(self.text, "> {heading}").expect("a string");
        }
        match &step.action {
            Action::Wait(time) => tokio::time::sleep(*time).await,
            Action::Until { event, count, workflow } => self.until(event, *count, workflow).await,
            Action::Join(name) => {
                let Some((step, rpc, mut calls)) = self.running.remove(name) else {
                    panic!("nothing is running as {name:?}");
                };
                let reply = calls.join_next().await.expect("one call").expect("no panic");
                self.answered(&step, &rpc, reply);
            }
            Action::Call { rpc, request } => self.call(step, rpc, request).await,
        }
    }

    async fn call(&mut self, step: &Step, rpc: &str, request: &str) {
        let body = match self.encode(rpc, request) {
            Ok(body) => body,
            Err(missing) => {
                writeln!(self.text, "{rpc}: NOT SENT, there is no {missing}").expect("a string");
                return;
            }
        };
        let method = api::METHODS.iter().find(|method| method.name == rpc).expect("an RPC");
        let (client, path) = (self.target.client.clone(), method.path);
        let (name, timeout) = (step.client.clone(), step.within.unwrap_or(CALL_TIMEOUT));
        let call = async move { client.call(path, name.as_ref(), body, timeout).await };
        if step.background {
            let mut calls = JoinSet::new();
            calls.spawn(call);
            let name = step.reply.clone().expect("what runs in the background has a name");
            self.running.insert(name, (step.clone(), rpc.to_owned(), calls));
            return;
        }
        let reply = call.await;
        self.answered(step, rpc, reply);
    }

    fn answered(&mut self, step: &Step, rpc: &str, reply: Reply) {
        self.printer.full = step.full;
        match reply {
            Err(status) => {
                let shown = self.status(&status);
                writeln!(self.text, "{rpc}: {shown}").expect("a string");
            }
            Ok(body) => {
                let (_, output) = self.messages(rpc);
                let message = DynamicMessage::decode(output, body).expect("a reply");
                writeln!(self.text, "{rpc}: OK").expect("a string");
                if !step.quiet {
                    let shown = self.printer.message(&message, 2);
                    self.text.push_str(&shown);
                }
                if let Some(name) = &step.reply {
                    self.replies.insert(name.clone(), message);
                }
            }
        }
    }

    fn status(&mut self, status: &Status) -> String {
        // What helps people stands below the first line; tools know the first one.
        let message = status.message().split('\n').next().unwrap_or_default();
        let mut text = format!("{:?} {:?}", status.code(), self.printer.text(message));
        if status.details().is_empty() {
            return text;
        }
        let inner = rpc::Status::decode(status.details()).expect("a google.rpc.Status");
        for detail in inner.details {
            let name = detail.type_url.rsplit('/').next().unwrap_or_default();
            let shown = match self.target.pool.get_message_by_name(name) {
                Some(kind) => DynamicMessage::decode(kind, Bytes::from(detail.value))
                    .map_or_else(|_| "?".to_owned(), |message| self.printer.line(&message)),
                None => "?".to_owned(),
            };
            let name = name.rsplit('.').next().unwrap_or_default();
            write!(text, "\n  {name} {{{shown}}}").expect("a string");
        }
        text
    }

    fn messages(&self, rpc: &str) -> (MessageDescriptor, MessageDescriptor) {
        let method = api::METHODS.iter().find(|method| method.name == rpc).unwrap_or_else(|| panic!("no RPC {rpc}"));
        let service = self.target.pool.get_service_by_name(method.service).expect("a service");
        let method = service.methods().find(|method| method.name() == rpc).expect("a method");
        (method.input(), method.output())
    }

    /// `text + text ! field field` as a message. `Err` names what it lacks.
    fn encode(&self, rpc: &str, request: &str) -> Result<Bytes, String> {
        let (input, _) = self.messages(rpc);
        let (texts, cleared) = request.split_once(" ! ").unwrap_or((request, ""));
        let filled = values::fill(texts, &self.printer.names, &self.replies)?;
        let mut message = DynamicMessage::new(input.clone());
        for text in filled.trim_end_matches(['+', ' ']).split(" + ") {
            let part = DynamicMessage::parse_text_format(input.clone(), text)
                .map_err(|error| format!("right request: {error}: {text}"))?;
            message.merge(part.encode_to_vec().as_slice()).expect("what was encoded");
        }
        for field in cleared.split_whitespace() {
            message.clear_field_by_name(field);
        }
        self.target.coverage.sent(&message);
        Ok(message.encode_to_vec().into())
    }

    async fn until(&mut self, event: &str, count: usize, workflow: &str) {
        let begun = Instant::now();
        let kinds = self.target.pool.get_enum_by_name("temporal.api.enums.v1.EventType").expect("the enum");
        let kind = kinds.get_value_by_name(&format!("EVENT_TYPE_{event}")).unwrap_or_else(|| panic!("no {event}"));
        let request = format!("namespace:'default' execution{{workflow_id:'{workflow}'}}");
        let body = self.encode("GetWorkflowExecutionHistory", &request).expect("only the workflow");
        let method = api::METHODS.iter().find(|method| method.name == "GetWorkflowExecutionHistory").expect("an RPC");
        while begun.elapsed() < UNTIL_TIMEOUT {
            if let Ok(reply) = self.target.client.call(method.path, None, body.clone(), CALL_TIMEOUT).await {
                let (_, output) = self.messages("GetWorkflowExecutionHistory");
                let reply = DynamicMessage::decode(output, reply).expect("a reply");
                if number_of(&reply, kind.number()) >= count {
                    return;
                }
            }
            tokio::time::sleep(UNTIL_INTERVAL).await;
        }
        writeln!(self.text, "until {event}: not seen").expect("a string");
    }
}

fn number_of(reply: &DynamicMessage, kind: i32) -> usize {
    let history = reply.get_field_by_name("history").expect("a field");
    let events = history.as_message().expect("a message").get_field_by_name("events").expect("a field");
    let kinds = events.as_list().expect("a list").iter().filter(|event| {
        let event = event.as_message().expect("an event");
        event.get_field_by_name("event_type").and_then(|kind| kind.as_enum_number()) == Some(kind)
    });
    kinds.count()
}
