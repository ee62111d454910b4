//! Failures that are too large to keep whole.

use prost::Message as _;
use temporalio_protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure, ServerFailureInfo};

use crate::Limits;

const TOO_LARGE: &str = "Failure exceeds size limit.";

/// Causes of causes that are kept of a failure that is too large.
const CUT_DEPTH_MAX: usize = 20;

/// A failure that the server reports in its own name; it is not retried.
pub(crate) fn server_failure(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: true })),
        ..Failure::default()
    }
}

/// A failure that is too large becomes the server's own, with what fits of the original
/// as its cause. Returns a copy of the replacement, if there was one.
pub(crate) fn cap_failure(failure: &mut Option<Failure>, limits: &Limits) -> Option<Failure> {
    let too_large = failure.as_ref().is_some_and(|failure| failure.encoded_len() > limits.blob_bytes_max);
    if !too_large {
        return None;
    }
    let mut replacement = server_failure(TOO_LARGE);
    let mut bytes_left = limits.failure_bytes_kept;
    replacement.cause = failure.take().map(|original| Box::new(cut(original, &mut bytes_left, CUT_DEPTH_MAX)));
    *failure = Some(replacement.clone());
    Some(replacement)
}

/// Keeps the type and, as far as they fit, source, message, stack trace and causes.
fn cut(failure: Failure, bytes_left: &mut usize, depth: usize) -> Failure {
    let info = match failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
                r#type: cut_text(info.r#type, bytes_left),
                non_retryable: info.non_retryable,
                ..ApplicationFailureInfo::default()
            }))
        }
        Some(FailureInfo::ServerFailureInfo(info)) => Some(FailureInfo::ServerFailureInfo(info)),
        _ => None,
    };
    let source = cut_text(failure.source, bytes_left);
    let message = cut_text(failure.message, bytes_left);
    let stack_trace = cut_text(failure.stack_trace, bytes_left);
    let cause = match failure.cause {
        Some(cause) if *bytes_left > 0 && depth > 0 => Some(Box::new(cut(*cause, bytes_left, depth - 1))),
        _ => None,
    };
    Failure { source, message, stack_trace, cause, failure_info: info, ..Failure::default() }
}

fn cut_text(mut text: String, bytes_left: &mut usize) -> String {
    let mut end = text.len().min(*bytes_left);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    *bytes_left -= end;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_failures_are_cut_to_what_fits() {
        let limits = Limits { blob_bytes_max: 100, failure_bytes_kept: 21, ..Limits::default() };
        let small = Failure { message: "small".into(), ..Failure::default() };
        let mut failure = Some(small.clone());
        assert_eq!(cap_failure(&mut failure, &limits), None);
        assert_eq!(failure, Some(small));

        let inner = Failure { message: "ü".repeat(90), ..Failure::default() };
        let mut failure = Some(Failure { message: "outer".into(), cause: Some(Box::new(inner)), ..Failure::default() });
        let replacement = cap_failure(&mut failure, &limits).expect("replaced");
        assert_eq!(failure.as_ref(), Some(&replacement));
        assert_eq!(replacement.message, TOO_LARGE);
        let outer = replacement.cause.expect("what fits");
        assert_eq!((outer.message.as_str(), outer.cause.expect("too").message), ("outer", "ü".repeat(8)));
    }
}
