//! From the tree of a condition to one that can be asked of a worker. What is well formed but
//! means nothing for workers becomes [`Condition::Meaningless`].

use api::Error;
use base::Timestamp;
use base::condition::{Operand, Term, Tree, marked, parse_some};

use super::{Condition, Operator, Text, Time};

pub(super) fn parse(text: &str) -> Result<Condition, Error> {
    let (tree, rest) = parse_some(text).map_err(|malformed| {
        Error::InvalidArgument(format!("malformed query: {malformed}\n{}", malformed.marked(text))) //
    })?;
    // What a statement may have after its condition changes nothing, but for a limit.
    if let Some(place) = rest.limit {
        let mark = marked(text, &place, "expected no limit: the size of a page is asked for beside the query");
        return Err(Error::InvalidArgument(format!("operation is not supported: 'limit' clause\n{mark}")));
    }
    Ok(meaning(&tree))
}

fn meaning(tree: &Tree) -> Condition {
    match tree {
        Tree::And(left, right) => Condition::And(Box::new(meaning(left)), Box::new(meaning(right))),
        Tree::Or(left, right) => Condition::Or(Box::new(meaning(left)), Box::new(meaning(right))),
        Tree::Compare { left, operator, right, .. } => {
            operator_named(operator).map_or(Condition::Meaningless, |operator| comparison(left, operator, right))
        }
        Tree::Between { left, negated, from, to } => between(left, from, to, *negated),
        Tree::IsNull { left, negated } => null_test(left, *negated),
        Tree::Not(_) | Tree::IsOther { .. } | Tree::Alone(_) => Condition::Meaningless,
    }
}

fn operator_named(name: &str) -> Option<Operator> {
    match name {
        "=" => Some(Operator::Equal),
        "!=" => Some(Operator::NotEqual),
        "<" => Some(Operator::Less),
        "<=" => Some(Operator::LessOrEqual),
        ">" => Some(Operator::Greater),
        ">=" => Some(Operator::GreaterOrEqual),
        "starts_with" => Some(Operator::StartsWith),
        "not starts_with" => Some(Operator::NotStartsWith),
        _ => None,
    }
}

fn null_test(left: &Operand, negated: bool) -> Condition {
    let Term::Column(name) = &left.term else { return Condition::Meaningless };
    match (Text::named(name), Time::named(name)) {
        (Some(column), _) => Condition::TextIsNull { column, negated },
        (_, Some(column)) => Condition::TimeIsNull { column, negated },
        _ => Condition::Meaningless,
    }
}

fn comparison(left: &Operand, operator: Operator, right: &Operand) -> Condition {
    let Term::Column(name) = &left.term else { return Condition::Meaningless };
    match (Text::named(name), Time::named(name), &right.term) {
        (Some(column), _, Term::Text(value)) => Condition::Text { column, operator, value: value.clone() },
        (_, Some(column), _) => match time(right) {
            Some(value) => Condition::Time { column, operator, value },
            None => Condition::Meaningless,
        },
        _ => Condition::Meaningless,
    }
}

fn between(left: &Operand, from: &Operand, to: &Operand, negated: bool) -> Condition {
    let Term::Column(name) = &left.term else { return Condition::Meaningless };
    match (Time::named(name), time(from), time(to)) {
        (Some(column), Some(from), Some(to)) => Condition::TimeBetween { column, from, to, negated },
        _ => Condition::Meaningless,
    }
}

/// RFC 3339, or nanoseconds since the epoch.
fn time(operand: &Operand) -> Option<Timestamp> {
    match &operand.term {
        Term::Number(nanos) => nanos.parse().ok().map(Timestamp::from_nanos),
        Term::Text(text) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            Some(Timestamp::from_nanos(u64::try_from(time.as_nanosecond()).unwrap_or(0)))
        }
        _ => None,
    }
}
