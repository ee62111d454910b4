//! Literals -> values of the type of their column.

use base::AttributeType;
use base::condition::{Operand, Term};

use super::fault::Fault;
use super::{Column, duration, shown_kind};
use crate::document::{EXECUTION_DURATION, EXECUTION_STATUS, status_of_name, status_of_number};
use crate::value::Value;

/// The one value that a comparison has on its right.
pub(super) fn single(operand: &Operand, column: &Column) -> Result<Value, Fault> {
    term(&operand.term, column).map_err(|fault| fault.at(&operand.place).expected(expected(column)))
}

/// What may stand there.
fn expected(column: &Column) -> &'static str {
    match (column.field.name(), column.kind) {
        (EXECUTION_STATUS, _) => {
            "one of 'Running', 'Completed', 'Failed', 'Canceled', 'Terminated', 'ContinuedAsNew', 'TimedOut' and 'Paused'"
        }
        (EXECUTION_DURATION, _) => "a duration such as '1h30m', '2d' or '01:30:00', or nanoseconds",
        (_, AttributeType::Text | AttributeType::Keyword | AttributeType::KeywordList) => "a text in quotes",
        (_, AttributeType::Int | AttributeType::Double) => "a number",
        (_, AttributeType::Bool) => "true or false",
        (_, AttributeType::Datetime) => "a time such as '2026-01-31T12:00:00Z', or nanoseconds since 1970",
    }
}

fn term(term: &Term, column: &Column) -> Result<Value, Fault> {
    match term {
        Term::Text(text) => typed(Value::Text(text.clone()), column),
        Term::Number(number) => typed(parsed_number(number)?, column),
        Term::Bool(value) => checked(Value::Bool(*value), column),
        Term::Signed { sign, operand } => {
            let Term::Number(number) = &operand.term else {
                return Err(Fault::invalid("unary operator before something that is no number"));
            };
            let value = match (parsed_number(number)?, *sign) {
                (Value::Int(value), "-") => Value::Int(-value),
                (Value::Double(value), "-") => Value::Double(-value),
                (value, _) => value,
            };
            typed(value, column)
        }
        Term::Column(name) => Err(Fault::unsupported(format_args!(
            "column name on the right side of comparison expression (did you forget to quote {name:?}?)"
        ))),
        Term::Binary | Term::Inner(_) => {
            Err(Fault::invalid(format_args!("unexpected value type {}", shown_kind(term))))
        }
        Term::Function(_) => Err(Fault::unsupported("nested func")),
        Term::List(_) => Err(Fault::invalid("a list where one value is expected")),
        Term::Null => Err(Fault::invalid("unexpected value type null: use IS NULL or IS NOT NULL")),
    }
}

fn parsed_number(number: &str) -> Result<Value, Fault> {
    if let Ok(value) = number.parse() {
        return Ok(Value::Int(value));
    }
    let value: f64 = number.parse().map_err(|_| Fault::invalid(format_args!("unable to parse value {number:?}")))?;
    Ok(Value::Double(value))
}

fn typed(value: Value, column: &Column) -> Result<Value, Fault> {
    match column.field.name() {
        EXECUTION_STATUS => status(&value),
        EXECUTION_DURATION => execution_duration(&value),
        _ => checked(value, column),
    }
}

fn checked(value: Value, column: &Column) -> Result<Value, Fault> {
    let Column { alias, kind, .. } = column;
    match (kind, &value) {
        (AttributeType::Int | AttributeType::Double, Value::Int(_) | Value::Double(_))
        | (AttributeType::Bool, Value::Bool(_))
        | (AttributeType::Keyword | AttributeType::KeywordList, Value::Text(_)) => Ok(value),
        (AttributeType::Text, Value::Text(text)) if text.trim().is_empty() => {
            Err(Fault::invalid(format_args!("no tokens found filtering on Text type search attribute {alias}")))
        }
        (AttributeType::Text, Value::Text(_)) => Ok(value),
        (AttributeType::Datetime, Value::Int(nanos)) => Ok(Value::Time(i128::from(*nanos))),
        (AttributeType::Datetime, Value::Text(text)) => {
            Value::time_of(text).ok_or_else(|| Fault::invalid(format_args!("unable to parse datetime '{text}'")))
        }
        _ => Err(Fault::invalid(format_args!(
            "invalid value type for search attribute {alias} of type {}: {} (type: {})",
            kind.name(),
            value.literal(),
            value.type_name()
        ))),
    }
}

fn status(value: &Value) -> Result<Value, Fault> {
    let found = match value {
        Value::Int(number) => status_of_number(*number),
        Value::Text(name) => status_of_name(name),
        other => {
            return Err(Fault::invalid(format_args!(
                "unexpected value type {} for search attribute {EXECUTION_STATUS}",
                other.type_name()
            )));
        }
    };
    found.map(|status| Value::Int(i64::from(status as i32))).ok_or_else(|| {
        let shown = match value {
            Value::Text(name) => format!("'{name}'"),
            other => other.literal(),
        };
        Fault::invalid(format_args!("invalid {EXECUTION_STATUS} value {shown}"))
    })
}

fn execution_duration(value: &Value) -> Result<Value, Fault> {
    match value {
        Value::Int(nanos) => Ok(Value::Int(*nanos)),
        Value::Text(text) => duration::nanos(text).map(Value::Int).ok_or_else(|| {
            Fault::invalid(format_args!("invalid duration value for search attribute {EXECUTION_DURATION}: {text}"))
        }),
        other => Err(Fault::invalid(format_args!(
            "unexpected value type {} for search attribute {EXECUTION_DURATION}",
            other.type_name()
        ))),
    }
}
