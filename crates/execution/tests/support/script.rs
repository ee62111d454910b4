//! The text form of scenarios.
//!
//! ```text
//! # a comment                        kept as it is, like empty lines
//! > poll worker=w1                   a command: words and key=value pairs
//! + timer id=t after=5s              more of the same command
//! reply ...                          what came out; rewritten with UPDATE_EXPECT=1
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug)]
pub(crate) enum Item {
    Verbatim(String),
    Command { line: usize, text: Vec<String>, call: Call, more: Vec<Call>, expected: String },
}

/// `verb word key=value`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub(crate) verb: String,
    pub(crate) words: Vec<String>,
    options: BTreeMap<String, String>,
}

pub(crate) fn parse(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match (line.split_at_checked(2), items.last_mut()) {
            (Some(("> ", rest)), _) => items.push(Item::Command {
                line: number + 1,
                text: vec![line.to_owned()],
                call: Call::parse(rest),
                more: Vec::new(),
                expected: String::new(),
            }),
            (Some(("+ ", rest)), Some(Item::Command { text, more, expected, .. })) if expected.is_empty() => {
                text.push(line.to_owned());
                more.push(Call::parse(rest));
            }
            (_, Some(Item::Command { expected, .. })) if !line.is_empty() && !line.starts_with('#') => {
                *expected += line;
                *expected += "\n";
            }
            _ => items.push(Item::Verbatim(line.to_owned())),
        }
    }
    items
}

impl Call {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = split(text).into_iter();
        let mut call = Self { verb: parts.next().expect("a command has a verb"), ..Self::default() };
        for part in parts {
            match part.split_once('=') {
                Some((key, value)) => {
                    call.options.insert(key.to_owned(), value.to_owned());
                }
                None => call.words.push(part),
            }
        }
        call
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    pub(crate) fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default().to_owned()
    }

    pub(crate) fn text_or(&self, key: &str, default: &str) -> String {
        self.get(key).unwrap_or(default).to_owned()
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key).map(|value| value.parse().ok().unwrap_or_else(|| panic!("{key}={value} is not a number")))
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.words.iter().any(|given| given == word)
    }

    pub(crate) fn duration(&self, key: &str) -> Option<prost_types::Duration> {
        self.get(key).map(signed_duration)
    }
}

/// `5s`, `1.5s`, `2m`, `1h`, `3d`, `250ms`.
pub(crate) fn duration(text: &str) -> Duration {
    let value = signed_duration(text);
    let (seconds, nanos) = (value.seconds, value.nanos);
    Duration::new(seconds.try_into().expect("positive"), nanos.try_into().expect("positive"))
}

fn signed_duration(text: &str) -> prost_types::Duration {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or_else(|| panic!("{text}: no unit"));
    let (number, unit) = text.split_at(end);
    let unit_ms: f64 = match unit {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3600e3,
        "d" => 86_400e3,
        _ => panic!("{text}: unknown unit"),
    };
    let millis = (number.parse::<f64>().unwrap_or_else(|_| panic!("{text}: not a number")) * unit_ms).round() as i64;
    prost_types::Duration { seconds: millis / 1000, nanos: (millis % 1000) as i32 * 1_000_000 }
}

/// At spaces, except within double quotes, which are dropped.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                if begun {
                    parts.push(std::mem::take(&mut part));
                }
                begun = false;
            }
            c => {
                part.push(c);
                begun = true;
            }
        }
    }
    if begun {
        parts.push(part);
    }
    parts
}
