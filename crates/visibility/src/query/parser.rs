//! Tokens -> a tree, by the grammar of SQL conditions. Names and types are not looked at.
//!
//! ```text
//!  query := [or] [GROUP BY column, ..] [ORDER BY column [ASC|DESC], ..] [LIMIT n] [;]
//!  or    := and (OR and)*          and := not (AND not)*         not := NOT not | condition
//!  condition := ( or ) | operand [ comparison operand | [NOT] IN (operand, ..) | [NOT] STARTS_WITH operand
//!             | [NOT] BETWEEN operand AND operand | IS [NOT] NULL ]
//! ```

use super::Malformed;
use super::lexer::{Placed, Token, tokens};

/// A request must not exhaust the stack.
const DEPTH_MAX: usize = 100;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Tree {
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

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Operand {
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
    /// Arithmetic; nothing takes it.
    Binary,
}

impl Operand {
    /// As clients know it from errors.
    pub(super) fn shown_kind(&self) -> &'static str {
        match self {
            Self::Column(_) => "*sqlparser.ColName",
            Self::Text(_) | Self::Number(_) => "*sqlparser.SQLVal",
            Self::Signed { operand, .. } if matches!(**operand, Self::Number(_)) => "*sqlparser.SQLVal",
            Self::Signed { .. } => "*sqlparser.UnaryExpr",
            Self::Bool(_) => "sqlparser.BoolVal",
            Self::Null => "*sqlparser.NullVal",
            Self::List(_) => "sqlparser.ValTuple",
            Self::Function(_) => "*sqlparser.FuncExpr",
            Self::Binary => "*sqlparser.BinaryExpr",
        }
    }
}

#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Parsed {
    pub(super) condition: Option<Tree>,
    pub(super) group_by: Vec<Operand>,
    /// Each with whether it descends.
    pub(super) order_by: Vec<(Operand, bool)>,
    pub(super) has_limit: bool,
}

