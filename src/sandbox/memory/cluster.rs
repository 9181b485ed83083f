//! The engine's port onto the embedded cluster of a fleet in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::Value;

use super::super::kubernetes::Direct;
use super::port::Port;
use super::{Inner, Write};
use crate::apply::port::{Apply, Cluster, Delete, PortError, PortErrorKind, PortResult};
use crate::model::Bytes;
use crate::model::cluster::{Answer, Manifest, ObjectKey, ObjectKind, Surroundings};

/// The namespace that pods live in.
const NAMESPACE: &str = "gitaly";
/// How often the real adapter repeats what it may.
const ATTEMPTS: u32 = 5;

impl Port {
    /// A reading call, or a dry run: repeated, as the real adapter does, when its connection is cut.
    async fn look<T>(
        &self,
        method: &'static str,
        what: String,
        f: impl FnOnce(&mut Direct<'_>) -> T + Send,
    ) -> PortResult<T> {
        self.call(method, what.clone(), |_, inner| {
            for attempt in 1.. {
                if !inner.world.strikes("api_away") {
                    break;
                }
                if attempt == ATTEMPTS {
                    return Err(PortError::new(PortErrorKind::Transient, what, "connection refused"));
                }
            }
            Ok(direct(inner, f))
        })
        .await
    }

    /// A writing call. One whose connection is cut need not have reached the cluster, and here has not.
    async fn write(
        &self,
        method: &'static str,
        verb: &'static str,
        key: ObjectKey,
        f: impl FnOnce(&mut Direct<'_>) -> Answer + Send,
    ) -> PortResult<Answer> {
        let what = format!("{method} of {key}");
        self.call(method, what.clone(), |_, inner| {
            if inner.world.strikes("api_away") {
                return Err(PortError::new(PortErrorKind::Ambiguous, what, "the connection was closed"));
            }
            inner.writes.push(Write::Cluster(method, key.clone()));
            if inner.world.strikes("rbac_forbidden") {
                return Ok(direct(inner, |cluster| cluster.refused(verb, &key)));
            }
            Ok(direct(inner, f))
        })
        .await
    }
}

pub(super) fn direct<T>(inner: &mut Inner, f: impl FnOnce(&mut Direct<'_>) -> T) -> T {
    let now = inner.now;
    inner.world.cluster(|store| f(&mut Direct { store, namespace: NAMESPACE, now }))
}

fn key(kind: ObjectKind, name: &str) -> ObjectKey {
    ObjectKey { kind, name: name.to_owned() }
}

#[async_trait]
impl Cluster for Port {
    async fn version(&self) -> PortResult<String> {
        self.look("cluster_version", "version".to_owned(), |_| Direct::version()).await
    }

    async fn list(&self, kind: ObjectKind) -> PortResult<Vec<Value>> {
        self.look("cluster_list", format!("list of {}", kind.resource()), |c| c.list(kind)).await
    }

    async fn surroundings(&self, secrets: &BTreeSet<String>) -> PortResult<Surroundings> {
        self.look("surroundings", "surroundings".to_owned(), |c| c.surroundings(secrets)).await
    }

    async fn get(&self, key: &ObjectKey) -> PortResult<Option<Value>> {
        self.look("cluster_get", format!("reading {key}"), |c| c.get(key)).await
    }

    async fn apply(&self, manifest: &Manifest, how: Apply) -> PortResult<Answer> {
        if how.dry_run {
            return self
                .look("cluster_dry_run", format!("dry run of {}", manifest.key), |c| c.apply(manifest, how))
                .await;
        }
        self.write("apply", "patch", manifest.key.clone(), |c| c.apply(manifest, how)).await
    }

    async fn try_pod(&self, pod: &Manifest) -> PortResult<Answer> {
        self.look("try_pod", format!("dry run of {}", pod.key), |c| c.try_pod(pod)).await
    }

    async fn grow(&self, claim: &str, size: Bytes, dry_run: bool) -> PortResult<Answer> {
        if dry_run {
            return self.look("try_growth", format!("dry run of growing {claim}"), |c| c.grow(claim, size, true)).await;
        }
        let key = key(ObjectKind::PersistentVolumeClaim, claim);
        self.write("grow", "patch", key, |c| c.grow(claim, size, false)).await
    }

    async fn delete(&self, key: &ObjectKey, how: &Delete) -> PortResult<Answer> {
        if how.dry_run {
            return self.look("try_delete", format!("dry run of deleting {key}"), |c| c.delete(key, how)).await;
        }
        self.write("delete", "delete", key.clone(), |c| c.delete(key, how)).await
    }

    async fn evict(&self, pod: &str, uid: Option<&str>, dry_run: bool) -> PortResult<Answer> {
        if dry_run {
            return self.look("try_eviction", format!("dry run of evicting {pod}"), |c| c.evict(pod, uid, true)).await;
        }
        self.write("evict", "create", key(ObjectKind::Pod, pod), |c| c.evict(pod, uid, false)).await
    }

    async fn events(&self, key: &ObjectKey) -> PortResult<Vec<String>> {
        self.look("events", format!("events of {key}"), |c| c.events(key)).await
    }

    async fn may(&self, _verb: &str, _kind: ObjectKind) -> PortResult<Option<bool>> {
        self.look("may", "rights".to_owned(), |_| Some(true)).await
    }
}
