//! Who may do what: the administrator everything, a ServiceAccount what Roles of its namespace allow it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::kinds::Kind;
use super::store::Store;
use super::values::{items, text};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum User {
    /// May do everything.
    Administrator,
    /// A ServiceAccount, by its namespace and name.
    Account(String, String),
}

/// What somebody asks to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    /// With its subresource: `pods/eviction`.
    pub(super) resource: &'a str,
    /// Empty for the whole cluster.
    pub(super) namespace: &'a str,
    /// Empty for none in particular.
    pub(super) name: &'a str,
}

impl User {
    /// As the server names it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Administrator => "sandbox".to_owned(),
            Self::Account(namespace, name) => format!("system:serviceaccount:{namespace}:{name}"),
        }
    }

    /// Whose a bearer token is.
    pub(super) fn of_token(token: &str, secret: &str) -> Option<Self> {
        if token == secret {
            return Some(Self::Administrator);
        }
        let (account, _) = token.rsplit_once('.')?;
        let (namespace, name) = account.split_once('.')?;
        (account_token(namespace, name, secret) == token).then(|| Self::Account(namespace.to_owned(), name.to_owned()))
    }

    /// True when Roles allow it.
    pub(super) fn may(&self, store: &Store, act: Act<'_>) -> bool {
        let Self::Account(namespace, name) = self else { return true };
        let bound = |binding: &&Value| {
            items(binding, "/subjects").iter().any(|s| {
                (text(s, "/kind"), text(s, "/namespace"), text(s, "/name")) == ("ServiceAccount", namespace, name)
            })
        };
        store.all("RoleBinding", Some(act.namespace)).filter(bound).any(|binding| {
            let role = store.named("Role", act.namespace, text(binding, "/roleRef/name"));
            role.is_some_and(|role| items(role, "/rules").iter().any(|rule| allows(rule, act)))
        })
    }
}

fn allows(rule: &Value, act: Act<'_>) -> bool {
    let among = |list: &str, wanted: &str| {
        items(rule, list).iter().filter_map(Value::as_str).any(|word| word == "*" || word == wanted)
    };
    among("/verbs", act.verb)
        && among("/apiGroups", act.group)
        && among("/resources", act.resource)
        && (items(rule, "/resourceNames").is_empty() || among("/resourceNames", act.name))
}

/// The token of a ServiceAccount.
fn account_token(namespace: &str, name: &str, secret: &str) -> String {
    let account = format!("{namespace}.{name}");
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mut mac| {
        mac.update(account.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    });
    format!("{account}.{}", mac.unwrap_or_default())
}

/// Answers a TokenRequest.
pub(super) fn token_request(mut request: Value, namespace: &str, name: &str, secret: &str, until: String) -> Value {
    let status = json!({ "token": account_token(namespace, name, secret), "expirationTimestamp": until });
    super::values::set(&mut request, &["status"], status);
    request
}

/// A kind's resource in a request, with the subresource.
pub(super) fn resource_of(kind: &Kind, subresource: Option<&str>) -> String {
    subresource.map_or_else(|| kind.plural.to_owned(), |sub| format!("{}/{sub}", kind.plural))
}
