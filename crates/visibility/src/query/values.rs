//! Literals -> values of the type of their column.

use base::AttributeType;
use base::condition::Operand;

use super::{Column, QueryError, duration, shown_kind};
use crate::document::{EXECUTION_DURATION, EXECUTION_STATUS, status_of_name, status_of_number};
use crate::value::Value;

/// The one value that a comparison has on its right.
pub(super) fn single(operand: &Operand, column: &Column) -> Result<Value, QueryError> {
    match operand {
        Operand::Text(text) => typed(Value::Text(text.clone()), column),
        Operand::Number(number) => typed(parsed_number(number)?, column),
        Operand::Bool(value) => checked(Value::Bool(*value), column),
        Operand::Signed { sign, operand } => {
            let Operand::Number(number) = &**operand else {
                return Err(QueryError::invalid("unary operator before something that is no number"));
            };
            let value = match (parsed_number(number)?, *sign) {
                (Value::Int(value), "-") => Value::Int(-value),
                (Value::Double(value), "-") => Value::Double(-value),
                (value, _) => value,
            };
            typed(value, column)
        }
        Operand::Column(name) => Err(QueryError::unsupported(format_args!(
            "column name on the right side of comparison expression (did you forget to quote {name:?}?)"
        ))),
        Operand::Binary | Operand::Inner(_) => {
            Err(QueryError::invalid(format_args!("unexpected value type {}", shown_kind(operand))))
        }
        Operand::Function(_) => Err(QueryError::unsupported("nested func")),
        Operand::List(_) => Err(QueryError::invalid("a list where one value is expected")),
        Operand::Null => Err(QueryError::invalid("unexpected value type null: use IS NULL or IS NOT NULL")),
    }
}

fn parsed_number(number: &str) -> Result<Value, QueryError> {
    if let Ok(value) = number.parse() {
        return Ok(Value::Int(value));
    }
    let value: f64 =
        number.parse().map_err(|_| QueryError::invalid(format_args!("unable to parse value {number:?}")))?;
    Ok(Value::Double(value))
}

fn typed(value: Value, column: &Column) -> Result<Value, QueryError> {
    match column.field.name() {
        EXECUTION_STATUS => status(&value),
        EXECUTION_DURATION => execution_duration(&value),
        _ => checked(value, column),
    }
}

fn checked(value: Value, column: &Column) -> Result<Value, QueryError> {
    let Column { alias, kind, .. } = column;
    match (kind, &value) {
        (AttributeType::Int | AttributeType::Double, Value::Int(_) | Value::Double(_))
        | (AttributeType::Bool, Value::Bool(_))
        | (AttributeType::Keyword | AttributeType::KeywordList, Value::Text(_)) => Ok(value),
        (AttributeType::Text, Value::Text(text)) if text.trim().is_empty() => {
            Err(QueryError::invalid(format_args!("no tokens found filtering on Text type search attribute {alias}")))
        }
        (AttributeType::Text, Value::Text(_)) => Ok(value),
        (AttributeType::Datetime, Value::Int(nanos)) => Ok(Value::Time(i128::from(*nanos))),
        (AttributeType::Datetime, Value::Text(text)) => {
            Value::time_of(text).ok_or_else(|| QueryError::invalid(format_args!("unable to parse datetime '{text}'")))
        }
        _ => Err(QueryError::invalid(format_args!(
            "invalid value type for search attribute {alias} of type {}: {} (type: {})",
            kind.name(),
            value.literal(),
            value.type_name()
        ))),
    }
}

fn status(value: &Value) -> Result<Value, QueryError> {
    let found = match value {
        Value::Int(number) => status_of_number(*number),
        Value::Text(name) => status_of_name(name),
        other => {
            return Err(QueryError::invalid(format_args!(
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
        QueryError::invalid(format_args!("invalid {EXECUTION_STATUS} value {shown}"))
    })
}

fn execution_duration(value: &Value) -> Result<Value, QueryError> {
    match value {
        Value::Int(nanos) => Ok(Value::Int(*nanos)),
        Value::Text(text) => duration::nanos(text).map(Value::Int).ok_or_else(|| {
            QueryError::invalid(format_args!(
                "invalid duration value for search attribute {EXECUTION_DURATION}: {text}"
            ))
        }),
        other => Err(QueryError::invalid(format_args!(
            "unexpected value type {} for search attribute {EXECUTION_DURATION}",
            other.type_name()
        ))),
    }
}
