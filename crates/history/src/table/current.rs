//! Table CURRENT: `cell | 1 | ns | workflow id -> CurrentRun`.

use bytes::Bytes;
use prost::Message;

use super::key::{Table, header, put_workflow};
use super::value;
use crate::run::WorkflowKey;

pub(crate) fn key(workflow: &WorkflowKey) -> Bytes {
    let mut key = header(workflow.cell, Table::Current);
    put_workflow(&mut key, workflow);
    key.into()
}

pub(crate) fn encode(run_id: &str) -> Bytes {
    value::CurrentRun { run_id: run_id.to_owned() }.encode_to_vec().into()
}

/// The id of the current run.
pub(crate) fn decode(value: &[u8]) -> Result<String, prost::DecodeError> {
    Ok(value::CurrentRun::decode(value)?.run_id)
}
