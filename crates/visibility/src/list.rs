//! From matching executions to a page of them, or to counts.
//!
//! Lists are ordered by what the query says, then by close time with open ones first, start
//! time and run id, each descending. A page token is the place of the last execution of its
//! page in that order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::document::{Document, Field, status_name};
use crate::query::Query;
use crate::value::Value;

/// Where an execution stands in a list.
#[derive(Clone, PartialEq, Debug)]
struct Place {
    /// Of what the query orders by.
    keys: Vec<Option<Value>>,
    close: Option<i128>,
    start: i128,
    run_id: String,
}

/// The token is not one of this query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadToken;

/// Keeps the executions of one page out of all that it is shown.
pub(crate) struct Page<'a> {
    query: &'a Query,
    size: usize,
    after: Option<Place>,
    best: Vec<(Place, Document)>,
}

impl<'a> Page<'a> {
    pub(crate) fn new(query: &'a Query, size: usize, token: &[u8]) -> Result<Self, BadToken> {
        let after =
            if token.is_empty() { None } else { Some(Place::decode(token, query.order_by.len()).ok_or(BadToken)?) };
        Ok(Self { query, size, after, best: Vec::new() })
    }

    pub(crate) fn offer(&mut self, document: Document) {
        if !self.query.filter.matches(&document) {
            return;
        }
        let place = Place::of(&document, self.query);
        if self.after.as_ref().is_some_and(|after| self.order(&place, after).is_le()) {
            return;
        }
        self.best.push((place, document));
        // One more than the page tells whether there is a next one.
        if self.best.len() > 2 * (self.size + 1) {
            self.settle();
        }
    }

    /// The page, and the token of the next one, if there is more.
    pub(crate) fn finish(mut self) -> (Vec<Document>, Vec<u8>) {
        self.settle();
        let has_more = self.best.len() > self.size;
        self.best.truncate(self.size);
        let token = match self.best.last() {
            Some((place, _)) if has_more => place.encode(),
            _ => Vec::new(),
        };
        (self.best.into_iter().map(|(_, document)| document).collect(), token)
    }

    fn settle(&mut self) {
        let mut best = std::mem::take(&mut self.best);
        best.sort_by(|(left, _), (right, _)| self.order(left, right));
        best.truncate(self.size + 1);
        self.best = best;
    }

    fn order(&self, left: &Place, right: &Place) -> Ordering {
        for (index, (_, descends)) in self.query.order_by.iter().enumerate() {
            let ordering = by_key(left.keys[index].as_ref(), right.keys[index].as_ref(), *descends);
            if ordering.is_ne() {
                return ordering;
            }
        }
        let closed = |place: &Place| place.close.unwrap_or(i128::MAX);
        let default = closed(right).cmp(&closed(left)).then_with(|| right.start.cmp(&left.start));
        default.then_with(|| right.run_id.cmp(&left.run_id))
    }
}

/// What has no value comes last either way.
fn by_key(left: Option<&Value>, right: Option<&Value>, descends: bool) -> Ordering {
    match (left, right) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => {
            let ordering = left.compared(right).unwrap_or(Ordering::Equal);
            if descends { ordering.reverse() } else { ordering }
        }
    }
}

impl Place {
    fn of(document: &Document, query: &Query) -> Self {
        Self {
            keys: query.order_by.iter().map(|(field, _)| document.value(field)).collect(),
            close: document.close_nanos(),
            start: document.start_nanos(),
            run_id: document.run_id().to_owned(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let keys: Vec<Json> = self.keys.iter().map(|key| key.as_ref().map_or(Json::Null, to_json)).collect();
        let close = self.close.map(|nanos| nanos.to_string());
        json!({ "keys": keys, "close": close, "start": self.start.to_string(), "run": self.run_id }).to_string().into()
    }

    fn decode(token: &[u8], keys: usize) -> Option<Self> {
        let json: Json = serde_json::from_slice(token).ok()?;
        let nanos = |name: &str| json.get(name)?.as_str()?.parse::<i128>().ok();
        let found = json.get("keys")?.as_array()?;
        let is_open = json.get("close")?.is_null();
        let place = Self {
            keys: found.iter().map(from_json).collect(),
            close: if is_open { None } else { Some(nanos("close")?) },
            start: nanos("start")?,
            run_id: json.get("run")?.as_str()?.to_owned(),
        };
        (place.keys.len() == keys).then_some(place)
    }
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!({ "b": value }),
        Value::Int(value) => json!({ "i": value }),
        Value::Double(value) => json!({ "d": value }),
        Value::Time(value) => json!({ "t": value.to_string() }),
        Value::Text(value) => json!({ "s": value }),
        Value::List(values) => json!({ "l": values.iter().map(to_json).collect::<Vec<_>>() }),
    }
}

fn from_json(json: &Json) -> Option<Value> {
    let (kind, value) = json.as_object()?.iter().next()?;
    match kind.as_str() {
        "b" => value.as_bool().map(Value::Bool),
        "i" => value.as_i64().map(Value::Int),
        "d" => value.as_f64().map(Value::Double),
        "t" => value.as_str()?.parse().ok().map(Value::Time),
        "s" => value.as_str().map(|text| Value::Text(text.to_owned())),
        "l" => Some(Value::List(value.as_array()?.iter().filter_map(from_json).collect())),
        _ => None,
    }
}

/// How many match, and how many of each group.
pub(crate) struct Counts<'a> {
    query: &'a Query,
    pub(crate) total: i64,
    groups: BTreeMap<Group, i64>,
}

/// What a group has in common, in the order of groups: states by their number, as the
/// incumbent has them, names by their letters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Group {
    Status(i64),
    Named(String),
}

impl<'a> Counts<'a> {
    pub(crate) fn new(query: &'a Query) -> Self {
        Self { query, total: 0, groups: BTreeMap::new() }
    }

    pub(crate) fn offer(&mut self, document: &Document) {
        if !self.query.filter.matches(document) {
            return;
        }
        self.total += 1;
        if let Some(field) = &self.query.group_by {
            *self.groups.entry(Group::of(document, field)).or_default() += 1;
        }
    }

    /// None: the query asks for no groups.
    pub(crate) fn groups(&self) -> Option<impl Iterator<Item = (&str, i64)>> {
        self.query.group_by.as_ref()?;
        Some(self.groups.iter().map(|(group, count)| (group.name(), *count)))
    }
}

impl Group {
    /// What has no value is in the group without a name.
    fn of(document: &Document, field: &Field) -> Self {
        match document.value(field) {
            Some(Value::Int(number)) => Self::Status(number),
            Some(Value::Text(text)) => Self::Named(text),
            Some(other) => Self::Named(other.literal()),
            None => Self::Named(String::new()),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Status(number) => status_name(i32::try_from(*number).unwrap_or_default()),
            Self::Named(name) => name,
        }
    }
}
