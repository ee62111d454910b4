//! The settings of one node: for each key its value and where that comes from.
//!
//! ```text
//! flags  >  environment  >  file  >  default
//! ```
//! Everything that is wrong is found, not only the first thing, and each complaint names
//! its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, VARIABLE_PREFIX, closest};
use super::value::Value;

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// What is wrong, one complaint per line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub(crate) struct Problems(pub(crate) Vec<String>);

#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// None: not set, and there is no default.
    pub(crate) value: Option<Value>,
    pub(crate) origin: Origin,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Setting>,
    problems: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let default = |key: &Key| match key.default {
            "" => None,
            text => Some(key.kind.parse(text).expect("a test reads every default")),
        };
        let values = KEYS
            .iter()
            .map(|key| (key.name, Setting { value: default(key), origin: Origin::Default }))
            .collect::<BTreeMap<_, _>>();
        Self { values, problems: Vec::new() }
    }
}

impl Settings {
    /// Lays the values of a file over what is there.
    pub(crate) fn file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(path, &text),
            Err(error) => self.problems.push(format!("cannot read {}: {error}", path.display())),
        }
    }

    /// As [`Settings::file`], with the text already read.
    pub(crate) fn text(&mut self, path: &Path, text: &str) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line =
            |offset: usize| 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count();
        if !errors.is_empty() {
            self.problems.extend(errors.iter().map(|error| {
                let place = line(error.span().map_or(0, |span| span.start));
                format!("{}:{place}: {}", path.display(), error.message())
            }));
            return;
        }
        self.table(path, &line, "", table.get_ref());
    }

    fn table(&mut self, path: &Path, line: &dyn Fn(usize) -> usize, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            let name = format!("{prefix}{}", key.get_ref());
            let origin = Origin::File { path: path.to_owned(), line: line(key.span().start) };
            match (Key::named(&name), value.get_ref()) {
                (Some(key), value) => match key.kind.read(value) {
                    Ok(value) => self.set(key, value, origin),
                    Err(problem) => self.problems.push(format!("{origin}: {name}: {problem}")),
                },
                (None, DeValue::Table(inner)) if is_section(&name) => {
                    self.table(path, line, &format!("{name}."), inner);
                }
                (None, DeValue::Table(_)) => {
                    let sections = KEYS.iter().filter_map(|key| key.name.rsplit_once('.')).map(|(section, _)| section);
                    self.problems.push(format!("{origin}: unknown section [{name}]{}", meant(&name, sections)));
                }
                (None, _) => {
                    let keys = KEYS.iter().map(|key| key.name);
                    self.problems.push(format!("{origin}: unknown key {name:?}{}", meant(&name, keys)));
                }
            }
        }
    }

    /// Lays the environment's `PERPETUO_SECTION__KEY` over what is there. Other variables
    /// that start with `PERPETUO_` belong to somebody else.
    pub(crate) fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (name, text) in variables.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX) && name.contains("__")) {
            match KEYS.iter().find(|key| key.variable() == name) {
                Some(key) => self.parse(key, &text, Origin::Variable(name)),
                None => {
                    let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
                    let meant = meant(&name, known.iter().map(String::as_str));
                    self.problems.push(format!("unknown environment variable {name}{meant}"));
                }
            }
        }
    }

    /// Lays one flag over what is there; an empty text unsets.
    pub(crate) fn flag(&mut self, name: &str, text: &str, flag: &str) {
        let key = Key::named(name).expect("flags are made from the table");
        self.parse(key, text, Origin::Flag(flag.to_owned()));
    }

    fn parse(&mut self, key: &'static Key, text: &str, origin: Origin) {
        match key.kind.parse(text) {
            Ok(value) => self.set(key, value, origin),
            Err(problem) => self.problems.push(format!("{origin}: {}: {problem}", key.name)),
        }
    }

    fn set(&mut self, key: &'static Key, value: Value, origin: Origin) {
        self.values.insert(key.name, Setting { value: Some(value), origin });
    }

    /// Notes that the value of a key cannot be used.
    pub(crate) fn complain(&mut self, key: &str, problem: &str) {
        let line = match &self.get(key).origin {
            Origin::Default => format!("{key}: {problem}"),
            origin => format!("{origin}: {key}: {problem}"),
        };
        self.problems.push(line);
    }

    /// # Errors
    /// All complaints so far.
    pub(crate) fn check(&mut self) -> Result<(), Problems> {
        match std::mem::take(&mut self.problems) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(Problems(problems)),
        }
    }

    pub(crate) fn get(&self, key: &str) -> &Setting {
        self.values.get(key).expect("every key of the table is there")
    }

    /// Empty when it is not set.
    pub(crate) fn string(&self, key: &str) -> String {
        match &self.get(key).value {
            Some(Value::Text(text)) => text.clone(),
            None => String::new(),
            other => unreachable!("{key} is not a text: {other:?}"),
        }
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        match &self.get(key).value {
            Some(Value::List(items)) => items.clone(),
            None => Vec::new(),
            other => unreachable!("{key} is not a list: {other:?}"),
        }
    }

    /// Zero when it is not set.
    pub(crate) fn number(&self, key: &str) -> u64 {
        match &self.get(key).value {
            Some(Value::Integer(number) | Value::Bytes(number)) => *number,
            None => 0,
            other => unreachable!("{key} is not a number: {other:?}"),
        }
    }

    pub(crate) fn count(&self, key: &str) -> usize {
        usize::try_from(self.number(key)).unwrap_or(usize::MAX)
    }

    pub(crate) fn duration(&self, key: &str) -> Duration {
        match &self.get(key).value {
            Some(Value::Duration(duration)) => *duration,
            None => Duration::ZERO,
            other => unreachable!("{key} is not a duration: {other:?}"),
        }
    }

    pub(crate) fn boolean(&self, key: &str) -> bool {
        match &self.get(key).value {
            Some(Value::Boolean(value)) => *value,
            None => false,
            other => unreachable!("{key} is not a boolean: {other:?}"),
        }
    }
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn meant<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    closest(unknown, known).map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}
