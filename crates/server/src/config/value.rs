//! What a setting may be: its kinds, and how each is read from text (flags, environment)
//! and from TOML, and written again.

use std::fmt;
use std::time::Duration;

use toml::de::DeValue;

/// What a key accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    /// A file or directory.
    Path,
    /// `HOST:PORT`.
    Address,
    Integer {
        min: u64,
        max: u64,
    },
    Boolean,
    /// `500ms`, `10s`, `1m30s`, `72h`, `7d`.
    Duration,
    /// `2MiB`, `512KiB`, or a plain number of bytes.
    Bytes,
    /// A TOML array of strings; separated by commas as text.
    List,
    Choice(&'static [&'static str]),
}

/// A value of one of the kinds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(u64),
    Boolean(bool),
    Duration(Duration),
    Bytes(u64),
    List(Vec<String>),
}

const UNITS_OF_TIME: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const UNITS_OF_SIZE: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl Kind {
    /// How the documentation calls it.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Address => "`HOST:PORT`".to_owned(),
            Self::Integer { min, max } => format!("number, {min} to {max}"),
            Self::Boolean => "`true` or `false`".to_owned(),
            Self::Duration => "duration (`500ms`, `10s`, `1h30m`, `7d`)".to_owned(),
            Self::Bytes => "size (`512KiB`, `2MiB`)".to_owned(),
            Self::List => "list of texts".to_owned(),
            Self::Choice(choices) => {
                choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(" or ")
            }
        }
    }

    /// How the help of a flag calls it.
    pub(crate) const fn placeholder(self) -> &'static str {
        match self {
            Self::Text | Self::Choice(_) => "TEXT",
            Self::Path => "PATH",
            Self::Address => "HOST:PORT",
            Self::Integer { .. } => "NUMBER",
            Self::Boolean => "true|false",
            Self::Duration => "DURATION",
            Self::Bytes => "SIZE",
            Self::List => "A,B,...",
        }
    }

    /// Reads a value as flags and the environment have it.
    ///
    /// # Errors
    /// Says what was expected.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text | Self::Path => Ok(Value::Text(text.to_owned())),
            Self::Address => address(text).map(Value::Text),
            Self::Integer { .. } => match text.parse() {
                Ok(number) => self.in_range(number),
                Err(_) => Err(self.expected(&format!("{text:?}"))),
            },
            Self::Boolean => match text {
                "true" => Ok(Value::Boolean(true)),
                "false" => Ok(Value::Boolean(false)),
                _ => Err(self.expected(&format!("{text:?}"))),
            },
            Self::Duration => duration(text).map(Value::Duration).ok_or_else(|| self.expected(&format!("{text:?}"))),
            Self::Bytes => bytes(text).map(Value::Bytes).ok_or_else(|| self.expected(&format!("{text:?}"))),
            Self::List => Ok(Value::List(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            )),
            Self::Choice(choices) if choices.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Choice(_) => Err(self.expected(&format!("{text:?}"))),
        }
    }

    /// Reads a value of a TOML file. Numbers and booleans must not be in quotes, all
    /// else must be.
    ///
    /// # Errors
    /// Says what was expected.
    pub(crate) fn read(self, value: &DeValue<'_>) -> Result<Value, String> {
        match (self, value) {
            (Self::Integer { .. }, DeValue::Integer(number)) | (Self::Bytes, DeValue::Integer(number)) => {
                match u64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => self.in_range(number),
                    Err(_) => Err(self.expected(number.as_str())),
                }
            }
            (Self::Boolean, DeValue::Boolean(value)) => Ok(Value::Boolean(*value)),
            (Self::List, DeValue::Array(items)) => {
                let items = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
                items.collect::<Option<_>>().map(Value::List).ok_or_else(|| self.expected("other things"))
            }
            (Self::Integer { .. } | Self::Boolean | Self::List, _) => Err(self.expected(&a_toml(value))),
            (_, DeValue::String(text)) => self.parse(text),
            _ => Err(self.expected(&a_toml(value))),
        }
    }

    fn in_range(self, number: u64) -> Result<Value, String> {
        match self {
            Self::Integer { min, max } if (min..=max).contains(&number) => Ok(Value::Integer(number)),
            Self::Bytes => Ok(Value::Bytes(number)),
            _ => Err(self.expected(&number.to_string())),
        }
    }

    fn expected(self, found: &str) -> String {
        format!("expected {}, found {found}", self.describe().replace('`', ""))
    }
}

