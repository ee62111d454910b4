//! Finding executions: the query language, and lists and counts over the rows that history
//! keeps for them.
//!
//! **Invariant:** derived data only. Nothing is decided by what visibility says.

mod query;

mod filter;

mod document;
mod list;
mod value;

mod service;

pub use query::{Query, QueryError};
pub use service::{Rows, RowsPage, Service};
