//! The language of conditions that clients search with: the `WHERE` of an SQL statement and
//! what may stand behind it, as text and as a tree. Which names there are, and what may be
//! compared with what, is for those who search.

mod lexer;
mod mark;
mod parser;

use std::fmt;
use std::ops::Range;

pub use mark::marked;
pub use parser::{parse, parse_some};

/// Where the condition begins in the statement that the incumbent wraps around it; places
/// in error messages count from there.
const STATEMENT: &str = "select * from table1 where ";

/// Bytes of the text.
pub type Place = Range<usize>;

/// What was asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Parsed {
    pub condition: Option<Tree>,
    pub group_by: Vec<Operand>,
    /// Each with whether it descends.
    pub order_by: Vec<(Operand, bool)>,
    pub limit: Option<Place>,
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
        operator_place: Place,
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

/// One side of a comparison, and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Operand {
    pub term: Term,
    pub place: Place,
}

/// What an operand is.
#[derive(Clone, PartialEq, Debug)]
pub enum Term {
    Column(String),
    Text(String),
    Number(String),
    Bool(bool),
    Null,
    Signed {
        sign: &'static str,
        operand: Box<Operand>,
    },
    List(Vec<Operand>),
    Function(String),
    /// In parentheses.
    Inner(Box<Tree>),
    /// Arithmetic; nothing takes it.
    Binary,
}

/// Not even the grammar holds. The text is for the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Of what was not expected; none if there is no condition at all.
    place: Option<Place>,
    near: String,
    expected: &'static str,
}

impl Malformed {
    /// The condition with a mark where it went wrong, and what would have been right there.
    #[must_use]
    pub fn marked(&self, text: &str) -> String {
        marked(text, &self.place.clone().unwrap_or_default(), &format!("expected {}", self.expected))
    }
}

/// In the words of the incumbent, which tools know.
impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.as_ref().map_or(1, |place| STATEMENT.len() + place.end + 1);
        write!(f, "syntax error at position {place}")?;
        if self.near.is_empty() { Ok(()) } else { write!(f, " near '{}'", self.near) }
    }
}

impl std::error::Error for Malformed {}
