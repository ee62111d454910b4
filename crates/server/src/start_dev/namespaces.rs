//! What the command line says about namespaces, made true at every start: those that are named
//! exist, and have the search attributes that are named.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base::{AttributeType, Entropy, NamespaceId, SystemEntropy};
use cluster::{Namespace, NamespaceChange, Namespaces};
use temporalio_protos::temporal::api::enums::v1::NamespaceState;
use temporalio_protos::temporal::api::namespace::v1::NamespaceConfig;
use tokio::time::Instant;

/// The longest that one change may take.
const CHANGE_MAX: Duration = Duration::from_secs(30);
/// Names in the banner; the rest is counted.
const SHOWN_MAX: usize = 20;

/// `NAME=TYPE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SearchAttribute {
    name: String,
    kind: AttributeType,
}

impl FromStr for SearchAttribute {
    type Err = String;

    /// The type in any case, as the official command line takes it.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, kind) = text.split_once('=').ok_or("expected NAME=TYPE")?;
        if name.is_empty() {
            return Err("the attribute has no name: expected NAME=TYPE".to_owned());
        }
        if base::is_reserved_attribute(name) {
            return Err(format!("the name {name} is the server's own"));
        }
        let kind = AttributeType::of_name(kind).ok_or_else(|| {
            let names: Vec<_> = AttributeType::ALL.into_iter().map(AttributeType::name).collect();
            format!("there is no type {kind:?}: expected one of {}", names.join(", "))
        })?;
        Ok(Self { name: name.to_owned(), kind })
    }
}

/// Each attribute once.
///
/// # Errors
/// One is named with two types.
pub(super) fn distinct(named: &[SearchAttribute]) -> anyhow::Result<BTreeMap<String, AttributeType>> {
    let mut distinct = BTreeMap::new();
    for SearchAttribute { name, kind } in named {
        match distinct.insert(name.clone(), *kind) {
            Some(other) if other != *kind => {
                bail!("--search-attribute names {name} twice, as {} and as {}", other.name(), kind.name())
            }
            _ => {}
        }
    }
    Ok(distinct)
}

/// Registers what is missing. What is there already stays as it is.
///
/// # Errors
/// An attribute is registered with another type, or all slots of its type are taken.
pub(super) async fn prepare(
    namespaces: &Namespaces,
    names: &[String],
    retention: Duration,
    attributes: &BTreeMap<String, AttributeType>,
) -> anyhow::Result<()> {
    for name in names {
        if namespaces.by_name(name).is_none() {
            let change = NamespaceChange::Register(new(name, retention));
            let made = namespaces.change(change, Instant::now() + CHANGE_MAX).await;
            made.with_context(|| format!("cannot register the namespace {name}"))?;
        }
        let namespace = namespaces.by_name(name).with_context(|| format!("the namespace {name} is gone"))?;
        let Some(changed) = with_attributes(&namespace, attributes)? else { continue };
        let change = NamespaceChange::Update { namespace: changed, version: namespace.version };
        let made = namespaces.change(change, Instant::now() + CHANGE_MAX).await;
        made.with_context(|| format!("cannot register the search attributes of the namespace {name}"))?;
    }
    Ok(())
}

/// None: all are there.
fn with_attributes(
    namespace: &Namespace,
    attributes: &BTreeMap<String, AttributeType>,
) -> anyhow::Result<Option<Namespace>> {
    let mut changed = namespace.clone();
    let aliases = &mut changed.config.custom_search_attribute_aliases;
    let registered = base::custom_attributes(&*aliases);
    for (name, kind) in attributes {
        let of = &namespace.name;
        match registered.get(name) {
            Some(known) if known == kind => {}
            Some(known) => bail!(
                "--search-attribute {name}={}: the namespace {of} has {name} registered as {}; remove it first \
                 (temporal operator search-attribute remove --namespace {of} --name {name}), or name it as it is",
                kind.name(),
                known.name()
            ),
            None if base::name_slot(aliases, name, *kind) => {}
            None => bail!(
                "--search-attribute {name}={}: the namespace {of} has {} search attributes of this type already, and \
                 there can be no more",
                kind.name(),
                kind.slots()
            ),
        }
    }
    Ok((changed != *namespace).then_some(changed))
}

