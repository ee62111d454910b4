//! Completion callbacks of a request: how many, where to, with how large a header.

use api::Error;
use temporalio_protos::temporal::api::common::v1::{Callback, callback};

use super::invalid;
use crate::Config;
use crate::config::CallbackAddress;

/// Answered by the server itself.
const SYSTEM_URL: &str = "temporal://system";
const INTERNAL_URL: &str = "temporal://internal";
const INTERNAL_TOKEN_HEADER: &str = "nexus-callback-token";

/// Also puts the names of header fields into lower case.
pub(crate) fn callbacks(callbacks: &mut [Callback], config: &Config) -> Result<(), Error> {
    let limits = &config.limits;
    if callbacks.len() > limits.callbacks_max {
        let limit = limits.callbacks_max;
        return Err(invalid(format!("cannot attach more than {limit} callbacks to an execution")));
    }
    for callback in callbacks {
        let nexus = match &mut callback.variant {
            Some(callback::Variant::Nexus(nexus)) => nexus,
            Some(callback::Variant::Internal(_)) => {
                return Err(invalid("unsupported callback variant: *common.Callback_Internal_"));
            }
            Some(callback::Variant::NexusHandler(_)) => {
                let name = "*common.Callback_NexusHandler_";
                return Err(Error::Unimplemented(format!("unknown callback variant: {name}")));
            }
            None => return Err(Error::Unimplemented("unknown callback variant: <nil>".to_owned())),
        };
        if nexus.url.len() > limits.callback_url_bytes_max {
            let limit = limits.callback_url_bytes_max;
            return Err(invalid(format!("invalid url: url length longer than max length allowed of {limit}")));
        }
        url(&nexus.url, &config.callback_addresses)?;
        let bytes: usize = nexus.header.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > limits.callback_header_bytes_max {
            let limit = limits.callback_header_bytes_max;
            return Err(invalid(format!("invalid header: header size longer than max allowed size of {limit}")));
        }
        nexus.header = nexus.header.drain().map(|(name, value)| (name.to_lowercase(), value)).collect();
        if nexus.url == INTERNAL_URL {
            let has_token = nexus.header.get(INTERNAL_TOKEN_HEADER).is_some_and(|token| !token.is_empty());
            let problem = if has_token { "invalid" } else { "missing" };
            return Err(invalid(format!("{problem} internal callback token")));
        }
    }
    Ok(())
}

fn url(url: &str, allowed: &[CallbackAddress]) -> Result<(), Error> {
    if url == SYSTEM_URL || url == INTERNAL_URL {
        return Ok(());
    }
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let scheme = scheme.to_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(invalid(format!("invalid url: unknown scheme: {url}")));
    }
    let host = rest.strip_prefix("//").map_or("", |rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if host.is_empty() {
        return Err(invalid("invalid url: missing host"));
    }
    if let Some(bad) = host.chars().find(|letter| letter.is_whitespace() || letter.is_control()) {
        let problem = format!("invalid character {:?} in host name", bad.to_string());
        return Err(invalid(format!("invalid callback url: parse {url:?}: {problem}")));
    }
    let Some(rule) = allowed.iter().find(|rule| matches(&rule.pattern, host)) else {
        return Err(invalid(format!("invalid url: url does not match any configured callback address: {url}")));
    };
    if !rule.allow_insecure && scheme != "https" {
        return Err(invalid(format!("invalid url: callback address does not allow insecure connections: {url}")));
    }
    Ok(())
}

/// `*` stands for any number of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_hosts() {
        for (pattern, host) in [("*", "a:1"), ("a.*.c", "a.b.c"), ("a.*.c", "a.b.x.c"), ("a", "a"), ("*.a", "b.a")] {
            assert!(matches(pattern, host), "{pattern} {host}");
        }
        for (pattern, host) in [("a", "ab"), ("a.*.c", "a.c"), ("*.a", "ba"), ("", "a")] {
            assert!(!matches(pattern, host), "{pattern} {host}");
        }
    }

    #[test]
    fn urls_are_refused_with_the_reason() {
        let any = [CallbackAddress { pattern: "*".to_owned(), allow_insecure: true }];
        let secure = [CallbackAddress { pattern: "*".to_owned(), allow_insecure: false }];
        let reason = |text: &str, allowed: &[CallbackAddress]| url(text, allowed).err().map(|error| error.to_string());
        assert_eq!(reason("http://localhost:9/x", &any), None);
        assert_eq!(reason("temporal://system", &[]), None);
        let refused = |text: &str, allowed: &[CallbackAddress], why: &str| {
            let reason = reason(text, allowed).expect("refused");
            assert!(reason.ends_with(why), "{text}: {reason}");
        };
        refused("foo", &any, "invalid url: unknown scheme: foo");
        refused("ftp://x/y", &any, "invalid url: unknown scheme: ftp://x/y");
        refused("http:///y", &any, "invalid url: missing host");
        refused("http://x/", &secure, "does not allow insecure connections: http://x/");
        refused("https://x/", &[], "does not match any configured callback address: https://x/");
    }
}
