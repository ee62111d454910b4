//! Does an execution match? By the logic of SQL: what is compared with nothing is neither
//! true nor false, and only what is true is found.

use std::cmp::Ordering;

use base::AttributeType;

use crate::document::{Document, Field};
use crate::value::Value;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Filter {
    All,
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare { field: Field, comparison: Comparison, value: Value },
    In { field: Field, negated: bool, values: Vec<Value> },
    Between { field: Field, negated: bool, from: Value, to: Value },
    StartsWith { field: Field, negated: bool, prefix: String },
    IsNull { field: Field, negated: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Filter {
    pub(crate) fn matches(&self, document: &Document) -> bool {
        self.holds(document) == Some(true)
    }

    /// None: unknown.
    fn holds(&self, document: &Document) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::And(left, right) => match (left.holds(document), right.holds(document)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(left, right) => match (left.holds(document), right.holds(document)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(inner) => inner.holds(document).map(|holds| !holds),
            Self::IsNull { field, negated } => Some(document.value(field).is_none() != *negated),
            Self::Compare { field, comparison, value } => compare(document, field, *comparison, value),
            Self::In { field, negated, values } => {
                let contains = |value| compare(document, field, Comparison::Equal, value);
                let found = values.iter().try_fold(false, |found, value| Some(found || contains(value)?))?;
                Some(found != *negated)
            }
            Self::Between { field, negated, from, to } => {
                let value = document.value(field)?;
                let inside = value.compared(from)?.is_ge() && value.compared(to)?.is_le();
                Some(inside != *negated)
            }
            Self::StartsWith { field, negated, prefix } => {
                let starts = any(
                    &document.value(field)?,
                    |value| matches!(value, Value::Text(text) if text.starts_with(prefix)),
                );
                Some(starts != *negated)
            }
        }
    }
}

/// A list, and a text of words, equals a value when it contains it; one that is not there
/// contains nothing.
fn compare(document: &Document, field: &Field, comparison: Comparison, value: &Value) -> Option<bool> {
    let found = document.value(field);
    let kind = field.kind();
    if matches!(kind, AttributeType::KeywordList | AttributeType::Text) {
        let contains = found.is_some_and(|found| match kind {
            AttributeType::Text => any(&found, |found| shares_word(found, value)),
            _ => any(&found, |found| found.compared(value) == Some(Ordering::Equal)),
        });
        return Some(contains == (comparison == Comparison::Equal));
    }
    let found = found?;
    match found {
        Value::List(_) => {
            Some(any(&found, |found| found.compared(value).is_some_and(|ordering| comparison.holds(ordering))))
        }
        found => found.compared(value).map(|ordering| comparison.holds(ordering)),
    }
}

fn any(value: &Value, is_so: impl Fn(&Value) -> bool) -> bool {
    match value {
        Value::List(values) => values.iter().any(is_so),
        value => is_so(value),
    }
}

fn shares_word(text: &Value, asked: &Value) -> bool {
    let (Value::Text(text), Value::Text(asked)) = (text, asked) else { return false };
    let words = |text: &str| -> Vec<String> {
        let split = text.split(|character: char| !character.is_alphanumeric());
        split.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    let present = words(text);
    words(asked).iter().any(|word| present.contains(word))
}
