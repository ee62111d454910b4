//! What an attribute can be, and how two of them compare.

use std::cmp::Ordering;

use jiff::Timestamp;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Bool(bool),
    Int(i64),
    Double(f64),
    /// Nanoseconds since 1970.
    Time(i128),
    Text(String),
    /// A keyword list, or several values of another type.
    List(Vec<Self>),
}

impl Value {
    /// RFC 3339, with fractions of a second or without.
    pub(crate) fn time_of(text: &str) -> Option<Self> {
        text.parse::<Timestamp>().ok().map(|time| Self::Time(time.as_nanosecond()))
    }

    /// None: they cannot be compared.
    pub(crate) fn compared(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(right)),
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(right)),
            (Self::Time(left), Self::Time(right)) => Some(left.cmp(right)),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            _ => self.double()?.partial_cmp(&other.double()?),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "comparing with a fraction does that")]
    fn double(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// As an error shows it.
    pub(crate) fn literal(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Double(value) => value.to_string(),
            Self::Time(value) => value.to_string(),
            Self::Text(value) => format!("{value:?}"),
            Self::List(values) => format!("{values:?}"),
        }
    }

    /// The name that the incumbent has for it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int64",
            Self::Double(_) => "float64",
            Self::Time(_) => "time.Time",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
        }
    }
}
