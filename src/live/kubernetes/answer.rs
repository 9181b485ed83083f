//! What the server's `Status` means: a refusal in its own words, or a failure that may pass.

use kube::core::Status;
use kube::core::response::StatusCause;
use regex::Regex;
use std::sync::LazyLock;

use crate::apply::port::{PortError, PortErrorKind};
use crate::live::cause::one_line;
use crate::model::cluster::{FieldConflict, Refusal, Why};

/// Characters of the server's words that are told.
const LONGEST: usize = 1000;

/// How an answer that is no success is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Understood and refused.
    Refusal,
    /// 401.
    Credentials,
    /// 429 for the sake of others: it was not carried out.
    Busy,
    /// 5xx: it may have been carried out.
    Trouble,
}

/// Sorts an answer.
pub(super) fn sort(status: &Status) -> Sort {
    match status.code {
        401 => Sort::Credentials,
        // A budget that the server has not counted yet says when to come back.
        429 if has_cause(status, "DisruptionBudget") && asked_wait(status) == 0 => Sort::Refusal,
        429 => Sort::Busy,
        500 if is_untyped(status) => Sort::Refusal,
        500.. => Sort::Trouble,
        _ => Sort::Refusal,
    }
}

fn has_cause(status: &Status, reason: &str) -> bool {
    causes(status).any(|cause| cause.reason == reason)
}

/// Seconds until the server wants to be asked again; 0: it does not say.
fn asked_wait(status: &Status) -> u32 {
    status.details.as_ref().map_or(0, |details| details.retry_after_seconds)
}

/// A field that the server does not know, or of another type: the server calls that its own error.
fn is_untyped(status: &Status) -> bool {
    status.message.contains("failed to create typed patch object")
}

fn causes(status: &Status) -> impl Iterator<Item = &StatusCause> {
    status.details.iter().flat_map(|details| &details.causes)
}

/// The server's words, one line.
pub(super) fn words(status: &Status) -> String {
    let text = if status.message.trim().is_empty() { &status.reason } else { &status.message };
    let mut text = one_line(text, None, LONGEST);
    // Which budget, and what it needs.
    for cause in causes(status).filter(|cause| cause.reason == "DisruptionBudget") {
        text = format!("{text} {}", one_line(&cause.message, None, LONGEST));
    }
    if text.is_empty() { format!("HTTP {}", status.code) } else { text }
}

/// The server has no such kind or path: the answer names no object.
pub(super) fn is_unknown_kind(status: &Status) -> bool {
    let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    status.code == 404 && !named
}

/// A refusal in the server's words. `kind` is what was sent, for a kind that the server does not have.
pub(super) fn refusal(status: &Status, kind: &str) -> Refusal {
    let why = match (status.code, status.reason.as_str()) {
        (409, "AlreadyExists") => Why::Exists,
        (409, _) => Why::Conflict,
        // An apply that names another uid than the live object's: its precondition, told as a field that cannot change.
        (422, _) if causes(status).any(|cause| cause.field == "metadata.uid") => Why::Conflict,
        (422, _) => Why::Invalid,
        (500, _) if is_untyped(status) => Why::Invalid,
        (403, _) => Why::Forbidden,
        (404, _) => Why::NotFound,
        (429, _) => Why::Budget,
        _ => Why::Other,
    };
    let mut message = words(status);
    if let Some(right) = lacking(&status.message) {
        message = format!("{message} ({right})");
    } else if is_unknown_kind(status) {
        message = format!("the server does not know {kind}: its CustomResourceDefinition is not installed");
    }
    Refusal { why, message, conflicts: conflicts(status) }
}

/// The fields that other managers own: causes like `conflict with "helm" using apps/v1`, field `.spec.replicas`.
fn conflicts(status: &Status) -> Vec<FieldConflict> {
    let ours = causes(status).filter(|cause| cause.reason == "FieldManagerConflict");
    let mut found: Vec<FieldConflict> = ours
        .map(|cause| FieldConflict {
            manager: cause.message.split('"').nth(1).unwrap_or("somebody").to_owned(),
            field: cause.field.clone(),
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The right that RBAC did not find, if that is what the words say.
pub(super) fn lacking(words: &str) -> Option<String> {
    static DENIED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r#"User "([^"]*)" cannot ([a-z]+) resource "([^"]+)"(?: in API group "([^"]*)")?(?: in the namespace "([^"]*)")?"#,
        )
        .ok()
    });
    let found = DENIED.as_ref()?.captures(words)?;
    let part = |at: usize| found.get(at).map(|part| part.as_str()).filter(|text| !text.is_empty());
    let group = part(4).map_or_else(String::new, |group| format!(".{group}"));
    let place = part(5).map_or_else(|| " in the whole cluster".to_owned(), |name| format!(" in namespace {name}"));
    Some(format!(
        "the user {} lacks the verb `{}` on `{}{group}`{place}; `tranship render rbac` prints the Role that is needed",
        part(1).unwrap_or("in use"),
        part(2)?,
        part(3)?,
    ))
}

