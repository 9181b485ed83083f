//! Pod storages: what becomes of them in the cluster, and what of it a plan changes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What applying an object does to the storage. A StatefulSet that must be made anew and a volume that grows are
/// actions of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeClass {
    /// The object does not exist.
    Create,
    /// Nothing restarts.
    InPlace,
    /// The pod restarts: the storage is away meanwhile.
    RollsPod,
}

/// One field of an object, now and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Like `.spec.template.spec.containers[gitaly].image`.
    pub path: String,
    /// `None`: the field is not there.
    pub before: Option<Value>,
    /// `None`: the field goes.
    pub after: Option<Value>,
}
