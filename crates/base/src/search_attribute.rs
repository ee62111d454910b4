//! Search attributes: their types, the names that the server knows by itself, and the slots
//! that custom ones are registered in.

use std::collections::HashMap;

use serde_json::Value;

/// What values an attribute takes. The numbers are those of the public enum
/// `IndexedValueType`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(i32)]
pub enum AttributeType {
    /// Words, matched one by one.
    Text = 1,
    /// Matched as a whole.
    Keyword = 2,
    Int = 3,
    Double = 4,
    Bool = 5,
    Datetime = 6,
    /// Several keywords.
    KeywordList = 7,
}

impl AttributeType {
    pub const ALL: [Self; 7] =
        [Self::Text, Self::Keyword, Self::Int, Self::Double, Self::Bool, Self::Datetime, Self::KeywordList];

    /// Of the public enum.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i32 == number)
    }

    /// As clients and SDKs write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "Text",
            Self::Keyword => "Keyword",
            Self::Int => "Int",
            Self::Double => "Double",
            Self::Bool => "Bool",
            Self::Datetime => "Datetime",
            Self::KeywordList => "KeywordList",
        }
    }

    /// As people write it, whatever the case.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Whether a value is of this type. A list of one stands for its value, whatever the
    /// type; several values have only keyword lists.
    #[must_use]
    pub fn takes(self, value: &Value) -> bool {
        match value {
            Value::Array(items) => {
                let fits = items.iter().all(|item| item.is_null() || self.takes_one(item));
                fits && (items.len() <= 1 || self == Self::KeywordList)
            }
            value => self != Self::KeywordList && self.takes_one(value),
        }
    }

    fn takes_one(self, value: &Value) -> bool {
        match self {
            Self::Text | Self::Keyword | Self::KeywordList => value.is_string(),
            Self::Int => value.is_i64(),
            Self::Double => value.is_number(),
            Self::Bool => value.is_boolean(),
            Self::Datetime => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        }
    }

    /// How many custom attributes of this type a namespace may have.
    #[must_use]
    pub fn slots(self) -> u32 {
        match self {
            Self::Keyword => 10,
            _ => 3,
        }
    }

    /// The name of a slot, from 1; this is what a namespace's configuration shows.
    #[must_use]
    pub fn slot(self, number: u32) -> String {
        format!("{}{number:02}", self.name())
    }

    /// The type of a slot.
    #[must_use]
    pub fn of_slot(slot: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| (1..=kind.slots()).any(|number| kind.slot(number) == slot))
    }
}

/// The attributes that a namespace has registered.
pub type CustomAttributes = std::collections::BTreeMap<String, AttributeType>;

/// Who may set an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setter {
    Anyone,
    Server,
}

/// What every execution has. No request can set them.
pub const SYSTEM_ATTRIBUTES: [(&str, AttributeType); 16] = [
    ("WorkflowId", AttributeType::Keyword),
    ("RunId", AttributeType::Keyword),
    ("WorkflowType", AttributeType::Keyword),
    ("StartTime", AttributeType::Datetime),
    ("ExecutionTime", AttributeType::Datetime),
    ("CloseTime", AttributeType::Datetime),
    ("ExecutionStatus", AttributeType::Keyword),
    ("TaskQueue", AttributeType::Keyword),
    ("HistoryLength", AttributeType::Int),
    ("ExecutionDuration", AttributeType::Int),
    ("StateTransitionCount", AttributeType::Int),
    ("HistorySizeBytes", AttributeType::Int),
    ("ParentWorkflowId", AttributeType::Keyword),
    ("ParentRunId", AttributeType::Keyword),
    ("RootWorkflowId", AttributeType::Keyword),
    ("RootRunId", AttributeType::Keyword),
];

/// Set by the server and by SDKs, and whether a request may set them.
pub const PREDEFINED_ATTRIBUTES: [(&str, AttributeType, Setter); 17] = [
    ("TemporalChangeVersion", AttributeType::KeywordList, Setter::Anyone),
    ("BinaryChecksums", AttributeType::KeywordList, Setter::Anyone),
    ("BuildIds", AttributeType::KeywordList, Setter::Anyone),
    ("BatcherNamespace", AttributeType::Keyword, Setter::Anyone),
    ("BatcherUser", AttributeType::Keyword, Setter::Anyone),
    ("TemporalScheduledStartTime", AttributeType::Datetime, Setter::Anyone),
    ("TemporalScheduledById", AttributeType::Keyword, Setter::Anyone),
    ("TemporalSchedulePaused", AttributeType::Bool, Setter::Anyone),
    ("TemporalNamespaceDivision", AttributeType::Keyword, Setter::Anyone),
    ("TemporalPauseInfo", AttributeType::KeywordList, Setter::Anyone),
    ("TemporalReportedProblems", AttributeType::KeywordList, Setter::Anyone),
    ("TemporalWorkerDeploymentVersion", AttributeType::Keyword, Setter::Server),
    ("TemporalWorkflowVersioningBehavior", AttributeType::Keyword, Setter::Server),
    ("TemporalWorkerDeployment", AttributeType::Keyword, Setter::Server),
    ("TemporalUsedWorkerDeploymentVersions", AttributeType::KeywordList, Setter::Server),
    ("TemporalExternalPayloadCount", AttributeType::Int, Setter::Server),
    ("TemporalExternalPayloadSizeBytes", AttributeType::Int, Setter::Server),
];

