//! What the API server says when it refuses: a `Status`, in its own words.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::managers::Conflict;
use super::rights::{Act, User};

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) details: Value,
}

/// One of the reasons for which an object is invalid.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) field: String,
    /// With what begins the server's text.
    pub(super) message: String,
}

impl Fault {
    /// A field that is not there.
    pub(super) fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self { reason: "FieldValueRequired", field: field.into(), message }
    }

    /// A field that may not be changed, or not be there.
    pub(super) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {detail}") }
    }

    /// A field whose value is not right; `value` as the server shows it.
    pub(super) fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let message = format!("Invalid value: {value}: {detail}");
        Self { reason: "FieldValueInvalid", field: field.into(), message }
    }

    /// A field whose value is none of those that there are.
    pub(super) fn unsupported(field: impl Into<String>, value: &Value, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", known.join(", "));
        Self { reason: "FieldValueNotSupported", field: field.into(), message }
    }

    /// Two items of one key.
    pub(super) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self { reason: "FieldValueDuplicate", field: field.into(), message: format!("Duplicate value: {value}") }
    }

    /// A reference to what is not there.
    pub(super) fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self { reason: "FieldValueNotFound", field: field.into(), message: format!("Not found: {value}") }
    }
}

impl Refused {
    fn new(code: u16, reason: &'static str, message: impl Into<String>, details: Value) -> Self {
        Self { code, reason, message: message.into(), details }
    }

    /// 400.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message, Value::Null)
    }

    /// 500: an error that the server has no reason for. It gives no reason either.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message, Value::Null)
    }

    /// 404 of an object.
    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.qualified());
        Self::new(404, "NotFound", message, details(kind, name, kind.plural, Value::Null))
    }

    /// 404 of a path.
    pub(super) fn no_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource", json!({}))
    }

    /// 409 of a create.
    pub(super) fn exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.qualified());
        Self::new(409, "AlreadyExists", message, details(kind, name, kind.plural, Value::Null))
    }

    /// 409 of a resourceVersion or uid that is not the object's.
    pub(super) fn precondition(kind: &Kind, name: &str, why: &str, resource: &str) -> Self {
        let qualified = if kind.group.is_empty() { resource.to_owned() } else { format!("{resource}.{}", kind.group) };
        let message = format!("Operation cannot be fulfilled on {qualified} {name:?}: {why}");
        Self::new(409, "Conflict", message, details(kind, name, resource, Value::Null))
    }

    /// 409 of an apply.
    pub(super) fn conflicts(conflicts: &[Conflict]) -> Self {
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|c| {
                json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {}", c.manager), "field": c.field })
            })
            .collect();
        let message = match conflicts {
            [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.field),
            many => {
                let mut lines = Vec::new();
                for (index, conflict) in many.iter().enumerate() {
                    if index == 0 || many.get(index - 1).is_none_or(|before| before.manager != conflict.manager) {
                        lines.push(format!("conflicts with {}:", conflict.manager));
                    }
                    lines.push(format!("- {}", conflict.field));
                }
                format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
            }
        };
        Self::new(409, "Conflict", message, json!({ "causes": causes }))
    }

    /// 422 of an object.
    pub(super) fn invalid(kind: &Kind, name: &str, faults: &[Fault]) -> Self {
        let qualified =
            if kind.group.is_empty() { kind.kind.to_owned() } else { format!("{}.{}", kind.kind, kind.group) };
        Self::invalid_of(&qualified, kind.group, kind.kind, name, faults)
    }

    /// 422 of an object that a patch would leave unreadable.
    pub(super) fn invalid_patch(fault: Fault) -> Self {
        let details = json!({ "causes": [{ "reason": fault.reason, "message": fault.message, "field": fault.field }] });
        Self::new(422, "Invalid", format!(" \"\" is invalid: {}: {}", fault.field, fault.message), details)
    }

    /// 422 of the options of a request.
    pub(super) fn invalid_options(options: &str, faults: &[Fault]) -> Self {
        Self::invalid_of(&format!("{options}.meta.k8s.io"), "meta.k8s.io", options, "", faults)
    }

    fn invalid_of(qualified: &str, group: &str, kind: &str, name: &str, faults: &[Fault]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for text in faults.iter().map(|f| format!("{}: {}", f.field, f.message)) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let said = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> =
            faults.iter().map(|f| json!({ "reason": f.reason, "message": f.message, "field": f.field })).collect();
        let mut details = json!({ "name": name, "group": group, "kind": kind, "causes": causes });
        trim(&mut details);
        Self::new(422, "Invalid", format!("{qualified} {name:?} is invalid: {said}"), details)
    }

    /// 403 by admission.
    pub(super) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", kind.qualified());
        Self::new(403, "Forbidden", message, details(kind, name, kind.plural, Value::Null))
    }

    /// 403 for want of rights.
    pub(super) fn unauthorised(kind: &Kind, user: &User, act: Act<'_>) -> Self {
        let Act { verb, group, resource, namespace, name } = act;
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        let named = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        let message = format!(
            "{}{named} is forbidden: User {:?} cannot {verb} resource {resource:?} in API group {group:?} {place}",
            kind.qualified(),
            user.name(),
        );
        Self::new(403, "Forbidden", message, details(kind, name, kind.plural, Value::Null))
    }

    /// 401.
    pub(super) fn unauthenticated() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", Value::Null)
    }

    /// 429 of an eviction.
    pub(super) fn budget(cause: String) -> Self {
        let details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": cause }] });
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        Self::new(429, "TooManyRequests", message, details)
    }

    /// 405.
    pub(super) fn no_method() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message, json!({}))
    }

    /// 415.
    pub(super) fn no_media_type() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type", json!({}))
    }

    /// The `Status` object.
    pub(super) fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if let Value::Object(map) = &mut status {
            if !self.reason.is_empty() {
                map.insert("reason".to_owned(), self.reason.into());
            }
            if !self.details.is_null() {
                map.insert("details".to_owned(), self.details.clone());
            }
        }
        status
    }
}

fn details(kind: &Kind, name: &str, shown: &str, causes: Value) -> Value {
    let mut details = json!({ "name": name, "group": kind.group, "kind": shown, "causes": causes });
    trim(&mut details);
    details
}

/// Leaves out what is empty.
fn trim(details: &mut Value) {
    if let Value::Object(map) = details {
        map.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    }
}
