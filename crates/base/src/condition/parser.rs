//! Tokens -> a tree, by the grammar of SQL conditions. Names and types are not looked at.
//!
//! ```text
//!  query := [or] [GROUP BY column, ..] [ORDER BY column [ASC|DESC], ..] [LIMIT n] [;]
//!  or    := and (OR and)*          and := not (AND not)*         not := NOT not | condition
//!  condition := operand [ comparison operand | [NOT] IN (operand, ..) | [NOT] STARTS_WITH operand
//!             | [NOT] BETWEEN operand AND operand | IS [NOT] NULL ]
//!  operand := ( or ) | name | text | number | name(operand, ..) | arithmetic with them
//! ```

use super::lexer::{Placed, Token, tokens};
use super::{Malformed, Operand, Parsed, Tree};

/// A request must not exhaust the stack.
const DEPTH_MAX: usize = 100;

/// A condition, or none, and what stands behind it.
///
/// # Errors
/// It is not in the language.
pub fn parse(text: &str) -> Result<Parsed, Malformed> {
    let mut parser = Parser::new(text);
    let condition = if parser.at_clause() { None } else { Some(parser.or()?) };
    parser.clauses(condition)
}

/// The same of a text that must have a condition.
///
/// # Errors
/// It is not in the language, or has no condition.
pub fn parse_some(text: &str) -> Result<(Tree, Parsed), Malformed> {
    let mut parser = Parser::new(text);
    if text.is_empty() {
        return Err(Malformed { end: None, near: String::new() });
    }
    let condition = parser.or()?;
    Ok((condition, parser.clauses(None)?))
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn new(text: &str) -> Self {
        Self { tokens: tokens(text), next: 0, depth: 0 }
    }

    fn clauses(&mut self, condition: Option<Tree>) -> Result<Parsed, Malformed> {
        let mut parsed = Parsed { condition, ..Parsed::default() };
        if self.takes("group") {
            self.expect("by")?;
            parsed.group_by = self.listed(Self::value)?;
        }
        if self.takes("order") {
            self.expect("by")?;
            parsed.order_by = self.listed(Self::ordering)?;
        }
        if self.takes("limit") {
            self.value()?;
            parsed.has_limit = true;
        }
        self.takes_sign(";");
        match self.peek() {
            Token::End => Ok(parsed),
            _ => Err(self.malformed()),
        }
    }

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
        Malformed { end: Some(*end), near: if is_keyword { near.to_lowercase() } else { near.to_owned() } }
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
        } else {
            match self.condition()? {
                // `(a = b)` is a condition in itself, unless something is compared with it.
                Tree::Alone(Operand::Inner(tree)) => *tree,
                tree => tree,
            }
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
        for (word, operator) in [
            ("like", named("like", "not like")),
            ("regexp", named("regexp", "not regexp")),
            ("rlike", named("regexp", "not regexp")),
        ] {
            if self.takes(word) {
                return Ok(Tree::Compare { left, operator, right: self.value()? });
            }
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
        while ["+", "-", "*", "/", "%", "&", "|", "^"].into_iter().any(|sign| self.takes_sign(sign)) {
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
        if self.takes_sign("(") {
            let tree = self.or()?;
            self.expect_sign(")")?;
            return Ok(Operand::Inner(Box::new(tree)));
        }
        let operand = match self.peek().clone() {
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Operand::Bool(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Operand::Bool(false),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Operand::Null,
            Token::Word(word) if is_keyword(&word) => return Err(self.malformed()),
            Token::Word(name) | Token::Quoted(name) => Operand::Column(name),
            Token::Text(text) => Operand::Text(text),
            Token::Number(number) => Operand::Number(number),
            Token::Sign(_) | Token::End | Token::Garbage(_) => return Err(self.malformed()),
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
    const KEYWORDS: [&str; 19] = [
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
        "xor",
    ];
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(text: &str) -> Tree {
        parse(text).unwrap().condition.unwrap()
    }

    #[test]
    fn parentheses_are_conditions_unless_something_is_compared_with_them() {
        assert_eq!(condition("((a = 1))"), condition("a = 1"));
        assert_eq!(condition("(a = 1) AND b IS NULL"), condition("a = 1 and (b is null)"));
        let Tree::Compare { left: Operand::Inner(inner), .. } = condition("(a = 1) = 2") else {
            panic!("no comparison")
        };
        assert_eq!(*inner, condition("a = 1"));
    }

    #[test]
    fn the_first_thing_that_is_wrong_is_named() {
        let place = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(place("a == §"), "syntax error at position 32");
        assert_eq!(place("a = §"), "syntax error at position 34 near '§'");
        assert_eq!(place("a = 1 SELECT"), "syntax error at position 40 near 'select'");
        assert_eq!(parse_some("").unwrap_err().to_string(), "syntax error at position 1");
        assert_eq!(parse_some("ORDER BY a").unwrap_err().to_string(), "syntax error at position 33 near 'order'");
        assert_eq!(parse("ORDER BY a").unwrap().condition, None);
    }

    #[test]
    fn depth_is_bounded() {
        for deep in ["(".repeat(10_000), "not ".repeat(10_000), format!("a = {}1", "-".repeat(10_000))] {
            assert!(parse(&deep).is_err());
        }
    }
}
