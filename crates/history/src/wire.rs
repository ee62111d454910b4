//! Protobuf by hand where it saves decoding: history goes from the store to the wire as
//! it is. A message may be put together from encoded pieces in any order of its fields.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
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
