//! All objects of one pod storage but its StatefulSet, and what all of them have in common.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::gitaly::{METRICS, PORT, template};
use super::statefulset::{insert, statefulset, trial};
use crate::model::cluster::{ENVIRONMENT, Manifest, ObjectKey, ObjectKind, STORAGE_LABEL};
use crate::model::{Bytes, ClusterSettings, DesiredStorage, PodSpec};

/// The label that says what runs in a pod.
pub(super) const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Its value.
pub(super) const GITALY: &str = "gitaly";

/// What the objects of a storage are made from.
pub(super) struct Built<'a> {
    pub(super) storage: &'a DesiredStorage,
    pub(super) spec: &'a PodSpec,
    pub(super) cluster: &'a ClusterSettings,
    pub(super) environment: &'a str,
}

/// The name of the Service that GitLab dials; it stays when the pod goes.
pub fn service_name(storage: &str) -> String {
    format!("{storage}-{GITALY}")
}

impl Built<'_> {
    fn name(&self) -> &str {
        self.storage.name.as_str()
    }

    /// The size of the volume.
    pub(super) fn size(&self) -> Bytes {
        self.spec.disk.size
    }

    pub(super) fn selector(&self) -> Value {
        json!({ NAME_LABEL: GITALY, STORAGE_LABEL: self.storage.name })
    }

    pub(super) fn labels(&self) -> Value {
        json!({
            NAME_LABEL: GITALY,
            "app.kubernetes.io/instance": self.storage.name,
            "app.kubernetes.io/managed-by": crate::model::cluster::FIELD_MANAGER,
            STORAGE_LABEL: self.storage.name,
        })
    }

    /// An object with our labels and annotation, and nothing else.
    pub(super) fn object(&self, version: &str, kind: &str, name: &str) -> Value {
        json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": self.cluster.namespace,
                "labels": self.labels(),
                "annotations": { ENVIRONMENT: self.environment },
            },
        })
    }

    fn of(&self, kind: ObjectKind, name: &str, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Manifest {
        let mut body = self.object(kind.api_version(), kind.as_str(), name);
        fields.into_iter().for_each(|(field, value)| insert(&mut body, field, value));
        Manifest { key: ObjectKey { kind, name: name.to_owned() }, body }
    }

    /// All objects, in the order in which they are applied, and the Pod to try.
    pub(super) fn manifests(&self) -> (Vec<Manifest>, Manifest) {
        let data = json!({ "config.toml.tpl": template(&self.storage.name, self.spec, self.cluster) });
        let checksum = hex::encode(Sha256::digest(data.to_string()));
        let set = statefulset(self, &checksum);
        let trial = trial(self, &set);
        let key = |kind: ObjectKind, body: &Value| {
            let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            ObjectKey { kind, name: name.to_owned() }
        };
        let pod = Manifest { key: key(ObjectKind::Pod, &trial), body: trial };
        let account = [("automountServiceAccountToken", json!(false))];
        let mut manifests = vec![
            self.of(ObjectKind::ServiceAccount, self.name(), account),
            self.of(ObjectKind::ConfigMap, self.name(), [("data", data)]),
            self.headless(),
            self.stable(),
            self.disruption(),
        ];
        manifests.extend(self.network_policy());
        manifests.extend(self.service_monitor());
        manifests.push(Manifest {
            key: ObjectKey { kind: ObjectKind::StatefulSet, name: self.name().to_owned() },
            body: set,
        });
        (manifests, pod)
    }

    /// Ports named `tcp-…`: a mesh that took them for gRPC would break clone and fetch.
    fn headless(&self) -> Manifest {
        let spec = json!({
            "clusterIP": "None",
            "selector": self.selector(),
            "ports": [
                { "name": "tcp-gitaly", "port": PORT, "protocol": "TCP", "targetPort": "grpc-gitaly" },
                { "name": "http-metrics", "port": METRICS, "protocol": "TCP", "targetPort": "http-metrics" },
            ],
        });
        self.of(ObjectKind::Service, self.name(), [("spec", spec)])
    }

    fn stable(&self) -> Manifest {
        let service = &self.spec.service;
        let spec = json!({
            "type": service.kind.as_str(),
            "selector": self.selector(),
            "ports": [{ "name": "tcp-gitaly", "port": PORT, "protocol": "TCP", "targetPort": "grpc-gitaly" }],
        });
        let mut manifest = self.of(ObjectKind::Service, &service_name(self.name()), [("spec", spec)]);
        if let Some(annotations) = manifest.body.pointer_mut("/metadata/annotations") {
            service.annotations.iter().for_each(|(name, value)| insert(annotations, name, json!(value)));
        }
        manifest
    }

    fn disruption(&self) -> Manifest {
        let spec = json!({
            "maxUnavailable": self.spec.max_unavailable,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": { "matchLabels": self.selector() },
        });
        self.of(ObjectKind::PodDisruptionBudget, self.name(), [("spec", spec)])
    }

    fn network_policy(&self) -> Option<Manifest> {
        let policy = self.spec.network_policy.as_ref()?;
        let namespace =
            |name: &String| json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } });
        // Other Gitalys of the namespace fetch from this one when a repository moves off it.
        let gitalys = json!({ "podSelector": { "matchLabels": { NAME_LABEL: GITALY } } });
        let mut callers = vec![gitalys];
        callers.extend(policy.namespaces.iter().map(namespace));
        callers.extend(policy.cidrs.iter().map(|cidr| json!({ "ipBlock": { "cidr": cidr } })));
        let mut ingress = vec![json!({ "from": callers, "ports": [{ "port": PORT, "protocol": "TCP" }] })];
        if !policy.metrics.is_empty() {
            let from: Vec<Value> = policy.metrics.iter().map(namespace).collect();
            ingress.push(json!({ "from": from, "ports": [{ "port": METRICS, "protocol": "TCP" }] }));
        }
        let spec = json!({
            "podSelector": { "matchLabels": self.selector() },
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        });
        Some(self.of(ObjectKind::NetworkPolicy, self.name(), [("spec", spec)]))
    }

    fn service_monitor(&self) -> Option<Manifest> {
        let monitor = self.spec.service_monitor.as_ref()?;
        let mut endpoint = json!({ "port": "http-metrics" });
        if let Some(seconds) = monitor.interval_seconds {
            insert(&mut endpoint, "interval", json!(format!("{seconds}s")));
        }
        let spec = json!({ "selector": { "matchLabels": self.selector() }, "endpoints": [endpoint] });
        let mut manifest = self.of(ObjectKind::ServiceMonitor, self.name(), [("spec", spec)]);
        if let Some(labels) = manifest.body.pointer_mut("/metadata/labels") {
            monitor.labels.iter().for_each(|(name, value)| insert(labels, name, json!(value)));
        }
        Some(manifest)
    }
}
