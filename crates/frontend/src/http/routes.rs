//! Which RPC a verb and a path mean: the rules of `google.api.http` as a tree over the
//! segments of paths. A literal segment goes before a variable one.

use std::collections::HashMap;

use api::HttpRule;

/// All bindings of the public API.
pub(super) struct Routes {
    root: Node,
}

#[derive(Default)]
struct Node {
    literals: HashMap<&'static str, Node>,
    variable: Option<Box<Node>>,
    rules: Vec<&'static HttpRule>,
}

/// A rule, and what the path says about fields of its request.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) rule: &'static HttpRule,
    /// The field's path and its value.
    pub(super) variables: Vec<(&'static str, String)>,
}

#[derive(Debug)]
pub(super) enum Missing {
    /// Nothing is at this path.
    Path,
    /// Something is, for another verb.
    Verb,
}

impl Routes {
    /// The rules whose paths begin with `prefix`.
    pub(super) fn new(prefix: &str) -> Self {
        let mut root = Node::default();
        for rule in api::HTTP_RULES.iter().filter(|rule| rule.template.starts_with(prefix)) {
            let mut node = &mut root;
            for segment in rule.template.split('/').skip(1) {
                node = match variable(segment) {
                    Some(_) => node.variable.get_or_insert_default(),
                    None => node.literals.entry(segment).or_default(),
                };
            }
            node.rules.push(rule);
        }
        Self { root }
    }

    /// `path` is as the client sent it: segments are split before they are decoded, so
    /// that an id may contain a slash.
    pub(super) fn find(&self, verb: &str, path: &str) -> Result<Route, Missing> {
        let Some(path) = path.strip_prefix('/') else { return Err(Missing::Path) };
        let segments: Option<Vec<String>> = path.split('/').map(decode).collect();
        let segments = segments.ok_or(Missing::Path)?;
        let mut at_path = false;
        let found = self.root.find(&segments, &mut |rules| {
            at_path |= !rules.is_empty();
            rules.iter().find(|rule| rule.verb == verb).copied()
        });
        let Some(rule) = found else { return Err(if at_path { Missing::Verb } else { Missing::Path }) };
        let names = rule.template.split('/').skip(1).map(variable);
        let variables = names.zip(segments).filter_map(|(name, value)| name.map(|name| (name, value)));
        Ok(Route { rule, variables: variables.collect() })
    }
}

impl Node {
    fn find(
        &self,
        segments: &[String],
        choose: &mut impl FnMut(&[&'static HttpRule]) -> Option<&'static HttpRule>,
    ) -> Option<&'static HttpRule> {
        let Some((first, rest)) = segments.split_first() else { return choose(&self.rules) };
        let literal = self.literals.get(first.as_str()).and_then(|node| node.find(rest, choose));
        literal.or_else(|| {
            let node = self.variable.as_ref().filter(|_| !first.is_empty())?;
            node.find(rest, choose)
        })
    }
}

/// The field that a segment of a template stands for.
fn variable(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// Percent-decoding; `None` when the result is no text.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%').then(|| tail.get(..2).and_then(hex)).flatten();
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(route: &Route) -> &'static str {
        api::METHODS[route.rule.method].name
    }

    /// Each rule is reached by its own path, whatever the names in it.
    #[test]
    fn every_rule_is_found() {
        let routes = Routes::new("/");
        for rule in api::HTTP_RULES {
            let path: String =
                rule.template.split('/').skip(1).fold(String::new(), |path, segment| {
                    path + "/" + variable(segment).map_or(segment, |_| "some%2Fid")
                });
            let route = routes.find(rule.verb, &path).unwrap_or_else(|missing| panic!("{path}: {missing:?}"));
            assert_eq!(route.rule, rule, "{path}");
            assert!(route.variables.iter().all(|(_, value)| value == "some/id"), "{path}");
        }
    }

    #[test]
    fn ids_may_look_like_anything() {
        let routes = Routes::new("/");
        let route = routes.find("GET", "/api/v1/namespaces/default/workflows/a%20b%2Fc%C3%A9").expect("found");
        assert_eq!(method(&route), "DescribeWorkflowExecution");
        assert_eq!(route.variables[1], ("execution.workflow_id", "a b/c\u{e9}".to_owned()));
        // An id that is also a word of the API.
        let route = routes.find("POST", "/api/v1/namespaces/default/workflows/workflows/cancel").expect("found");
        assert_eq!(method(&route), "RequestCancelWorkflowExecution");
        // A percent sign that escapes nothing is a percent sign.
        assert_eq!(decode("100%").as_deref(), Some("100%"));
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        let routes = Routes::new("/");
        assert!(matches!(routes.find("GET", "/api/v1/nothing"), Err(Missing::Path)));
        assert!(matches!(routes.find("GET", "/api/v1/namespaces//workflows/x"), Err(Missing::Path)));
        assert!(matches!(routes.find("DELETE", "/api/v1/namespaces"), Err(Missing::Verb)));
    }
}