/// As one that the cluster is born with.
fn new(name: &str, retention: Duration) -> Namespace {
    Namespace {
        id: NamespaceId::new(SystemEntropy.uuid()),
        name: name.to_owned(),
        state: NamespaceState::Registered,
        description: String::new(),
        owner_email: String::new(),
        data: BTreeMap::new(),
        retention,
        config: NamespaceConfig::default(),
        version: 0,
    }
}

/// For people: those that can be used, `default` first.
pub(super) fn shown(namespaces: &Namespaces) -> String {
    let usable = |namespace: &Namespace| {
        namespace.name != cluster::SYSTEM_NAMESPACE && namespace.state != NamespaceState::Deleted
    };
    let all = namespaces.list();
    let mut names: Vec<&str> =
        all.iter().filter(|namespace| usable(namespace)).map(|namespace| namespace.name.as_str()).collect();
    names.sort_unstable_by_key(|name| (*name != "default", *name));
    let more = names.len().saturating_sub(SHOWN_MAX);
    names.truncate(SHOWN_MAX);
    let shown = names.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(String, AttributeType), String> {
        text.parse().map(|SearchAttribute { name, kind }| (name, kind))
    }

    #[test]
    fn types_are_named_in_any_case() {
        for name in ["KeywordList", "keywordlist", "KEYWORDLIST"] {
            assert_eq!(parsed(&format!("Tags={name}")), Ok(("Tags".to_owned(), AttributeType::KeywordList)));
        }
        assert_eq!(parsed("A"), Err("expected NAME=TYPE".to_owned()));
        assert!(parsed("=Int").unwrap_err().contains("no name"));
        assert!(parsed("CloseTime=Datetime").unwrap_err().contains("CloseTime"));
        for wrong in ["A=", "A=Unspecified", "A=Int=Int", "A= Int"] {
            let error = parsed(wrong).unwrap_err();
            let all = "expected one of Text, Keyword, Int, Double, Bool, Datetime, KeywordList";
            assert!(error.contains(all), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_name_has_one_type() {
        let named =
            |texts: &[&str]| -> Vec<SearchAttribute> { texts.iter().map(|text| text.parse().expect(text)).collect() };
        assert_eq!(distinct(&named(&["A=Int", "B=Text", "A=int"])).expect("no other type").len(), 2);
        let error = distinct(&named(&["A=Int", "A=Text"])).unwrap_err().to_string();
        assert_eq!(error, "--search-attribute names A twice, as Int and as Text");
    }

    #[test]
    fn attributes_are_added_once_and_never_changed() {
        let wanted = |pairs: &[(&str, AttributeType)]| {
            pairs.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect::<BTreeMap<_, _>>()
        };
        let bare = new("orders", Duration::from_secs(1));
        let wants = wanted(&[("A", AttributeType::Int), ("B", AttributeType::Keyword)]);
        let changed = with_attributes(&bare, &wants).expect("there is room").expect("they are new");
        assert_eq!(base::custom_attributes(&changed.config.custom_search_attribute_aliases), wants);
        assert_eq!(with_attributes(&changed, &wants).expect("the same"), None);
        let error = with_attributes(&changed, &wanted(&[("A", AttributeType::Text)])).unwrap_err().to_string();
        assert!(error.contains("A=Text") && error.contains("registered as Int"), "{error}");
        let many: Vec<String> = (0..4).map(|number| format!("I{number}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), AttributeType::Int)).collect();
        let error = with_attributes(&bare, &wanted(&many)).unwrap_err().to_string();
        assert!(error.contains("3 search attributes of this type"), "{error}");
    }
}
