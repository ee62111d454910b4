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
use super::{Malformed, Operand, Parsed, Place, Term, Tree};

/// A request must not exhaust the stack.
const DEPTH_MAX: usize = 100;

const A_VALUE: &str = "the name of a search attribute or a value";
const LESS_DEPTH: &str = "fewer levels: conditions may be nested 100 deep";

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
        return Err(Malformed { place: None, near: String::new(), expected: "a condition" });
    }
    let condition = parser.or()?;
    Ok((condition, parser.clauses(None)?))
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, tokens: tokens(text), next: 0, depth: 0 }
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
        let place = self.place();
        if self.takes("limit") {
            self.value()?;
            parsed.limit = Some(place);
        }
        self.takes_sign(";");
        match self.peek() {
            Token::End => Ok(parsed),
            _ => Err(self.malformed("AND, OR, GROUP BY, ORDER BY or the end of the query")),
        }
    }

    /// Of the next token.
    fn place(&self) -> Place {
        self.tokens[self.next].place.clone()
    }

    /// From `start` to the end of what was taken last.
    fn since(&self, start: usize) -> Place {
        let end = self.next.checked_sub(1).map_or(start, |last| self.tokens[last].place.end);
        start..end.max(start)
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

    fn expect(&mut self, keyword: &'static str) -> Result<(), Malformed> {
        let shown = if keyword == "and" { "AND and the upper end of the range" } else { "BY" };
        if self.takes(keyword) { Ok(()) } else { Err(self.malformed(shown)) }
    }

    fn expect_sign(&mut self, sign: &'static str) -> Result<(), Malformed> {
        let shown = if sign == "(" { "( and a list of values" } else { "a closing parenthesis" };
        if self.takes_sign(sign) { Ok(()) } else { Err(self.malformed(shown)) }
    }

    fn malformed(&self, expected: &'static str) -> Malformed {
        let Placed { token, place } = &self.tokens[self.next];
        let near = token.shown();
        let is_keyword = matches!(token, Token::Word(word) if is_keyword(word));
        Malformed {
            place: Some(place.clone()),
            near: if is_keyword { near.to_lowercase() } else { near.to_owned() },
            // A text without an end reaches to that of the query, which one character need not.
            expected: if matches!(token, Token::Garbage(_)) && self.opens_quote(place) {
                "the closing quote of this text"
            } else {
                expected
            },
        }
    }

    fn opens_quote(&self, place: &Place) -> bool {
        self.text[place.start..].starts_with(['\'', '"', '`'])
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
            return Err(self.malformed(LESS_DEPTH));
        }
        let tree = if self.takes("not") {
            Tree::Not(Box::new(self.not()?))
        } else {
            match self.condition()? {
                // `(a = b)` is a condition in itself, unless something is compared with it.
                Tree::Alone(Operand { term: Term::Inner(tree), .. }) => *tree,
                tree => tree,
            }
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn condition(&mut self) -> Result<Tree, Malformed> {
        let left = self.value()?;
        let start = self.place().start;
        for sign in ["=", "!=", "<=>", "<=", ">=", "<", ">"] {
            if self.takes_sign(sign) {
                let operator_place = self.since(start);
                return Ok(Tree::Compare { left, operator: sign, operator_place, right: self.value()? });
            }
        }
        if self.takes("is") {
            let negated = self.takes("not");
            return Ok(if self.takes("null") {
                Tree::IsNull { left, negated }
            } else if self.takes("true") || self.takes("false") {
                Tree::IsOther { left }
            } else {
                return Err(self.malformed(if negated { "NULL" } else { "NULL or NOT NULL" }));
            });
        }
        let negated = self.takes("not");
        let named = |plain, not| if negated { not } else { plain };
        if self.takes("in") {
            let operator_place = self.since(start);
            let start = self.place().start;
            self.expect_sign("(")?;
            let list = self.listed(Self::value)?;
            self.expect_sign(")")?;
            let right = Operand { term: Term::List(list), place: self.since(start) };
            return Ok(Tree::Compare { left, operator: named("in", "not in"), operator_place, right });
        }
        for (word, operator) in [
            ("starts_with", named("starts_with", "not starts_with")),
            ("like", named("like", "not like")),
            ("regexp", named("regexp", "not regexp")),
            ("rlike", named("regexp", "not regexp")),
        ] {
            if self.takes(word) {
                let operator_place = self.since(start);
                return Ok(Tree::Compare { left, operator, operator_place, right: self.value()? });
            }
        }
        if self.takes("between") {
            let from = self.value()?;
            self.expect("and")?;
            return Ok(Tree::Between { left, negated, from, to: self.value()? });
        }
        if negated {
            return Err(self.malformed("IN, BETWEEN or STARTS_WITH behind NOT"));
        }
        Ok(Tree::Alone(left))
    }

    /// An operand, or arithmetic with several.
    fn value(&mut self) -> Result<Operand, Malformed> {
        let mut value = self.operand()?;
        while ["+", "-", "*", "/", "%", "&", "|", "^"].into_iter().any(|sign| self.takes_sign(sign)) {
            self.operand()?;
            value = Operand { term: Term::Binary, place: self.since(value.place.start) };
        }
        Ok(value)
    }

    fn operand(&mut self) -> Result<Operand, Malformed> {
        let start = self.place().start;
        let term = self.term()?;
        Ok(Operand { term, place: self.since(start) })
    }

    fn term(&mut self) -> Result<Term, Malformed> {
        for sign in ["-", "+"] {
            if self.takes_sign(sign) {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(self.malformed(LESS_DEPTH));
                }
                let operand = Box::new(self.operand()?);
                self.depth -= 1;
                return Ok(Term::Signed { sign, operand });
            }
        }
        if self.takes_sign("(") {
            let tree = self.or()?;
            self.expect_sign(")")?;
            return Ok(Term::Inner(Box::new(tree)));
        }
        let term = match self.peek().clone() {
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Term::Bool(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Term::Bool(false),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Term::Null,
            Token::Word(word) if is_keyword(&word) => return Err(self.malformed(A_VALUE)),
            Token::Word(name) | Token::Quoted(name) => Term::Column(name),
            Token::Text(text) => Term::Text(text),
            Token::Number(number) => Term::Number(number),
            Token::Sign(_) | Token::End | Token::Garbage(_) => return Err(self.malformed(A_VALUE)),
        };
        self.take();
        match term {
            Term::Column(name) if self.takes_sign("(") => {
                if !self.takes_sign(")") {
                    self.listed(Self::value)?;
                    self.expect_sign(")")?;
                }
                Ok(Term::Function(name))
            }
            term => Ok(term),
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
        assert_eq!(condition("((a = 1))"), condition("  a = 1"));
        assert_eq!(condition("(a = 1) AND b IS NULL"), condition(" a = 1 and (b is null)"));
        let Tree::Compare { left: Operand { term: Term::Inner(inner), .. }, .. } = condition("(a = 1) = 2") else {
            panic!("no comparison")
        };
        assert_eq!(*inner, condition(" a = 1"));
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
    fn everything_knows_its_place() {
        let text = "a NOT IN (1, -x) OR (f(b) <= 'c' + 1) LIMIT 3";
        let parsed = parse(text).unwrap();
        assert_eq!(parsed.limit.map(|place| &text[place]), Some("LIMIT"));
        let Some(Tree::Or(left, right)) = parsed.condition else { panic!("no alternative") };
        let shown = |tree: Tree| match tree {
            Tree::Compare { left, operator_place, right, .. } => {
                [left.place, operator_place, right.place].map(|place| &text[place])
            }
            _ => panic!("no comparison"),
        };
        assert_eq!(shown(*left), ["a", "NOT IN", "(1, -x)"]);
        assert_eq!(shown(*right), ["f(b)", "<=", "'c' + 1"]);
    }

    #[test]
    fn the_place_is_marked_and_what_was_expected_is_said() {
        let marked = |text: &str| parse(text).unwrap_err().marked(text);
        let a_value = "the name of a search attribute or a value";
        let behind = "AND, OR, GROUP BY, ORDER BY or the end of the query";
        assert_eq!(marked("a ="), format!("  a =\n     ^ expected {a_value}"));
        assert_eq!(marked("a = and"), format!("  a = and\n      ^ expected {a_value}"));
        assert_eq!(marked("a = 1 b = 2"), format!("  a = 1 b = 2\n        ^ expected {behind}"));
        assert_eq!(marked("(a = 1"), "  (a = 1\n        ^ expected a closing parenthesis");
        assert_eq!(marked("a = 'x"), "  a = 'x\n      ^ expected the closing quote of this text");
        assert_eq!(marked("a is 3"), "  a is 3\n       ^ expected NULL or NOT NULL");
        assert_eq!(marked("a not 3"), "  a not 3\n        ^ expected IN, BETWEEN or STARTS_WITH behind NOT");
        assert_eq!(marked("GROUP a"), "  GROUP a\n        ^ expected BY");
        assert_eq!(parse_some("").unwrap_err().marked(""), "  \n  ^ expected a condition");
    }

    #[test]
    fn depth_is_bounded() {
        for deep in ["(".repeat(10_000), "not ".repeat(10_000), format!("a = {}1", "-".repeat(10_000))] {
            assert!(parse(&deep).is_err());
        }
    }
}
