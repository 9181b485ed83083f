//! Judges a gRPC status: which kind of error it is, and what to tell. By codes, never by Gitaly's texts, which change.

use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};

use crate::apply::port::{PortError, PortErrorKind};
use crate::live::cause::{Cause, cause_of, one_line};

/// `google.rpc.Status`, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
struct RichStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `gitaly.LimitError`.
#[derive(Clone, PartialEq, prost::Message)]
struct LimitError {
    #[prost(string, tag = "1")]
    error_message: String,
    #[prost(message, optional, tag = "2")]
    retry_after: Option<prost_types::Duration>,
}

/// Makes the port's error of a status. `token` says whether one was sent, `secret` is blotted out of Gitaly's text.
pub(super) fn error_of(call: &str, status: &Status, token: bool, secret: Option<&str>) -> PortError {
    let said = one_line(status.message(), secret, 300);
    let error = |kind, message: String, help: Option<&str>| PortError {
        help: help.map(str::to_owned),
        ..PortError::new(kind, call, message)
    };
    if let Some(source) = std::error::Error::source(status) {
        return transport(call, source, &said);
    }
    match status.code() {
        Code::Unauthenticated if !token => error(
            PortErrorKind::Unauthenticated,
            format!("this Gitaly asks for a token and none is set ({said})"),
            Some("Set `gitaly.token`, or `token` in the storage's block, to what its `[auth] token` says."),
        ),
        Code::Unauthenticated => error(
            PortErrorKind::Unauthenticated,
            format!("this Gitaly did not take the token's form ({said})"),
            Some("A proxy may have taken the `authorization` header away: Gitaly must be reached directly (TCP)."),
        ),
        Code::PermissionDenied => error(
            PortErrorKind::Unauthenticated,
            format!("this Gitaly refused the token: it is not its own, or the clocks differ by 30 s or more ({said})"),
            Some("Compare `gitaly.token` with `[auth] token` on that server; then the clocks of both machines."),
        ),
        Code::ResourceExhausted => PortError {
            retry_after: limit_of(status),
            ..error(PortErrorKind::Transient, format!("this Gitaly is at its limit ({said})"), None)
        },
        Code::Unavailable | Code::Aborted => {
            error(PortErrorKind::Transient, format!("this Gitaly is not available ({said})"), None)
        }
        Code::DeadlineExceeded | Code::Cancelled => {
            error(PortErrorKind::Transient, format!("the call was ended before its answer ({said})"), None)
        }
        Code::NotFound => error(PortErrorKind::NotFound, format!("not found ({said})"), None),
        Code::Unimplemented => {
            error(PortErrorKind::Refused, format!("this Gitaly does not know the call ({said})"), None)
        }
        // A stream without its final status: what came is not known to be all.
        Code::Unknown if status.message().starts_with("protocol error: missing grpc-status") => {
            error(PortErrorKind::Transient, "the answer was cut short".to_owned(), None)
        }
        Code::OutOfRange => error(PortErrorKind::Protocol, format!("the answer is too large ({said})"), None),
        code => error(PortErrorKind::Refused, format!("refused ({code:?}: {said})"), None),
    }
}

/// The error of a call that met trouble below gRPC.
fn transport(call: &str, source: &(dyn std::error::Error + 'static), said: &str) -> PortError {
    let (kind, message, help) = match cause_of(source) {
        Cause::Tls { message, unknown_authority } => (
            PortErrorKind::Protocol,
            message,
            Some(if unknown_authority {
                "Set `ca`, in the `gitaly` block or the storage's, to a PEM file with the CA that signed it."
            } else {
                "Its certificate must name the host of the address as subjectAltName; compare the address."
            }),
        ),
        Cause::Dns => (
            PortErrorKind::Transient,
            "its host name is not known here".to_owned(),
            Some("Check the storage's `address`; `dial` is for where tranship must take another way."),
        ),
        Cause::Unreachable(why) => (
            PortErrorKind::Transient,
            format!("not reachable: {why}"),
            Some("Check the storage's `address`; `dial` is for where tranship must take another way."),
        ),
        Cause::Broken(why) => (PortErrorKind::Transient, why, None),
        Cause::Other(why) if why == said || said.is_empty() => {
            (PortErrorKind::Transient, one_line(&why, None, 200), None)
        }
        Cause::Other(why) => (PortErrorKind::Transient, format!("{said}: {}", one_line(&why, None, 200)), None),
    };
    PortError { help: help.map(str::to_owned), ..PortError::new(kind, call, message) }
}

/// How long a limit asks us to wait, from the status's details.
fn limit_of(status: &Status) -> Option<Duration> {
    let rich = RichStatus::decode(status.details()).ok()?;
    let any = rich.details.iter().find(|any| any.type_url.ends_with("/gitaly.LimitError"))?;
    let wait = LimitError::decode(any.value.as_slice()).ok()?.retry_after?;
    wait.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_kind() {
        use PortErrorKind as K;
        for (code, kind) in [
            (Code::Unauthenticated, K::Unauthenticated),
            (Code::PermissionDenied, K::Unauthenticated),
            (Code::Unavailable, K::Transient),
            (Code::Aborted, K::Transient),
            (Code::ResourceExhausted, K::Transient),
            (Code::DeadlineExceeded, K::Transient),
            (Code::NotFound, K::NotFound),
            (Code::InvalidArgument, K::Refused),
            (Code::FailedPrecondition, K::Refused),
            (Code::Internal, K::Refused),
            (Code::DataLoss, K::Refused),
        ] {
            assert_eq!(error_of("call", &Status::new(code, "x"), true, None).kind, kind, "{code:?}");
        }
    }

    #[test]
    fn the_messages_say_what_to_compare() {
        let error = error_of("call", &Status::new(Code::PermissionDenied, "permission denied"), true, None);
        assert!(error.message.contains("clocks") && error.help.expect("help").contains("[auth] token"));
        let error = error_of("call", &Status::new(Code::Unauthenticated, "authentication required"), false, None);
        assert!(error.message.contains("none is set"));
        let error = error_of("call", &Status::new(Code::Internal, "key hunter2\nis bad"), true, Some("hunter2"));
        assert_eq!(error.message, "refused (Internal: key [redacted] is bad)");
    }

    #[test]
    fn a_limit_says_how_long_to_wait() {
        let limit = LimitError {
            error_message: "busy".to_owned(),
            retry_after: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
        };
        let any = prost_types::Any {
            type_url: "type.googleapis.com/gitaly.LimitError".to_owned(),
            value: limit.encode_to_vec(),
        };
        let rich = RichStatus { details: vec![any] };
        let status = Status::with_details(Code::ResourceExhausted, "busy", rich.encode_to_vec().into());
        assert_eq!(error_of("call", &status, true, None).retry_after, Some(Duration::from_secs(3)));
        let odd = Status::with_details(Code::ResourceExhausted, "busy", vec![1, 2, 3].into());
        assert_eq!(error_of("call", &odd, true, None).retry_after, None);
    }
}