/// A call whose refusal is a failure: a read that must be answered.
pub(super) fn failure(call: &str, status: &Status) -> PortError {
    let kind = match (sort(status), status.code) {
        (Sort::Credentials, _) => PortErrorKind::Unauthenticated,
        (Sort::Busy | Sort::Trouble, _) => PortErrorKind::Transient,
        (Sort::Refusal, 403) => PortErrorKind::Forbidden,
        (Sort::Refusal, 404) => PortErrorKind::NotFound,
        (Sort::Refusal, _) => PortErrorKind::Refused,
    };
    let mut error = PortError::new(kind, call, words(status));
    error.help = lacking(&status.message).map(|right| format!("{right}.").replacen("the user", "The user", 1));
    let wait = asked_wait(status);
    error.retry_after = (wait > 0).then(|| std::time::Duration::from_secs(u64::from(wait)));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(value: serde_json::Value) -> Status {
        serde_json::from_value(value).expect("a Status")
    }

    #[test]
    fn a_conflict_names_managers_and_fields() {
        let said = status(json!({
            "status": "Failure", "code": 409, "reason": "Conflict",
            "message": "Apply failed with 2 conflicts: conflicts with \"helm\" using apps/v1:\n- .spec.replicas\n- .spec.template",
            "details": { "causes": [
                { "reason": "FieldManagerConflict", "message": "conflict with \"helm\" using apps/v1", "field": ".spec.template" },
                { "reason": "FieldManagerConflict", "message": "conflict with \"helm\" using apps/v1", "field": ".spec.replicas" }
            ]}
        }));
        let refusal = refusal(&said, "StatefulSet (apps/v1)");
        assert_eq!(refusal.why, Why::Conflict);
        let fields: Vec<_> = refusal.conflicts.iter().map(|c| (c.manager.as_str(), c.field.as_str())).collect();
        assert_eq!(fields, [("helm", ".spec.replicas"), ("helm", ".spec.template")]);
        assert!(!refusal.message.contains('\n'));
    }

    #[test]
    fn a_missing_right_is_named_exactly() {
        let words = "statefulsets.apps \"g\" is forbidden: User \"system:serviceaccount:ci:tranship\" cannot patch resource \
                     \"statefulsets\" in API group \"apps\" in the namespace \"gitaly\"";
        let right = "the user system:serviceaccount:ci:tranship lacks the verb `patch` on `statefulsets.apps` in namespace gitaly; \
                     `tranship render rbac` prints the Role that is needed";
        assert_eq!(lacking(words).as_deref(), Some(right));
        let core =
            "nodes is forbidden: User \"u\" cannot list resource \"nodes\" in API group \"\" at the cluster scope";
        assert!(
            lacking(core)
                .is_some_and(|r| r.starts_with("the user u lacks the verb `list` on `nodes` in the whole cluster"))
        );
        let quota = "pods \"g-0\" is forbidden: exceeded quota: q, requested: cpu=8, used: cpu=0, limited: cpu=4";
        assert_eq!(lacking(quota), None);
        let said = status(json!({ "code": 403, "reason": "Forbidden", "message": words }));
        assert!(refusal(&said, "").message.contains("`patch` on `statefulsets.apps`"));
        let error = failure("list of statefulsets", &said);
        assert_eq!(error.kind, PortErrorKind::Forbidden);
        assert!(error.help.is_some_and(|help| help.starts_with("The user system:serviceaccount:ci:tranship lacks")));
    }

    #[test]
    fn codes_are_sorted() {
        let of = |code: u16, reason: &str, cause: &str| {
            let said = status(json!({
                "code": code, "reason": reason, "message": "m", "details": { "name": "x", "causes": [{ "reason": cause }] }
            }));
            (sort(&said), refusal(&said, "K").why)
        };
        assert_eq!(of(409, "AlreadyExists", ""), (Sort::Refusal, Why::Exists));
        assert_eq!(of(409, "Conflict", ""), (Sort::Refusal, Why::Conflict));
        assert_eq!(of(422, "Invalid", ""), (Sort::Refusal, Why::Invalid));
        assert_eq!(of(403, "Forbidden", ""), (Sort::Refusal, Why::Forbidden));
        assert_eq!(of(404, "NotFound", ""), (Sort::Refusal, Why::NotFound));
        assert_eq!(of(429, "TooManyRequests", "DisruptionBudget"), (Sort::Refusal, Why::Budget));
        assert_eq!(of(429, "TooManyRequests", "").0, Sort::Busy);
        assert_eq!(of(400, "BadRequest", "").1, Why::Other);
        assert_eq!(of(503, "ServiceUnavailable", "").0, Sort::Trouble);
        assert_eq!(of(401, "Unauthorized", "").0, Sort::Credentials);
        let nowhere = status(json!({ "code": 404, "message": "404 page not found" }));
        let said = refusal(&nowhere, "ServiceMonitor (monitoring.coreos.com/v1)");
        assert!(said.message.contains("does not know ServiceMonitor"), "{}", said.message);
        let gone = status(
            json!({ "code": 404, "reason": "NotFound", "message": "namespaces \"x\" not found", "details": { "name": "x" } }),
        );
        assert_eq!(refusal(&gone, "K").message, "namespaces \"x\" not found");
    }
}