fn a_toml(value: &DeValue<'_>) -> String {
    match value.as_str() {
        Some(text) => format!("the text {text:?}"),
        None => format!("a TOML {}", value.type_str()),
    }
}

/// `HOST:PORT`; an IPv6 host stands in brackets. Empty means "not at all" where that is
/// possible.
fn address(text: &str) -> Result<String, String> {
    let wrong = || format!("expected HOST:PORT, found {text:?}");
    if text.is_empty() {
        return Ok(String::new());
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if host.is_empty() || (bare.is_none() && host.contains(':')) || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// One or more numbers, each with its unit.
fn duration(text: &str) -> Option<Duration> {
    let mut millis: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let (_, scale) = UNITS_OF_TIME.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*scale)?)?;
        rest = tail;
    }
    Some(Duration::from_millis(millis))
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim_start() {
        "" => 1,
        unit => UNITS_OF_SIZE.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// As a TOML file has it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
            Self::Duration(duration) => f.write_str(&quoted(&show_duration(*duration))),
            Self::Bytes(bytes) => f.write_str(&quoted(&show_bytes(*bytes))),
            Self::List(items) => {
                write!(f, "[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// In the largest unit that leaves no rest.
fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unit = UNITS_OF_TIME.iter().rev().find(|(name, scale)| *name != "d" && millis.is_multiple_of(*scale));
    match unit {
        Some((name, scale)) if millis > 0 => format!("{}{name}", millis / scale),
        _ => "0s".to_owned(),
    }
}

fn show_bytes(bytes: u64) -> String {
    match UNITS_OF_SIZE.iter().rev().find(|(_, scale)| bytes.is_multiple_of(*scale)) {
        Some((name, scale)) if bytes > 0 => format!("{}{name}", bytes / scale),
        _ => "0B".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_kind() {
        let number = Kind::Integer { min: 1, max: 9 };
        let cases = [
            (Kind::Duration, "1h30m", Ok("\"90m\"")),
            (Kind::Duration, "72h", Ok("\"72h\"")),
            (Kind::Duration, "7d", Ok("\"168h\"")),
            (Kind::Duration, "0s", Ok("\"0s\"")),
            (Kind::Duration, "10", Err("expected duration (500ms, 10s, 1h30m, 7d), found \"10\"")),
            (Kind::Duration, "", Err("expected duration (500ms, 10s, 1h30m, 7d), found \"\"")),
            (Kind::Duration, "10y", Err("expected duration (500ms, 10s, 1h30m, 7d), found \"10y\"")),
            (Kind::Bytes, "2MiB", Ok("\"2MiB\"")),
            (Kind::Bytes, "1000", Ok("\"1000B\"")),
            (Kind::Bytes, "2MB", Err("expected size (512KiB, 2MiB), found \"2MB\"")),
            (number, "3", Ok("3")),
            (number, "10", Err("expected number, 1 to 9, found 10")),
            (number, "-1", Err("expected number, 1 to 9, found \"-1\"")),
            (Kind::Boolean, "yes", Err("expected true or false, found \"yes\"")),
            (Kind::Address, "[::1]:7233", Ok("\"[::1]:7233\"")),
            (Kind::Address, "::1:7233", Err("expected HOST:PORT, found \"::1:7233\"")),
            (Kind::Address, "host:70000", Err("expected HOST:PORT, found \"host:70000\"")),
            (Kind::List, "a, b,", Ok("[\"a\", \"b\"]")),
            (Kind::Choice(&["x", "y"]), "z", Err("expected x or y, found \"z\"")),
        ];
        for (kind, text, expected) in cases {
            let found = kind.parse(text).map(|value| value.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{kind:?} {text:?}");
        }
    }
}
