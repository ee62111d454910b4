//! The language of conditions that clients search with: the `WHERE` of an SQL statement and
//! what may stand behind it, as text and as a tree. Which names there are, and what may be
//! compared with what, is for those who search.

mod lexer;
mod parser;

use std::fmt;

pub use parser::{parse, parse_some};

/// Where the condition begins in the statement that the incumbent wraps around it; places
/// in error messages count from there.
const STATEMENT: &str = "select * from table1 where ";

/// What was asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Parsed {
    pub condition: Option<Tree>,
    pub group_by: Vec<Operand>,
    /// Each with whether it descends.
    pub order_by: Vec<(Operand, bool)>,
    pub has_limit: bool,
}

/// A condition.
#[derive(Clone, PartialEq, Debug)]
pub enum Tree {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare {
        left: Operand,
        operator: &'static str,
        right: Operand,
    },
    Between {
        left: Operand,
        negated: bool,
        from: Operand,
        to: Operand,
    },
    IsNull {
        left: Operand,
        negated: bool,
    },
    /// `IS TRUE` and its like.
    IsOther {
        left: Operand,
    },
    /// An operand with nothing to compare it with.
    Alone(Operand),
}

/// One side of a comparison.
#[derive(Clone, PartialEq, Debug)]
pub enum Operand {
    Column(String),
    Text(String),
    Number(String),
    Bool(bool),
    Null,
    Signed {
        sign: &'static str,
        operand: Box<Self>,
    },
    List(Vec<Self>),
    Function(String),
    /// In parentheses.
    Inner(Box<Tree>),
    /// Arithmetic; nothing takes it.
    Binary,
}

/// Not even the grammar holds. The text is for the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Bytes of the condition before the end of what was not expected; none if there is no
    /// condition at all.
    end: Option<usize>,
    near: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.end.map_or(1, |end| STATEMENT.len() + end + 1);
        write!(f, "syntax error at position {place}")?;
        if self.near.is_empty() { Ok(()) } else { write!(f, " near '{}'", self.near) }
    }
}

impl std::error::Error for Malformed {}