/// What a namespace has registered, from its slots and the names given to them.
#[must_use]
pub fn custom_attributes<'a>(aliases: impl IntoIterator<Item = (&'a String, &'a String)>) -> CustomAttributes {
    let named = aliases.into_iter().filter(|(_, alias)| !alias.is_empty());
    named.filter_map(|(slot, alias)| Some((alias.clone(), AttributeType::of_slot(slot)?))).collect()
}

/// Gives a name to the first free slot of its type; the map is from slots to names. False:
/// all are taken.
#[must_use]
pub fn name_slot(aliases: &mut HashMap<String, String>, name: &str, kind: AttributeType) -> bool {
    let free = (1..=kind.slots()).map(|number| kind.slot(number)).find(|slot| !aliases.contains_key(slot));
    let found = free.is_some();
    aliases.extend(free.map(|slot| (slot, name.to_owned())));
    found
}

/// Names that begin so are the server's.
const RESERVED_PREFIX: &str = "Temporal";
/// Fields of the incumbent's stores.
const RESERVED: [&str; 4] = ["NamespaceId", "Memo", "MemoEncoding", "VisibilityTaskKey"];

/// Whether no namespace may register an attribute of this name.
#[must_use]
pub fn is_reserved_attribute(name: &str) -> bool {
    builtin_attribute(name).is_some() || name.starts_with(RESERVED_PREFIX) || RESERVED.contains(&name)
}

/// The type under which a value that was stored some time ago is shown, and found. None: it
/// is not, for its name is registered no longer, or with a type that the value is not of.
#[must_use]
pub fn shown_type(name: &str, json: &[u8], custom: &CustomAttributes) -> Option<AttributeType> {
    let kind = custom.get(name).copied().or_else(|| builtin_attribute(name).map(|(kind, _)| kind))?;
    kind.takes(&serde_json::from_slice(json).ok()?).then_some(kind)
}

/// The type of an attribute that the server knows by itself.
#[must_use]
pub fn builtin_attribute(name: &str) -> Option<(AttributeType, Setter)> {
    let system = SYSTEM_ATTRIBUTES.iter().map(|(known, kind)| (*known, *kind, Setter::Server));
    let mut all = system.chain(PREDEFINED_ATTRIBUTES);
    all.find(|(known, _, _)| *known == name).map(|(_, kind, setter)| (kind, setter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_name_their_type() {
        assert_eq!(AttributeType::Keyword.slot(10), "Keyword10");
        assert_eq!(AttributeType::of_slot("KeywordList03"), Some(AttributeType::KeywordList));
        assert_eq!(AttributeType::of_slot("KeywordList04"), None);
        assert_eq!(AttributeType::of_slot("Keyword1"), None);
        for kind in AttributeType::ALL {
            assert_eq!(AttributeType::from_number(kind as i32), Some(kind));
            assert_eq!(AttributeType::of_slot(&kind.slot(1)), Some(kind));
        }
    }

    #[test]
    fn names_take_the_slots_of_their_type_until_none_is_free() {
        let mut aliases = HashMap::new();
        for name in ["a", "b", "c"] {
            assert!(name_slot(&mut aliases, name, AttributeType::Int));
        }
        assert!(!name_slot(&mut aliases, "d", AttributeType::Int));
        aliases.remove("Int02");
        assert!(name_slot(&mut aliases, "d", AttributeType::Int));
        let named = custom_attributes(&aliases);
        assert_eq!(named.keys().collect::<Vec<_>>(), ["a", "c", "d"]);
        assert_eq!(AttributeType::of_name("keywordLIST"), Some(AttributeType::KeywordList));
        assert_eq!(AttributeType::of_name("Unspecified"), None);
    }

    #[test]
    fn what_no_longer_fits_is_not_shown() {
        use AttributeType::{Bool, Datetime, Double, Int, Keyword, KeywordList, Text};
        let shown = |json: &str, kind| {
            let custom = [("A".to_owned(), kind)].into_iter().collect();
            shown_type("A", json.as_bytes(), &custom)
        };
        for (json, fits) in [
            ("1", &[Int, Double][..]),
            ("1.5", &[Double]),
            ("true", &[Bool]),
            ("\"red\"", &[Keyword, Text]),
            ("\"2026-01-01T00:00:00Z\"", &[Keyword, Text, Datetime]),
            ("[\"a\",\"b\"]", &[KeywordList]),
            ("[\"a\"]", &[Keyword, Text, KeywordList]),
            ("[1]", &[Int, Double]),
            ("{}", &[]),
            ("null", &[]),
            ("{", &[]),
        ] {
            for kind in AttributeType::ALL {
                assert_eq!(shown(json, kind), fits.contains(&kind).then_some(kind), "{json} as {}", kind.name());
            }
        }
        assert_eq!(shown_type("A", b"1", &CustomAttributes::new()), None, "registered no longer");
        assert_eq!(shown_type("BuildIds", b"[]", &CustomAttributes::new()), Some(KeywordList));
    }

    #[test]
    fn only_what_the_server_knows_is_builtin() {
        assert_eq!(builtin_attribute("CloseTime"), Some((AttributeType::Datetime, Setter::Server)));
        assert_eq!(builtin_attribute("BuildIds"), Some((AttributeType::KeywordList, Setter::Anyone)));
        assert_eq!(builtin_attribute("Mine"), None);
        for reserved in ["CloseTime", "BuildIds", "TemporalMine", "Memo"] {
            assert!(is_reserved_attribute(reserved), "{reserved}");
        }
        assert!(!is_reserved_attribute("Mine"));
    }
}