pub(super) fn parse(text: &str) -> Result<Parsed, Malformed> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let mut parsed = Parsed::default();
    if !parser.at_clause() {
        parsed.condition = Some(parser.or()?);
    }
    if parser.takes("group") {
        parser.expect("by")?;
        parsed.group_by = parser.listed(Parser::value)?;
    }
    if parser.takes("order") {
        parser.expect("by")?;
        parsed.order_by = parser.listed(Parser::ordering)?;
    }
    if parser.takes("limit") {
        parser.value()?;
        parsed.has_limit = true;
    }
    parser.takes_sign(";");
    match parser.peek() {
        Token::End => Ok(parsed),
        _ => Err(parser.malformed()),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].token
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        // The last one is the end, which is never passed.
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
        token
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let there = self.peek().is(keyword);
        if there {
            self.take();
        }
        there
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Token::Sign(found) if *found == sign);
        if there {
            self.take();
        }
        there
    }

    fn expect(&mut self, keyword: &str) -> Result<(), Malformed> {
        if self.takes(keyword) { Ok(()) } else { Err(self.malformed()) }
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), Malformed> {
        if self.takes_sign(sign) { Ok(()) } else { Err(self.malformed()) }
    }

    fn malformed(&self) -> Malformed {
        let Placed { token, end } = &self.tokens[self.next];
        let near = token.shown();
        let is_keyword = matches!(token, Token::Word(word) if is_keyword(word));
        Malformed { end: *end, near: if is_keyword { near.to_lowercase() } else { near.to_owned() } }
    }

    fn at_clause(&self) -> bool {
        let token = self.peek();
        *token == Token::End || token.is("group") || token.is("order") || token.is("limit")
    }

    fn or(&mut self) -> Result<Tree, Malformed> {
        let mut tree = self.and()?;
        while self.takes("or") {
            tree = Tree::Or(Box::new(tree), Box::new(self.and()?));
        }
        Ok(tree)
    }

    fn and(&mut self) -> Result<Tree, Malformed> {
        let mut tree = self.not()?;
        while self.takes("and") {
            tree = Tree::And(Box::new(tree), Box::new(self.not()?));
        }
        Ok(tree)
    }

    fn not(&mut self) -> Result<Tree, Malformed> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.malformed());
        }
        let tree = if self.takes("not") {
            Tree::Not(Box::new(self.not()?))
        } else if self.takes_sign("(") {
            let tree = self.or()?;
            self.expect_sign(")")?;
            tree
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn condition(&mut self) -> Result<Tree, Malformed> {
        let left = self.value()?;
        for sign in ["=", "!=", "<=>", "<=", ">=", "<", ">"] {
            if self.takes_sign(sign) {
                return Ok(Tree::Compare { left, operator: sign, right: self.value()? });
            }
        }
        if self.takes("is") {
            let negated = self.takes("not");
            return Ok(if self.takes("null") {
                Tree::IsNull { left, negated }
            } else if self.takes("true") || self.takes("false") {
                Tree::IsOther { left }
            } else {
                return Err(self.malformed());
            });
        }
        let negated = self.takes("not");
        let named = |plain, not| if negated { not } else { plain };
        if self.takes("in") {
            self.expect_sign("(")?;
            let list = Operand::List(self.listed(Self::value)?);
            self.expect_sign(")")?;
            return Ok(Tree::Compare { left, operator: named("in", "not in"), right: list });
        }
        if self.takes("starts_with") {
            let operator = named("starts_with", "not starts_with");
            return Ok(Tree::Compare { left, operator, right: self.value()? });
        }
        if self.takes("like") {
            return Ok(Tree::Compare { left, operator: named("like", "not like"), right: self.value()? });
        }
        if self.takes("between") {
            let from = self.value()?;
            self.expect("and")?;
            return Ok(Tree::Between { left, negated, from, to: self.value()? });
        }
        if negated {
            return Err(self.malformed());
        }
        Ok(Tree::Alone(left))
    }

    /// An operand, or arithmetic with several.
    fn value(&mut self) -> Result<Operand, Malformed> {
        let mut value = self.operand()?;
        while ["+", "-", "*", "/", "%"].into_iter().any(|sign| self.takes_sign(sign)) {
            self.operand()?;
            value = Operand::Binary;
        }
        Ok(value)
    }

    fn operand(&mut self) -> Result<Operand, Malformed> {
        for sign in ["-", "+"] {
            if self.takes_sign(sign) {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(self.malformed());
                }
                let operand = Box::new(self.operand()?);
                self.depth -= 1;
                return Ok(Operand::Signed { sign, operand });
            }
        }
        let operand = match self.peek().clone() {
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Operand::Bool(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Operand::Bool(false),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Operand::Null,
            Token::Word(word) if is_keyword(&word) => return Err(self.malformed()),
            Token::Word(name) | Token::Quoted(name) => Operand::Column(name),
            Token::Text(text) => Operand::Text(text),
            Token::Number(number) => Operand::Number(number),
            Token::Sign(_) | Token::End => return Err(self.malformed()),
        };
        self.take();
        match operand {
            Operand::Column(name) if self.takes_sign("(") => {
                if !self.takes_sign(")") {
                    self.listed(Self::value)?;
                    self.expect_sign(")")?;
                }
                Ok(Operand::Function(name))
            }
            operand => Ok(operand),
        }
    }

    fn ordering(&mut self) -> Result<(Operand, bool), Malformed> {
        let column = self.value()?;
        let descends = self.takes("desc");
        if !descends {
            self.takes("asc");
        }
        Ok((column, descends))
    }

    fn listed<T>(&mut self, item: fn(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let mut items = vec![item(self)?];
        while self.takes_sign(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

/// Words that cannot be names unless they are quoted.
fn is_keyword(word: &str) -> bool {
    const KEYWORDS: [&str; 18] = [
        "and",
        "or",
        "not",
        "in",
        "between",
        "is",
        "starts_with",
        "like",
        "group",
        "order",
        "by",
        "limit",
        "select",
        "from",
        "where",
        "asc",
        "desc",
        "exists",
    ];
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}
