//! Words, numbers, texts and signs of a condition.

use api::Error;

/// The condition is the end of a whole statement in the incumbent, and positions in its
/// messages count from the statement's start.
const POSITION_OFFSET: usize = "select * from table1 where ".len();

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word(String),
    /// A name in backticks: never a keyword.
    Name(String),
    Number(String),
    Text(String),
    Sign(&'static str),
    End,
    /// Nothing that begins a token, or a text without an end.
    Garbage(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Behind the last byte.
    end: usize,
}

/// Longer signs first.
const SIGNS: [&str; 21] =
    ["<=>", "<=", "<>", ">=", "!=", "=", "<", ">", "(", ")", ",", ";", "+", "-", "*", "/", "%", "&", "|", "^", "."];

impl Token {
    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        matches!(&self.kind, Kind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(&self.kind, Kind::Sign(this) if *this == sign)
    }

    /// The parser did not expect this one.
    pub(super) fn unexpected(&self, is_empty: bool) -> Error {
        let position = if is_empty { 1 } else { POSITION_OFFSET + self.end + 1 };
        let near = match &self.kind {
            Kind::Word(text) | Kind::Name(text) | Kind::Number(text) | Kind::Text(text) | Kind::Garbage(text) => {
                format!(" near '{text}'")
            }
            Kind::Sign(_) | Kind::End => String::new(),
        };
        Error::InvalidArgument(format!("malformed query: syntax error at position {position}{near}"))
    }
}

/// The last token is the end, or the first garbage.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = skip_blank(text, at);
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { kind: Kind::End, end: at });
            return tokens;
        };
        let (kind, length) = match first {
            '\'' | '"' => quoted(rest, first),
            '`' => match rest[1..].find('`') {
                Some(length) if length > 0 => (Kind::Name(rest[1..=length].to_owned()), length + 2),
                _ => (Kind::Garbage(rest[1..].to_owned()), rest.len()),
            },
            _ if first.is_ascii_digit() => {
                let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                (Kind::Number(rest[..length].to_owned()), length)
            }
            _ if is_word(first) => {
                let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                (Kind::Word(rest[..length].to_owned()), length)
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Kind::Sign(sign), sign.len()),
                None => (Kind::Garbage(first.to_string()), first.len_utf8()),
            },
        };
        at += length;
        let is_garbage = matches!(kind, Kind::Garbage(_));
        tokens.push(Token { kind, end: at });
        if is_garbage {
            return tokens;
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '@' || c == '$'
}

/// White space and comments.
fn skip_blank(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        let comment = if trimmed.starts_with("--") {
            trimmed.find('\n').unwrap_or(trimmed.len())
        } else if trimmed.starts_with("/*") {
            trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
        } else {
            return at;
        };
        at += comment;
    }
}

/// A text in quotes; a quote inside is doubled, or has a backslash before it.
fn quoted(rest: &str, quote: char) -> (Kind, usize) {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            value.extend(chars.next().map(|(_, escaped)| match escaped {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '0' => '\0',
                other => other,
            }));
        } else if c == quote {
            if chars.next_if(|(_, next)| *next == quote).is_none() {
                return (Kind::Text(value), at + 1);
            }
            value.push(quote);
        } else {
            value.push(c);
        }
    }
    (Kind::Garbage(value), rest.len())
}
