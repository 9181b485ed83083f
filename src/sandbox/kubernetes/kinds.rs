//! The kinds that the API serves.

use super::schema::{Type, named};

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Empty for the core's.
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) short: &'static [&'static str],
    pub(super) namespaced: bool,
    /// The server counts changes of `spec` in `metadata.generation`.
    pub(super) counted: bool,
    /// Has a `status` that only controllers write.
    pub(super) status: bool,
}

const fn kind(group: &'static str, kind: &'static str, plural: &'static str, short: &'static [&'static str]) -> Kind {
    Kind { group, version: "v1", kind, plural, short, namespaced: true, counted: false, status: false }
}

/// All of them.
pub(super) static KINDS: &[Kind] = &[
    kind("", "ConfigMap", "configmaps", &["cm"]),
    kind("", "Event", "events", &["ev"]),
    Kind { namespaced: false, status: true, ..kind("", "Namespace", "namespaces", &["ns"]) },
    Kind { namespaced: false, status: true, ..kind("", "Node", "nodes", &["no"]) },
    Kind { namespaced: false, status: true, ..kind("", "PersistentVolume", "persistentvolumes", &["pv"]) },
    Kind { status: true, ..kind("", "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"]) },
    Kind { counted: true, status: true, ..kind("", "Pod", "pods", &["po"]) },
    Kind { status: true, ..kind("", "ResourceQuota", "resourcequotas", &["quota"]) },
    kind("", "Secret", "secrets", &[]),
    Kind { status: true, ..kind("", "Service", "services", &["svc"]) },
    kind("", "ServiceAccount", "serviceaccounts", &["sa"]),
    Kind { counted: true, status: true, ..kind("apps", "StatefulSet", "statefulsets", &["sts"]) },
    kind("coordination.k8s.io", "Lease", "leases", &[]),
    Kind { counted: true, ..kind("monitoring.coreos.com", "ServiceMonitor", "servicemonitors", &["smon"]) },
    Kind { counted: true, ..kind("networking.k8s.io", "NetworkPolicy", "networkpolicies", &["netpol"]) },
    Kind { counted: true, status: true, ..kind("policy", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"]) },
    kind("rbac.authorization.k8s.io", "Role", "roles", &[]),
    kind("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", &[]),
    Kind { namespaced: false, counted: true, ..kind("scheduling.k8s.io", "PriorityClass", "priorityclasses", &["pc"]) },
    Kind { namespaced: false, ..kind("storage.k8s.io", "StorageClass", "storageclasses", &["sc"]) },
];

impl Kind {
    /// Like `statefulsets.apps`, `pods`.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Like `apps/v1`, `v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// As errors name it: `apps/v1, Kind=StatefulSet`; the core's has an empty group before its slash.
    pub(super) fn shown(&self) -> String {
        format!("{}/{}, Kind={}", self.group, self.version, self.kind)
    }

    /// What its objects are made of.
    pub(super) fn of(&self) -> Type {
        named(self.kind)
    }
}

/// The kind of a path's group, version and resource.
pub(super) fn resource(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.group == group && k.version == version && k.plural == plural)
}

/// The kind of that name; those that the code names are all there.
pub(super) fn kind_of(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.kind == name)
}
