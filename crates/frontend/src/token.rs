//! Task tokens: ours, and those of the official server, which kits for tests put together by hand.
//!
//! | field | ours | the official server's |
//! |---|---|---|
//! | 3 of a query's | the node, a number | the id of the query, a string |
//! | 6 of all others | the attempt, a number | the id of the activity, a string, or absent |
//!
//! One field of each of ours is always there, as a number, and tells them apart. What an official token
//! leaves out is not checked by the shard either, as there.

use api::internal::{ActivityTaskToken, OfficialQueryTaskToken, OfficialTaskToken, QueryTaskToken, WorkflowTaskToken};
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
use prost::{DecodeError, Message};

/// Field number of `attempt` in our tokens of workflow tasks and activities.
const OUR_ATTEMPT: u32 = 6;
/// Field number of `node_id` in our tokens of queries.
const OUR_NODE: u32 = 3;

/// What a worker sends back to say which task it means.
pub(crate) trait TaskToken: Sized {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError>;
    fn namespace_id(&self) -> &str;
}

impl TaskToken for WorkflowTaskToken {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        if has_number(bytes, OUR_ATTEMPT)? {
            return Self::decode(bytes);
        }
        let OfficialTaskToken {
            namespace_id,
            workflow_id,
            run_id,
            scheduled_event_id,
            attempt,
            started_event_id,
            started_time,
            ..
        } = OfficialTaskToken::decode(bytes)?;
        Ok(Self {
            namespace_id,
            workflow_id,
            run_id,
            scheduled_event_id,
            started_event_id,
            attempt,
            started_time,
            // No leader of ours handed it out.
            term: 0,
            request_id: String::new(),
        })
    }

    fn namespace_id(&self) -> &str {
        &self.namespace_id
    }
}

impl TaskToken for ActivityTaskToken {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        if has_number(bytes, OUR_ATTEMPT)? {
            return Self::decode(bytes);
        }
        let OfficialTaskToken {
            namespace_id,
            workflow_id,
            run_id,
            scheduled_event_id,
            attempt,
            activity_id,
            started_event_id,
            started_time: _,
        } = OfficialTaskToken::decode(bytes)?;
        Ok(Self { namespace_id, workflow_id, run_id, scheduled_event_id, started_event_id, attempt, activity_id })
    }

    fn namespace_id(&self) -> &str {
        &self.namespace_id
    }
}

impl TaskToken for QueryTaskToken {
    /// A query that the official server asked is unknown to every node of ours: it is told to node 0.
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        if has_number(bytes, OUR_NODE)? {
            return Self::decode(bytes);
        }
        let OfficialQueryTaskToken { namespace_id, task_queue, task_id } = OfficialQueryTaskToken::decode(bytes)?;
        let query_id = if task_queue.is_empty() { String::new() } else { task_id };
        Ok(Self { namespace_id, query_id, node_id: 0 })
    }

    fn namespace_id(&self) -> &str {
        &self.namespace_id
    }
}

/// Whether the encoded message has a field of this tag that holds a number.
fn has_number(mut bytes: &[u8], wanted: u32) -> Result<bool, DecodeError> {
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        if tag == wanted && wire_type == WireType::Varint {
            return Ok(true);
        }
        skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn official() -> OfficialTaskToken {
        OfficialTaskToken {
            namespace_id: "ns".into(),
            workflow_id: "w".into(),
            run_id: "r".into(),
            scheduled_event_id: 5,
            attempt: 2,
            activity_id: "a".into(),
            started_event_id: 6,
            started_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 7 }),
        }
    }

    #[test]
    fn ours_are_read_as_they_were_written() {
        let task = WorkflowTaskToken {
            namespace_id: "ns".into(),
            workflow_id: "w".into(),
            run_id: "r".into(),
            scheduled_event_id: 5,
            started_event_id: 6,
            attempt: 1,
            started_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 7 }),
            term: 3,
            request_id: "q".into(),
        };
        assert_eq!(WorkflowTaskToken::read(&task.encode_to_vec()), Ok(task));
        let activity = ActivityTaskToken {
            namespace_id: "ns".into(),
            workflow_id: "w".into(),
            run_id: "r".into(),
            scheduled_event_id: 5,
            started_event_id: 0,
            attempt: 1,
            activity_id: "a".into(),
        };
        assert_eq!(ActivityTaskToken::read(&activity.encode_to_vec()), Ok(activity));
        let query = QueryTaskToken { namespace_id: "ns".into(), query_id: "q".into(), node_id: 1 };
        assert_eq!(QueryTaskToken::read(&query.encode_to_vec()), Ok(query));
    }

    #[test]
    fn official_ones_say_the_same_in_another_way() {
        let bytes = official().encode_to_vec();
        let task = WorkflowTaskToken::read(&bytes).expect("it is one");
        assert_eq!((task.scheduled_event_id, task.started_event_id, task.attempt, task.term), (5, 6, 2, 0));
        assert_eq!((&*task.workflow_id, &*task.run_id, task.started_time), ("w", "r", official().started_time));
        let activity = ActivityTaskToken::read(&bytes).expect("it is one");
        assert_eq!((activity.scheduled_event_id, activity.attempt, &*activity.activity_id), (5, 2, "a"));
        let token = |queue: &str| OfficialQueryTaskToken {
            namespace_id: "ns".into(),
            task_queue: queue.into(),
            task_id: "t".into(),
        };
        let query = QueryTaskToken::read(&token("q").encode_to_vec()).expect("it is one");
        assert_eq!((&*query.query_id, query.node_id), ("t", 0));
        let query = QueryTaskToken::read(&token("").encode_to_vec()).expect("it is one");
        assert_eq!(query.query_id, "", "it names no query");
    }

    #[test]
    fn what_the_official_server_writes_besides_is_passed_over() {
        let mut bytes = official().encode_to_vec();
        // Types of workflow and activity, a clock, a version, the stamp of an attempt.
        for (tag, text) in [(7, &b"type"[..]), (8, b"type"), (9, &[8, 1, 16, 0xff, 0xff, 3])] {
            prost::encoding::bytes::encode(tag, &text.to_vec(), &mut bytes);
        }
        for tag in [11, 13, 15] {
            prost::encoding::int64::encode(tag, &1, &mut bytes);
        }
        assert_eq!(WorkflowTaskToken::read(&bytes).expect("it is one").attempt, 2);
        assert_eq!(ActivityTaskToken::read(&bytes).expect("it is one").activity_id, "a");
    }

    #[test]
    fn garbage_is_neither() {
        for bytes in [&b"garbage"[..], &[0x0a, 0xff], &[0x30], &[0x0a, 1, 0xff]] {
            assert!(WorkflowTaskToken::read(bytes).is_err(), "{bytes:?}");
            assert!(ActivityTaskToken::read(bytes).is_err(), "{bytes:?}");
            assert!(QueryTaskToken::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
