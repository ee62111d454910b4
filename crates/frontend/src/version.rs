//! Which clients may talk to this server: the check of `client-name`, `client-version`
//! and `supported-server-versions` (`protocol.md` 2.6).

use std::cmp::Ordering;

use api::Error;
use http::HeaderMap;

use crate::capabilities::{SERVER_VERSION, SUPPORTED_CLIENTS};

/// A semantic version; build metadata is dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Version<'a> {
    numbers: [u64; 3],
    /// Dot-separated identifiers, empty for a release.
    pre: &'a str,
}

/// Refuses clients of a version that this server does not serve, and those that do not
/// want a server of this version. Clients that say nothing, or are unknown, may go on.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Error> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (name, version) = (text("client-name"), text("client-version"));
    if name.is_empty() || version.is_empty() {
        return Ok(());
    }
    if let Some((_, supported)) = SUPPORTED_CLIENTS.iter().find(|(known, _)| *known == name) {
        let parsed = parse(version)
            .map_err(|problem| Error::InvalidArgument(format!("Unable to parse client version: {problem}")))?;
        if !in_range(&parsed, supported).unwrap_or(false) {
            return Err(Error::ClientVersionNotSupported {
                client_version: version.to_owned(),
                client_name: name.to_owned(),
                supported_versions: (*supported).to_owned(),
            });
        }
    }
    let wanted = text("supported-server-versions");
    if wanted.is_empty() {
        return Ok(());
    }
    let ours = parse(SERVER_VERSION).expect("our version is one");
    let fits = in_range(&ours, wanted)
        .map_err(|problem| Error::InvalidArgument(format!("Unable to parse supported server versions: {problem}")))?;
    if fits {
        return Ok(());
    }
    Err(Error::ServerVersionNotSupported {
        server_version: SERVER_VERSION.to_owned(),
        supported_versions: wanted.to_owned(),
    })
}

/// `1.2.3`, `1.2.3-rc.1`, `1.2.3+build`.
fn parse(text: &str) -> Result<Version<'_>, String> {
    let text = text.split_once('+').map_or(text, |(version, _build)| version);
    let (numbers, pre) = text.split_once('-').unwrap_or((text, ""));
    let mut parts = numbers.splitn(3, '.');
    if numbers.split('.').count() < 3 {
        return Err("No Major.Minor.Patch elements found".to_owned());
    }
    let mut number = |what: &str| {
        let part = parts.next().expect("three parts");
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("Invalid character(s) found in {what} number {part:?}"));
        }
        if part.len() > 1 && part.starts_with('0') {
            return Err(format!("{what} number must not contain leading zeroes {part:?}"));
        }
        part.parse().map_err(|_| format!("{what} number is too large {part:?}"))
    };
    let numbers = [number("major")?, number("minor")?, number("patch")?];
    Ok(Version { numbers, pre })
}

/// A range is alternatives joined by `||`, each a list of comparisons that must all hold.
fn in_range(version: &Version<'_>, range: &str) -> Result<bool, String> {
    let mut fits = false;
    for alternative in range.split("||") {
        let mut comparisons = alternative.split_whitespace().peekable();
        if comparisons.peek().is_none() {
            return Err(format!("Could not get version from string: {range:?}"));
        }
        let mut all = true;
        for comparison in comparisons {
            all &= holds(version, comparison)?;
        }
        fits |= all;
    }
    Ok(fits)
}

/// Whether the order of our version and the bound satisfies an operator.
type Test = fn(Ordering) -> bool;

fn holds(version: &Version<'_>, comparison: &str) -> Result<bool, String> {
    let operators: [(&str, Test); 9] = [
        (">=", Ordering::is_ge),
        ("<=", Ordering::is_le),
        ("!=", Ordering::is_ne),
        ("==", Ordering::is_eq),
        (">", Ordering::is_gt),
        ("<", Ordering::is_lt),
        ("!", Ordering::is_ne),
        ("=", Ordering::is_eq),
        ("", Ordering::is_eq),
    ];
    let (bound, test) = operators
        .iter()
        .find_map(|(operator, test)| Some((comparison.strip_prefix(operator)?, test)))
        .expect("the empty operator fits everything");
    let bound = parse(bound).map_err(|problem| format!("Could not parse Range {comparison:?}: {problem}"))?;
    Ok(test(compare(version, &bound)))
}

fn compare(left: &Version<'_>, right: &Version<'_>) -> Ordering {
    left.numbers.cmp(&right.numbers).then_with(|| match (left.pre.is_empty(), right.pre.is_empty()) {
        (true, true) => Ordering::Equal,
        // A release comes after its candidates.
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => compare_pre(left.pre, right.pre),
    })
}

fn compare_pre(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => {
                let order = match (a.parse::<u64>(), b.parse::<u64>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => a.cmp(b),
                };
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(name: &str, version: &str, servers: &str) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        for (key, value) in [("client-name", name), ("client-version", version), ("supported-server-versions", servers)]
        {
            headers.insert(key, value.parse().expect("a header"));
        }
        check(&headers)
    }

    #[test]
    fn known_clients_of_the_next_major_version_are_refused() {
        assert_eq!(asked("temporal-go", "1.99.0", ""), Ok(()));
        assert_eq!(asked("temporal-go", "2.0.0-rc.1", ""), Ok(()));
        assert!(matches!(asked("temporal-go", "2.0.0", ""), Err(Error::ClientVersionNotSupported { .. })));
        assert_eq!(asked("temporal-ui", "2.54.1", ""), Ok(()));
        assert_eq!(asked("someone-else", "99", ""), Ok(()));
        assert_eq!(asked("temporal-go", "", ">=9.0.0"), Ok(()));
        assert!(matches!(asked("temporal-java", "latest", ""), Err(Error::InvalidArgument(_))));
    }

    #[test]
    fn clients_may_refuse_this_server() {
        assert_eq!(asked("temporal-cli", "1.5.1", ">=1.0.0 <2.0.0"), Ok(()));
        assert_eq!(asked("temporal-cli", "1.5.1", "<1.0.0 || >=1.31.0"), Ok(()));
        assert!(matches!(asked("temporal-cli", "1.5.1", ">=2.0.0"), Err(Error::ServerVersionNotSupported { .. })));
        assert!(matches!(asked("temporal-cli", "1.5.1", "soon"), Err(Error::InvalidArgument(_))));
    }

    #[test]
    fn candidates_come_before_releases() {
        let order = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.2", "1.0.0-rc.11", "1.0.0"];
        for pair in order.windows(2) {
            let (a, b) = (parse(pair[0]).expect("parses"), parse(pair[1]).expect("parses"));
            assert_eq!(compare(&a, &b), Ordering::Less, "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(name in "temporal-go|x", version in "[ -~]{0,20}", servers in "[ -~]{0,20}") {
            let _ = asked(&name, &version, &servers);
        }
    }
}
