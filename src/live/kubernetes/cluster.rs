//! Which call of the port is which request to the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use futures::future::join_all;
use http::Request;
use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
    Request as Resource,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::access::ClusterTarget;
use super::answer;
use super::api::{Api, Call, Failure, Mode, Patience};
use super::facts;
use crate::apply::port::{Apply, Cluster, Delete, PortError, PortErrorKind, PortResult};
use crate::model::cluster::{Answer, FIELD_MANAGER, Manifest, ObjectKey, ObjectKind, Surroundings};
use crate::model::quantity::Size;
use crate::model::{Bytes, Reading};

/// Objects on one page of a list: a namespace of a hundred storages fits on few, and a page stays below some megabytes.
const PAGE: u32 = 500;
/// A list that starts anew because its pages ran out of time does so at most this often.
const RELISTS: u32 = 3;
/// Events told of one object.
const EVENTS: usize = 20;

type Built = Result<Request<Vec<u8>>, kube::core::request::Error>;

/// The adapter to one namespace of one cluster.
pub struct KubeCluster {
    api: Api,
    namespace: String,
}

impl fmt::Debug for KubeCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeCluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl KubeCluster {
    /// Reads nothing and dials nothing: the first call does.
    pub fn new(target: ClusterTarget) -> Self {
        Self { api: Api::new(target.access), namespace: target.namespace }
    }

    /// Over a client that is there already.
    pub fn with_client(client: kube::Client, namespace: impl Into<String>) -> Self {
        Self { api: Api::given(client), namespace: namespace.into() }
    }

