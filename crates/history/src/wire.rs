//! Protobuf by hand where it saves decoding: history goes from the store to the wire as
//! it is. A message may be put together from encoded pieces in any order of its fields.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len};
use temporalio_protos::temporal::api::history::v1::HistoryEvent;

/// `History.events`.
const HISTORY_EVENTS: u32 = 1;
/// `GetWorkflowExecutionHistoryResponse.history`, also of the reverse response.
pub(crate) const HISTORY_OF_PAGE: u32 = 1;
/// `PollWorkflowTaskQueueResponse.history`.
pub(crate) const HISTORY_OF_TASK: u32 = 8;
/// `RespondWorkflowTaskCompletedResponse.workflow_task`.
pub(crate) const TASK_OF_COMPLETION: u32 = 1;
/// `StartWorkflowExecutionResponse.eager_workflow_task`.
pub(crate) const TASK_OF_START: u32 = 2;

/// The events as an encoded `History`, that can be joined with others.
pub(crate) fn encode_history<'a>(events: impl Iterator<Item = &'a HistoryEvent> + Clone) -> Bytes {
    let length = |event: &HistoryEvent| {
        let inner = event.encoded_len();
        key_len(HISTORY_EVENTS) + encoded_len_varint(inner as u64) + inner
    };
    let mut bytes = BytesMut::with_capacity(events.clone().map(length).sum());
    for event in events {
        prost::encoding::message::encode(HISTORY_EVENTS, event, &mut bytes);
    }
    bytes.freeze()
}

/// `take` events of an encoded `History`, after the first `skip`; as a part of its bytes. None
/// when it is not one, or too short.
pub(crate) fn some_events(history: &Bytes, skip: usize, take: usize) -> Option<Bytes> {
    let mut rest = &history[..];
    (0..skip).try_for_each(|_| pass_event(&mut rest))?;
    let start = history.len() - rest.len();
    (0..take).try_for_each(|_| pass_event(&mut rest))?;
    Some(history.slice(start..history.len() - rest.len()))
}

fn pass_event(rest: &mut &[u8]) -> Option<()> {
    let key = decode_key(rest).ok()?;
    let bytes = usize::try_from(decode_varint(rest).ok()?).ok()?;
    *rest = rest.get(bytes..)?;
    (key == (HISTORY_EVENTS, WireType::LengthDelimited)).then_some(())
}

/// `message` with a sub-message made of the encoded `pieces`.
pub(crate) fn with_field(message: &impl Message, field: u32, pieces: &[Bytes]) -> Bytes {
    let inner: usize = pieces.iter().map(Bytes::len).sum();
    let outer = message.encoded_len() + key_len(field) + encoded_len_varint(inner as u64) + inner;
    let mut bytes = BytesMut::with_capacity(outer);
    message.encode(&mut bytes).expect("the buffer grows");
    encode_key(field, WireType::LengthDelimited, &mut bytes);
    encode_varint(inner as u64, &mut bytes);
    for piece in pieces {
        bytes.put_slice(piece);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use temporalio_protos::temporal::api::history::v1::History;
    use temporalio_protos::temporal::api::workflowservice::v1::{
        GetWorkflowExecutionHistoryResponse, PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedResponse,
        StartWorkflowExecutionResponse,
    };

    use super::*;

    fn event(id: i64) -> HistoryEvent {
        HistoryEvent { event_id: id, ..HistoryEvent::default() }
    }

    #[test]
    fn some_events_of_a_history_are_a_part_of_it() {
        let events: Vec<_> = [1, 127, 128, 1 << 40, i64::MAX].map(event).into();
        let history = encode_history(events.iter());
        for skip in 0..=events.len() {
            for take in 0..=events.len() - skip {
                let expected = encode_history(events[skip..skip + take].iter());
                assert_eq!(some_events(&history, skip, take), Some(expected));
            }
            assert_eq!(some_events(&history, skip, events.len() - skip + 1), None);
        }
        assert_eq!(some_events(&history.slice(..history.len() - 1), 0, events.len()), None, "cut");
        let token = GetWorkflowExecutionHistoryResponse { next_page_token: vec![9], ..Default::default() };
        assert_eq!(some_events(&token.encode_to_vec().into(), 0, 1), None, "no history");
    }

    #[test]
    fn joined_batches_decode_to_all_their_events() {
        let pieces = [encode_history([event(1), event(2)].iter()), encode_history([event(3)].iter())];
        let expected = History { events: vec![event(1), event(2), event(3)] };

        let task = PollWorkflowTaskQueueResponse { attempt: 7, ..Default::default() };
        let joined = PollWorkflowTaskQueueResponse::decode(with_field(&task, HISTORY_OF_TASK, &pieces)).unwrap();
        assert_eq!(joined.history.as_ref(), Some(&expected));
        assert_eq!(joined.attempt, 7);

        let page = GetWorkflowExecutionHistoryResponse { next_page_token: vec![9], ..Default::default() };
        let joined = GetWorkflowExecutionHistoryResponse::decode(with_field(&page, HISTORY_OF_PAGE, &pieces)).unwrap();
        assert_eq!((joined.history, joined.next_page_token), (Some(expected), vec![9]));
    }

    #[test]
    fn the_field_numbers_are_those_of_the_api() {
        let task = PollWorkflowTaskQueueResponse { attempt: 7, ..Default::default() };
        let encoded = [Bytes::from(task.encode_to_vec())];
        let completion = with_field(&RespondWorkflowTaskCompletedResponse::default(), TASK_OF_COMPLETION, &encoded);
        let completion = RespondWorkflowTaskCompletedResponse::decode(completion).unwrap();
        assert_eq!(completion.workflow_task.as_ref(), Some(&task));
        let start = with_field(&StartWorkflowExecutionResponse::default(), TASK_OF_START, &encoded);
        assert_eq!(StartWorkflowExecutionResponse::decode(start).unwrap().eager_workflow_task, Some(task));
    }
}
