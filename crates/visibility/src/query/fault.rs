//! What is wrong with a query, where, and what would be right there.

use std::fmt::Display;

use base::CustomAttributes;
use base::condition::{Place, marked};

/// Names that are suggested; more would bury the message.
const SUGGESTED_MAX: usize = 20;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    /// In the words of the incumbent.
    text: String,
    place: Option<Place>,
    expected: String,
}

impl Fault {
    fn new(text: String) -> Self {
        Self { text, place: None, expected: String::new() }
    }

    pub(super) fn unsupported(what: impl Display) -> Self {
        Self::new(format!("operation is not supported: {what}"))
    }

    pub(super) fn invalid(what: impl Display) -> Self {
        Self::new(format!("invalid expression: {what}"))
    }

    /// Nobody has registered this name.
    pub(super) fn unknown(name: &str, custom: &CustomAttributes) -> Self {
        let builtin = base::SYSTEM_ATTRIBUTES.iter().map(|(known, _)| *known);
        let predefined = base::PREDEFINED_ATTRIBUTES.iter().map(|(known, ..)| *known);
        let mut all = custom.keys().map(String::as_str).chain(builtin).chain(predefined);
        let expected = if let Some(meant) = all.find(|known| known.eq_ignore_ascii_case(name)) {
            format!("{meant}: names are written in the case that they were registered in")
        } else if custom.is_empty() {
            "a search attribute that the server knows; this namespace has registered none".to_owned()
        } else {
            let shown: Vec<&str> = custom.keys().map(String::as_str).take(SUGGESTED_MAX).collect();
            let more = if custom.len() > SUGGESTED_MAX { ", ..." } else { "" };
            format!(
                "a search attribute that the server knows or this namespace has registered: {}{more}",
                shown.join(", ")
            )
        };
        Self::new(format!("invalid search attribute: {name}")).expected(expected)
    }

    /// The innermost place is the most exact one, and the first to be told.
    pub(super) fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    pub(super) fn expected(mut self, what: impl Display) -> Self {
        self.expected = what.to_string();
        self
    }

    pub(super) fn shown(&self, query: &str) -> String {
        match &self.place {
            Some(place) => format!("{}\n{}", self.text, marked(query, place, &format!("expected {}", self.expected))),
            None => self.text.clone(),
        }
    }
}
