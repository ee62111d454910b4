//! From tokens to a condition. What is well formed but means nothing for workers becomes
//! [`Condition::Meaningless`].

use api::Error;
use base::Timestamp;

use super::lexer::{Kind, Token, tokens};
use super::{Condition, Operator, Text, Time};

/// Conditions inside one another. The parser calls itself for each.
const DEPTH_MAX: usize = 100;

/// One side of a test.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Operand {
    Column(String),
    Text(String),
    Number(String),
    /// A calculation, a function, a constant.
    Other,
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    is_empty: bool,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Condition, Error> {
    let mut parser = Parser { tokens: tokens(text), at: 0, is_empty: text.is_empty(), depth: 0 };
    let condition = parser.or()?;
    parser.tail()?;
    Ok(condition)
}

impl Parser {
    fn or(&mut self) -> Result<Condition, Error> {
        let mut left = self.and()?;
        while self.accept("or") {
            left = Condition::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Condition, Error> {
        let mut left = self.not()?;
        while self.accept("and") {
            left = Condition::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Condition, Error> {
        if self.accept("not") {
            self.deeper(Self::not)?;
            return Ok(Condition::Meaningless);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Condition, Error> {
        let left = match self.parenthesis()? {
            // `(a = b)` is a condition in itself, unless something is compared with it.
            Some(inner) if !self.continues_test() => return Ok(inner),
            Some(_) => Operand::Other,
            None => self.operand()?,
        };
        if self.accept("is") {
            let negated = self.accept("not");
            let is_null = self.accept("null");
            if !is_null && !self.accept("true") && !self.accept("false") {
                return Err(self.unexpected());
            }
            return Ok(if is_null { null_test(&left, negated) } else { Condition::Meaningless });
        }
        let negated = self.accept("not");
        if self.accept("starts_with") {
            let operator = if negated { Operator::NotStartsWith } else { Operator::StartsWith };
            let right = self.operand()?;
            return Ok(comparison(&left, operator, &right));
        }
        if self.accept("between") {
            let from = self.operand()?;
            if !self.accept("and") {
                return Err(self.unexpected());
            }
            let to = self.operand()?;
            return Ok(between(&left, &from, &to, negated));
        }
        if self.accept("like") || self.accept("regexp") || self.accept("rlike") {
            self.operand()?;
            return Ok(Condition::Meaningless);
        }
        if self.accept("in") {
            self.list()?;
            return Ok(Condition::Meaningless);
        }
        if negated {
            return Err(self.unexpected());
        }
        let Some(operator) = self.comparison_sign() else { return Ok(Condition::Meaningless) };
        let right = self.operand()?;
        Ok(operator.map_or(Condition::Meaningless, |operator| comparison(&left, operator, &right)))
    }

    /// A condition in parentheses.
    fn parenthesis(&mut self) -> Result<Option<Condition>, Error> {
        if !self.accept_sign("(") {
            return Ok(None);
        }
        let inner = self.deeper(Self::or)?;
        self.expect_sign(")")?;
        Ok(Some(inner))
    }

    /// `Some(None)` for a comparison that no worker passes.
    fn comparison_sign(&mut self) -> Option<Option<Operator>> {
        let Kind::Sign(sign) = self.peek().kind else { return None };
        let operator = match sign {
            "=" => Some(Operator::Equal),
            "!=" | "<>" => Some(Operator::NotEqual),
            "<" => Some(Operator::Less),
            "<=" => Some(Operator::LessOrEqual),
            ">" => Some(Operator::Greater),
            ">=" => Some(Operator::GreaterOrEqual),
            "<=>" => None,
            _ => return None,
        };
        self.at += 1;
        Some(operator)
    }

    fn continues_test(&self) -> bool {
        let next = self.peek();
        ["is", "in", "between", "like", "regexp", "rlike", "starts_with", "not"]
            .iter()
            .any(|word| next.is_keyword(word))
            || matches!(next.kind, Kind::Sign("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" | "<=>"))
    }

    /// One value, or a calculation with several.
    fn operand(&mut self) -> Result<Operand, Error> {
        let mut operand = self.value()?;
        while let Kind::Sign("+" | "-" | "*" | "/" | "%" | "&" | "|" | "^") = self.peek().kind {
            self.at += 1;
            self.value()?;
            operand = Operand::Other;
        }
        Ok(operand)
    }

    fn value(&mut self) -> Result<Operand, Error> {
        if self.peek().is_sign("-") {
            self.at += 1;
            self.deeper(Self::value)?;
            return Ok(Operand::Other);
        }
        if self.parenthesis()?.is_some() {
            return Ok(Operand::Other);
        }
        let operand = match &self.peek().kind {
            Kind::Text(text) => Operand::Text(text.clone()),
            Kind::Number(number) => Operand::Number(number.clone()),
            Kind::Name(name) => Operand::Column(name.clone()),
            Kind::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" | "false" | "null" => Operand::Other,
                "and" | "or" | "not" | "is" | "in" | "like" | "between" | "order" | "group" | "limit" | "where"
                | "select" | "xor" | "starts_with" => return Err(self.unexpected()),
                _ => Operand::Column(word.clone()),
            },
            Kind::Sign(_) | Kind::End | Kind::Garbage(_) => return Err(self.unexpected()),
        };
        self.at += 1;
        if matches!(operand, Operand::Column(_)) && self.peek().is_sign("(") {
            self.list()?;
            return Ok(Operand::Other);
        }
        Ok(operand)
    }

    /// Values in parentheses.
    fn list(&mut self) -> Result<(), Error> {
        self.expect_sign("(")?;
        if self.accept_sign(")") {
            return Ok(());
        }
        loop {
            self.deeper(Self::or)?;
            if !self.accept_sign(",") {
                return self.expect_sign(")");
            }
        }
    }

    /// What a statement may have after its condition changes nothing, but for a limit.
    fn tail(&mut self) -> Result<(), Error> {
        for word in ["group", "order"] {
            if self.accept(word) {
                if !self.accept("by") {
                    return Err(self.unexpected());
                }
                loop {
                    self.operand()?;
                    let _ = self.accept("asc") || self.accept("desc");
                    if !self.accept_sign(",") {
                        break;
                    }
                }
            }
        }
        if self.accept("limit") {
            self.operand()?;
            self.end()?;
            return Err(Error::InvalidArgument("operation is not supported: 'limit' clause".to_owned()));
        }
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        self.accept_sign(";");
        if self.peek().kind == Kind::End { Ok(()) } else { Err(self.unexpected()) }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= DEPTH_MAX {
            return Err(Error::InvalidArgument("malformed query: too many conditions inside one another".to_owned()));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn peek(&self) -> &Token {
        // The last token is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn accept(&mut self, keyword: &str) -> bool {
        let is_it = self.peek().is_keyword(keyword);
        self.at += usize::from(is_it);
        is_it
    }

    fn accept_sign(&mut self, sign: &str) -> bool {
        let is_it = self.peek().is_sign(sign);
        self.at += usize::from(is_it);
        is_it
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), Error> {
        if self.accept_sign(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Error {
        self.peek().unexpected(self.is_empty)
    }
}

fn null_test(left: &Operand, negated: bool) -> Condition {
    let Operand::Column(name) = left else { return Condition::Meaningless };
    match (Text::named(name), Time::named(name)) {
        (Some(column), _) => Condition::TextIsNull { column, negated },
        (_, Some(column)) => Condition::TimeIsNull { column, negated },
        _ => Condition::Meaningless,
    }
}

fn comparison(left: &Operand, operator: Operator, right: &Operand) -> Condition {
    let Operand::Column(name) = left else { return Condition::Meaningless };
    match (Text::named(name), Time::named(name), right) {
        (Some(column), _, Operand::Text(value)) => Condition::Text { column, operator, value: value.clone() },
        (_, Some(column), _) => match time(right) {
            Some(value) => Condition::Time { column, operator, value },
            None => Condition::Meaningless,
        },
        _ => Condition::Meaningless,
    }
}

fn between(left: &Operand, from: &Operand, to: &Operand, negated: bool) -> Condition {
    let Operand::Column(name) = left else { return Condition::Meaningless };
    match (Time::named(name), time(from), time(to)) {
        (Some(column), Some(from), Some(to)) => Condition::TimeBetween { column, from, to, negated },
        _ => Condition::Meaningless,
    }
}

/// RFC 3339, or nanoseconds since the epoch.
fn time(operand: &Operand) -> Option<Timestamp> {
    match operand {
        Operand::Number(nanos) => nanos.parse().ok().map(Timestamp::from_nanos),
        Operand::Text(text) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            Some(Timestamp::from_nanos(u64::try_from(time.as_nanosecond()).unwrap_or(0)))
        }
        Operand::Column(_) | Operand::Other => None,
    }
}