    /// Changes how long reads and dry runs are repeated.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.api.patience = patience;
        self
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.api.requests()
    }

    /// One value of a Secret.
    ///
    /// # Errors
    /// The Secret or the key is not there, may not be read, or holds no text.
    pub async fn secret(&self, name: &str, key: &str) -> PortResult<SecretString> {
        let what = format!("reading Secret {name} in namespace {}", self.namespace);
        let absent = |message: String, help: String| PortError {
            help: Some(help),
            ..PortError::new(PortErrorKind::NotFound, what.clone(), message)
        };
        let Some(secret) = self.read_secret(name).await? else {
            return Err(absent(
                "there is no such Secret".to_owned(),
                format!("Make it, or name another: kubectl --namespace {} get secrets", self.namespace),
            ));
        };
        let data = secret["data"].as_object();
        let Some(encoded) = data.and_then(|data| data.get(key)).and_then(Value::as_str) else {
            let keys: Vec<&str> = data.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
            let has = if keys.is_empty() { "it has none".to_owned() } else { format!("it has {}", keys.join(", ")) };
            return Err(absent(format!("it has no key `{key}`; {has}"), "Name a key that it has.".to_owned()));
        };
        let text = base64::engine::general_purpose::STANDARD.decode(encoded).ok();
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(SecretString::from)
            .ok_or_else(|| absent(format!("its key `{key}` holds no text"), "A token is plain text.".to_owned()))
    }

    async fn read_secret(&self, name: &str) -> PortResult<Option<Value>> {
        let path = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        let what = format!("reading Secret {name} in namespace {}", self.namespace);
        match self.read(&what, Resource::new(path).get(name, &GetParams::default())).await {
            Ok(secret) => Ok(Some(secret)),
            Err(Failure::Said(status)) if status.code == 404 => Ok(None),
            Err(failure) => Err(failure.into_error(&what)),
        }
    }

    fn resource(&self, kind: ObjectKind) -> Resource {
        let version = kind.api_version();
        let root = if version.contains('/') { "/apis" } else { "/api" };
        Resource::new(format!("{root}/{version}/namespaces/{}/{}", self.namespace, kind.resource()))
    }

    fn named(&self, verb: &str, key: &ObjectKey) -> String {
        format!("{verb} {key} in namespace {}", self.namespace)
    }

    async fn send(&self, what: &str, mode: Mode, request: Built) -> Result<Value, Failure> {
        let request = request.map_err(|_| {
            // The only part that is not ours is a name.
            let error = PortError::new(PortErrorKind::Refused, what, "a name in it cannot stand in an address");
            Failure::Lost(error)
        })?;
        self.api.call(&Call { what: what.to_owned(), mode, request }).await
    }

    async fn read(&self, what: &str, request: Built) -> Result<Value, Failure> {
        self.send(what, Mode::Read, request).await
    }

    /// A call whose refusal is an answer.
    async fn ask(&self, what: &str, dry_run: bool, kind: ObjectKind, request: Built) -> PortResult<Answer> {
        let mode = if dry_run { Mode::Read } else { Mode::Write };
        match self.send(what, mode, request).await {
            Ok(object) => Ok(Answer::Accepted(object)),
            Err(Failure::Said(status)) => {
                let sent = format!("{kind} ({})", kind.api_version());
                Ok(Answer::Refused(answer::refusal(&status, &sent)))
            }
            Err(Failure::Lost(error)) => Err(error),
        }
    }

    /// All pages of a list.
    async fn pages(&self, what: &str, resource: &Resource) -> PortResult<Vec<Value>> {
        let mut relists = 0;
        let mut items: Vec<Value> = Vec::new();
        let mut token = String::new();
        loop {
            let mut params = ListParams::default().limit(PAGE);
            if !token.is_empty() {
                params = params.continue_token(&token);
            }
            let mut page = match self.read(what, resource.list(&params)).await {
                Ok(page) => page,
                // The pages' snapshot is gone: from the beginning.
                Err(Failure::Said(status)) if status.code == 410 && relists < RELISTS => {
                    relists += 1;
                    items.clear();
                    token.clear();
                    continue;
                }
                Err(failure) => return Err(failure.into_error(what)),
            };
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            facts::text(&page, "/metadata/continue").clone_into(&mut token);
            if token.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Something that need not be there, nor be readable.
    async fn glimpse(&self, what: &str, request: Built) -> PortResult<Option<Value>> {
        match self.read(what, request).await {
            Ok(found) => Ok(Some(found)),
            Err(Failure::Said(status)) if matches!(status.code, 403 | 404) => Ok(None),
            Err(failure) => Err(failure.into_error(what)),
        }
    }

    /// A list of something that need not be readable.
    async fn look<T>(&self, path: &str, what: &str, facts: impl FnOnce(&[Value]) -> T) -> Reading<T> {
        match self.pages(&format!("list of {what}"), &Resource::new(path)).await {
            Ok(items) => Reading::Known(facts(&items)),
            Err(error) => Reading::Unknown(match &error.help {
                Some(help) => format!("{error}. {help}"),
                None => error.to_string(),
            }),
        }
    }
}

/// The name that Kubernetes's attach controller gives to the attachment of a CSI volume to a node.
fn attachment(handle: &str, driver: &str, node: &str) -> String {
    format!("csi-{}", hex::encode(Sha256::digest(format!("{handle}{driver}{node}"))))
}

#[async_trait]
impl Cluster for KubeCluster {
    async fn version(&self) -> PortResult<String> {
        let what = "asking the API server for its version";
        let request = Request::get("/version").body(Vec::new()).map_err(kube::core::request::Error::BuildRequest);
        let answer = self.read(what, request).await.map_err(|failure| failure.into_error(what))?;
        let version = facts::text(&answer, "/gitVersion");
        if version.is_empty() {
            let message = "the answer has no `gitVersion`; is this the API server?";
            return Err(PortError::new(PortErrorKind::Protocol, what, message));
        }
        Ok(version.to_owned())
    }

    async fn list(&self, kind: ObjectKind) -> PortResult<Vec<Value>> {
        let what = format!("list of {} in namespace {}", kind.resource(), self.namespace);
        match self.pages(&what, &self.resource(kind)).await {
            Ok(mut items) => {
                // The items of a list do not say what they are.
                for item in items.iter_mut().filter_map(Value::as_object_mut) {
                    item.insert("apiVersion".to_owned(), kind.api_version().into());
                    item.insert("kind".to_owned(), kind.as_str().into());
                }
                Ok(items)
            }
            // A namespace that is not there has empty lists: this is a kind that the server does not have.
            Err(error) if error.kind == PortErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn surroundings(&self, secrets: &BTreeSet<String>) -> PortResult<Surroundings> {
        let quota = format!("/api/v1/namespaces/{}/resourcequotas", self.namespace);
        let asked = secrets.iter().map(async |name| {
            let keys = match self.read_secret(name).await {
                Ok(secret) => Reading::Known(secret.map(|secret| {
                    let keys = secret["data"].as_object().into_iter().flatten();
                    keys.map(|(key, _)| key.clone()).collect::<BTreeSet<String>>()
                })),
                Err(error) => Reading::Unknown(error.to_string()),
            };
            (name.clone(), keys)
        });
        let (secrets, storage_classes, priority_classes, nodes, quotas, volumes) = futures::join!(
            join_all(asked),
            self.look("/apis/storage.k8s.io/v1/storageclasses", "storageclasses", facts::storage_classes),
            self.look("/apis/scheduling.k8s.io/v1/priorityclasses", "priorityclasses", facts::names),
            self.look("/api/v1/nodes", "nodes", facts::nodes),
            self.look(&quota, "resourcequotas", facts::quotas),
            self.look("/api/v1/persistentvolumes", "persistentvolumes", facts::volumes),
        );
        let secrets: BTreeMap<_, _> = secrets.into_iter().collect();
        Ok(Surroundings { secrets, storage_classes, priority_classes, nodes, quotas, volumes })
    }

    async fn get(&self, key: &ObjectKey) -> PortResult<Option<Value>> {
        let what = self.named("reading", key);
        match self.read(&what, self.resource(key.kind).get(&key.name, &GetParams::default())).await {
            Ok(object) => Ok(Some(object)),
            Err(Failure::Said(status)) if status.code == 404 => Ok(None),
            Err(failure) => Err(failure.into_error(&what)),
        }
    }

    async fn apply(&self, manifest: &Manifest, how: Apply) -> PortResult<Answer> {
        let key = &manifest.key;
        let what = self.named(if how.dry_run { "dry run of applying" } else { "applying" }, key);
        let params = PatchParams { dry_run: how.dry_run, force: how.force, ..PatchParams::apply(FIELD_MANAGER) };
        let patch = Patch::Apply(&manifest.body);
        let request = self.resource(key.kind).patch(&key.name, &params.validation_strict(), &patch);
        self.ask(&what, how.dry_run, key.kind, request).await
    }

    async fn try_pod(&self, pod: &Manifest) -> PortResult<Answer> {
        let what = self.named("dry run of creating", &pod.key);
        let params = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let request = self.resource(ObjectKind::Pod).create(&params, pod.body.to_string().into_bytes());
        self.ask(&what, true, ObjectKind::Pod, request).await
    }

    async fn grow(&self, claim: &str, size: Bytes, dry_run: bool) -> PortResult<Answer> {
        let kind = ObjectKind::PersistentVolumeClaim;
        let key = ObjectKey { kind, name: claim.to_owned() };
        let what = self.named(if dry_run { "dry run of growing" } else { "growing" }, &key);
        let size = Size(size).to_string();
        let patch = Patch::Merge(json!({ "spec": { "resources": { "requests": { "storage": size } } } }));
        let params = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER) };
        self.ask(&what, dry_run, kind, self.resource(kind).patch(claim, &params, &patch)).await
    }

    async fn delete(&self, key: &ObjectKey, how: &Delete) -> PortResult<Answer> {
        let what = self.named("deleting", key);
        if !(key.kind == ObjectKind::Pod || key.kind == ObjectKind::StatefulSet && how.orphan) {
            let message = "tranship deletes pods, and StatefulSets that leave their pods behind; nothing else";
            return Err(PortError::new(PortErrorKind::Refused, what, message));
        }
        let (uid, resource_version) = (how.uid.clone(), how.resource_version.clone());
        let asks = uid.is_some() || resource_version.is_some();
        let preconditions = asks.then_some(Preconditions { uid, resource_version });
        let params = DeleteParams {
            dry_run: how.dry_run,
            propagation_policy: how.orphan.then_some(PropagationPolicy::Orphan),
            preconditions,
            grace_period_seconds: None,
        };
        self.ask(&what, how.dry_run, key.kind, self.resource(key.kind).delete(&key.name, &params)).await
    }

    async fn evict(&self, pod: &str, uid: Option<&str>, dry_run: bool) -> PortResult<Answer> {
        let key = ObjectKey { kind: ObjectKind::Pod, name: pod.to_owned() };
        let what = self.named(if dry_run { "dry run of evicting" } else { "evicting" }, &key);
        let mut eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": pod, "namespace": self.namespace },
        });
        if let (Some(uid), Some(eviction)) = (uid, eviction.as_object_mut()) {
            eviction.insert("deleteOptions".to_owned(), json!({ "preconditions": { "uid": uid } }));
        }
        let params = PostParams { dry_run, field_manager: None };
        let body = eviction.to_string().into_bytes();
        let request = self.resource(ObjectKind::Pod).create_subresource("eviction", pod, &params, body);
        self.ask(&what, dry_run, ObjectKind::Pod, request).await
    }

    async fn identity(&self) -> PortResult<Option<String>> {
        let what = "reading Namespace kube-system";
        let namespaces = Resource::new("/api/v1/namespaces");
        let found = self.glimpse(what, namespaces.get("kube-system", &GetParams::default())).await?;
        Ok(found.map(|namespace| facts::text(&namespace, "/metadata/uid").to_owned()).filter(|uid| !uid.is_empty()))
    }

    async fn attached(&self, volume: &str, node: &str) -> PortResult<Option<bool>> {
        let what = format!("reading PersistentVolume {volume}");
        let volumes = Resource::new("/api/v1/persistentvolumes");
        let Some(volume) = self.glimpse(&what, volumes.get(volume, &GetParams::default())).await? else {
            return Ok(None);
        };
        let (driver, handle) =
            (facts::text(&volume, "/spec/csi/driver"), facts::text(&volume, "/spec/csi/volumeHandle"));
        if driver.is_empty() {
            return Ok(None);
        }
        let name = attachment(handle, driver, node);
        let what = format!("reading VolumeAttachment {name}");
        let attachments = Resource::new("/apis/storage.k8s.io/v1/volumeattachments");
        match self.read(&what, attachments.get(&name, &GetParams::default())).await {
            Ok(_) => Ok(Some(true)),
            Err(Failure::Said(status)) if status.code == 404 => Ok(Some(false)),
            Err(Failure::Said(status)) if status.code == 403 => Ok(None),
            Err(failure) => Err(failure.into_error(&what)),
        }
    }

    async fn events(&self, key: &ObjectKey) -> PortResult<Vec<String>> {
        let what = self.named("list of events of", key);
        let path = format!("/api/v1/namespaces/{}/events", self.namespace);
        let fields = format!("involvedObject.kind={},involvedObject.name={}", key.kind, key.name);
        let request = Resource::new(path).list(&ListParams::default().fields(&fields));
        let mut answer = self.read(&what, request).await.map_err(|failure| failure.into_error(&what))?;
        match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(facts::events(items, EVENTS)),
            _ => Ok(Vec::new()),
        }
    }

    async fn may(&self, verb: &str, kind: ObjectKind) -> PortResult<Option<bool>> {
        let what = format!("asking whether one may {verb} {}", kind.resource());
        let group = kind.api_version().split_once('/').map_or("", |(group, _)| group);
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": self.namespace, "verb": verb, "group": group, "resource": kind.resource(),
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let request = Resource::new(path).create(&PostParams::default(), review.to_string().into_bytes());
        match self.read(&what, request).await {
            Ok(answer) => Ok(answer.pointer("/status/allowed").and_then(Value::as_bool)),
            Err(Failure::Said(_)) => Ok(None),
            Err(Failure::Lost(error)) => Err(error),
        }
    }
}
