//! How many and how large the search attributes of a start may be, and that the server's own
//! cannot be set. Names and types are checked by what decides the start.

use api::Error;
use prost::Message as _;
use temporalio_protos::temporal::api::common::v1::SearchAttributes;

use super::invalid;
use crate::Limits;

pub(crate) fn search_attributes(attributes: Option<&SearchAttributes>, limits: &Limits) -> Result<(), Error> {
    let Some(attributes) = attributes else { return Ok(()) };
    let count = attributes.indexed_fields.len();
    if count > limits.search_attributes_max {
        return Err(invalid(format!(
            "number of search attributes {count} exceeds limit {}",
            limits.search_attributes_max
        )));
    }
    // In order, so that the same request gets the same answer every time.
    let mut fields: Vec<_> = attributes.indexed_fields.iter().collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    if let Some((name, _)) = fields.iter().find(|(name, _)| only_server(name)) {
        return Err(invalid(format!("{name} attribute can't be set in SearchAttributes")));
    }
    for (name, payload) in fields {
        let bytes = payload.data.len();
        if bytes > limits.search_attribute_bytes_max {
            return Err(invalid(format!(
                "search attribute {name} value size {bytes} exceeds size limit {}",
                limits.search_attribute_bytes_max
            )));
        }
    }
    let bytes = attributes.encoded_len();
    if bytes > limits.search_attributes_bytes_max {
        return Err(invalid(format!(
            "total size of search attributes {bytes} exceeds size limit {}",
            limits.search_attributes_bytes_max
        )));
    }
    Ok(())
}

fn only_server(name: &str) -> bool {
    matches!(base::builtin_attribute(name), Some((_, base::Setter::Server)))
}
