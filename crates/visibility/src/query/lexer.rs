//! Query text -> tokens with their places.

use super::Malformed;

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
}

impl Token {
    /// As an error shows it.
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Word(text) | Self::Quoted(text) | Self::Text(text) | Self::Number(text) => text,
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
    /// Bytes before the end of the token.
    pub(super) end: usize,
}

/// Longer ones first.
const SIGNS: [&str; 18] =
    ["<=>", "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ",", "-", "+", ".", ";", "*", "/", "%"];

pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, Malformed> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '\'' | '"' => text_literal(rest, first, text.len() - rest.len())?,
            '`' => quoted(rest, text.len() - rest.len())?,
            '0'..='9' => number(rest),
            _ if first.is_alphabetic() || first == '_' || first == '@' => word(rest),
            _ => sign(rest, text.len() - rest.len())?,
        };
        let end = text.len() - rest.len() + length;
        tokens.push(Placed { token, end });
        rest = rest[length..].trim_start();
    }
    tokens.push(Placed { token: Token::End, end: text.len() });
    Ok(tokens)
}

/// A quote inside is doubled or follows a backslash.
fn text_literal(rest: &str, quote: char, begin: usize) -> Result<(Token, usize), Malformed> {
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
                    return Ok((Token::Text(text), at + quote.len_utf8()));
                }
            }
            _ => text.push(character),
        }
    }
    Err(Malformed { end: begin + rest.len(), near: text })
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

fn quoted(rest: &str, begin: usize) -> Result<(Token, usize), Malformed> {
    match rest[1..].find('`') {
        Some(length) if length > 0 => Ok((Token::Quoted(rest[1..=length].to_owned()), length + 2)),
        _ => Err(Malformed { end: begin + rest.len(), near: rest.to_owned() }),
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

fn sign(rest: &str, begin: usize) -> Result<(Token, usize), Malformed> {
    let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) else {
        let near = rest.chars().next().map(String::from).unwrap_or_default();
        return Err(Malformed { end: begin + near.len(), near });
    };
    // Two ways to write one thing.
    let token = Token::Sign(if sign == "<>" { "!=" } else { sign });
    Ok((token, sign.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let tokens = tokens(text).expect("it is well formed");
        tokens.into_iter().map(|placed| format!("{:?}", placed.token)).collect()
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
    fn an_open_text_is_malformed() {
        assert!(tokens("x = 'open").is_err());
        assert!(tokens("x = `open").is_err());
        assert!(tokens("x = §").is_err());
    }
}
