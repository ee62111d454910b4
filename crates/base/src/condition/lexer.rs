//! The text of a condition -> tokens with their places.

use super::Place;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// A bare word: a keyword or a name.
    Word(String),
    /// A name in backticks.
    Quoted(String),
    Text(String),
    /// As it was written; whether it is whole decides who uses it.
    Number(String),
    /// `= != < <= > >=`, and `<=>` and other signs that nobody takes.
    Sign(&'static str),
    End,
    /// Nothing that begins a token, or a text without an end. Nothing follows.
    Garbage(String),
}

impl Token {
    /// As an error shows it.
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Word(text) | Self::Quoted(text) | Self::Text(text) | Self::Number(text) | Self::Garbage(text) => text,
            Self::Sign(_) | Self::End => "",
        }
    }

    /// Keywords are told by their letters, whatever their case.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) place: Place,
}

/// Longer ones first.
const SIGNS: [&str; 21] =
    ["<=>", "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ",", "-", "+", ".", ";", "*", "/", "%", "&", "|", "^"];

/// The last one is the end, or garbage.
pub(super) fn tokens(text: &str) -> Vec<Placed> {
    let mut tokens = Vec::new();
    let mut rest = after_blank(text);
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '\'' | '"' => text_literal(rest, first),
            '`' => quoted(rest),
            '0'..='9' => number(rest),
            _ if first.is_alphabetic() || matches!(first, '_' | '@' | '$') => word(rest),
            _ => sign(rest),
        };
        let start = text.len() - rest.len();
        let is_garbage = matches!(token, Token::Garbage(_));
        tokens.push(Placed { token, place: start..start + length });
        if is_garbage {
            return tokens;
        }
        rest = after_blank(&rest[length..]);
    }
    tokens.push(Placed { token: Token::End, place: text.len()..text.len() });
    tokens
}

/// Behind white space and comments.
fn after_blank(mut rest: &str) -> &str {
    loop {
        rest = rest.trim_start();
        let comment = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            return rest;
        };
        rest = &rest[comment..];
    }
}

/// A quote inside is doubled or follows a backslash.
fn text_literal(rest: &str, quote: char) -> (Token, usize) {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                let Some((_, escaped)) = characters.next() else { break };
                text.push(unescaped(escaped));
            }
            _ if character == quote => {
                if characters.peek().is_some_and(|(_, next)| *next == quote) {
                    characters.next();
                    text.push(quote);
                } else {
                    return (Token::Text(text), at + quote.len_utf8());
                }
            }
            _ => text.push(character),
        }
    }
    (Token::Garbage(text), rest.len())
}

fn unescaped(character: char) -> char {
    match character {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        other => other,
    }
}

fn quoted(rest: &str) -> (Token, usize) {
    match rest[1..].find('`') {
        Some(length) if length > 0 => (Token::Quoted(rest[1..=length].to_owned()), length + 2),
        _ => (Token::Garbage(rest[1..].to_owned()), rest.len()),
    }
}

fn number(rest: &str) -> (Token, usize) {
    let mut length = 0;
    let bytes = rest.as_bytes();
    while length < bytes.len() {
        let takes = match bytes[length] {
            b'0'..=b'9' | b'.' => true,
            b'e' | b'E' => bytes[..length].iter().all(|byte| !byte.is_ascii_alphabetic()),
            b'+' | b'-' => length > 0 && bytes[length - 1].eq_ignore_ascii_case(&b'e'),
            _ => false,
        };
        if !takes {
            break;
        }
        length += 1;
    }
    (Token::Number(rest[..length].to_owned()), length)
}

fn word(rest: &str) -> (Token, usize) {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '@' | '$' | '.');
    let length = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
    (Token::Word(rest[..length].to_owned()), length)
}

fn sign(rest: &str) -> (Token, usize) {
    let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) else {
        let garbage = rest.chars().next().map(String::from).unwrap_or_default();
        let length = garbage.len();
        return (Token::Garbage(garbage), length);
    };
    // Two ways to write one thing.
    let token = Token::Sign(if sign == "<>" { "!=" } else { sign });
    (token, sign.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        tokens(text).into_iter().map(|placed| format!("{:?}", placed.token)).collect()
    }

    #[test]
    fn words_names_texts_numbers_and_signs() {
        assert_eq!(
            shown("`My Name`<>'it''s' AND x>=-1.5e3"),
            [
                "Quoted(\"My Name\")",
                "Sign(\"!=\")",
                "Text(\"it's\")",
                "Word(\"AND\")",
                "Word(\"x\")",
                "Sign(\">=\")",
                "Sign(\"-\")",
                "Number(\"1.5e3\")",
                "End",
            ]
        );
    }

    #[test]
    fn comments_are_blank() {
        assert_eq!(shown("a /* b */ = -- c\n1"), ["Word(\"a\")", "Sign(\"=\")", "Number(\"1\")", "End"]);
    }

    #[test]
    fn an_open_text_is_garbage() {
        assert_eq!(shown("x 'open").last().unwrap(), "Garbage(\"open\")");
        assert_eq!(shown("x `open").last().unwrap(), "Garbage(\"open\")");
        assert_eq!(shown("x § y").last().unwrap(), "Garbage(\"§\")");
    }
}
