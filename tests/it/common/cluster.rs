//! A cluster to test against, with a namespace of its own for each test.
//!
//! `./tests/run` starts a real control plane (`tests/kubernetes/control-plane`) and names its kubeconfig in
//! `TRANSHIP_TEST_KUBECONFIG`. It has three nodes with zones, the PriorityClass `gitaly` and two StorageClasses:
//! `no-provisioner`, whose volumes [`Target::volume`] makes, and `expandable`, which provisions and grows. Pods become
//! ready within a second; what troubles them are annotations, of a pod or of its namespace ([`Target::steer`]), that
//! `tests/kubernetes/stages.yaml` explains.

use std::fmt::Debug;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use futures::FutureExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    Namespace, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota, Secret, ServiceAccount,
};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How long a condition may take on a loaded machine. It holds within a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// The administrator's kubeconfig; none where `./tests/run` could not start a control plane, which is then said.
pub(crate) fn kubeconfig() -> Option<Utf8PathBuf> {
    let found = std::env::var("TRANSHIP_TEST_KUBECONFIG").ok().filter(|path| !path.is_empty());
    if found.is_none() {
        // Past the harness, which would keep it from the reader.
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {name}: no TRANSHIP_TEST_KUBECONFIG; ./tests/run starts a control plane and sets it"
        );
    }
    found.map(Utf8PathBuf::from)
}

/// Something that speaks Kubernetes' API, with a namespace of this test's own.
#[derive(Clone)]
pub(crate) struct Target {
    /// The administrator's client. Its default namespace is the test's own.
    pub(crate) client: Client,
    /// The test's namespace.
    pub(crate) namespace: String,
    kubeconfig: Kubeconfig,
}

/// Runs a test in a namespace of its own of the real control plane, and removes that whatever happens; without a control
/// plane, says so.
pub(crate) fn on_cluster(test: impl AsyncFnOnce(&Target)) {
    let Some(path) = kubeconfig() else { return };
    let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let target = Target::new(kubeconfig).await;
        let ended = AssertUnwindSafe(test(&target)).catch_unwind().await;
        target.remove().await;
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Target {
    /// A new namespace.
    pub(crate) async fn new(kubeconfig: Kubeconfig) -> Self {
        let admin = client(kubeconfig.clone(), "default").await;
        let meta = json!({"generateName": "t-"});
        let namespace = serde_json::from_value(json!({"metadata": meta})).expect("a namespace");
        let made = Api::<Namespace>::all(admin).create(&PostParams::default(), &namespace).await.expect("a namespace");
        let namespace = made.metadata.name.expect("a name");
        let target = Self { client: client(kubeconfig.clone(), &namespace).await, namespace, kubeconfig };
        // Pods are refused before it is there.
        target.until::<ServiceAccount>("default", "there", |_| true).await;
        target
    }

    /// Another namespace of the same target.
    pub(crate) async fn another(&self) -> Self {
        Self::new(self.kubeconfig.clone()).await
    }

    /// Removes the namespace and its volumes; does not wait for the end of that.
    pub(crate) async fn remove(self) {
        let at_once = DeleteParams::default().grace_period(0);
        let all = ListParams::default();
        let _ = self.api::<Pod>().delete_collection(&at_once, &all).await;
        let _ = Api::<Namespace>::all(self.client.clone()).delete(&self.namespace, &at_once).await;
        let mine = ListParams::default().labels(&format!("namespace={}", self.namespace));
        let _ = Api::<PersistentVolume>::all(self.client.clone()).delete_collection(&at_once, &mine).await;
    }

    /// The namespace's objects of a kind.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies an object as the field manager `tranship`, unforced and strictly.
    pub(crate) async fn apply<K: Known>(&self, object: &Value) -> kube::Result<K> {
        self.apply_as("tranship", false, object).await
    }

    /// What applying an object would answer.
    pub(crate) async fn dry_run<K: Known>(&self, object: &Value) -> kube::Result<K> {
        self.apply_as("tranship", true, object).await
    }

    /// Applies an object as a field manager.
    pub(crate) async fn apply_as<K: Known>(&self, manager: &str, dry: bool, object: &Value) -> kube::Result<K> {
        let mut params = PatchParams::apply(manager).validation_strict();
        params.dry_run = dry;
        let name = object["metadata"]["name"].as_str().expect("metadata.name");
        let mut object = object.clone();
        object["apiVersion"] = K::api_version(&()).into();
        object["kind"] = K::kind(&()).into();
        self.api::<K>().patch(name, &params, &Patch::Apply(&object)).await
    }

    /// Waits until an object is as described.
    pub(crate) async fn until<K: Known>(&self, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> K {
        let begun = Instant::now();
        loop {
            let found = self.api::<K>().get_opt(name).await.expect("an answer");
            if let Some(object) = found.as_ref().filter(|object| holds(object)) {
                return object.clone();
            }
            let seen = serde_json::to_string_pretty(&found).expect("JSON");
            assert!(begun.elapsed() < PATIENCE, "{} {name} is not {what}: {seen}", K::kind(&()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an object is gone.
    pub(crate) async fn until_gone<K: Known>(&self, name: &str) {
        let begun = Instant::now();
        while self.api::<K>().get_opt(name).await.expect("an answer").is_some() {
            assert!(begun.elapsed() < PATIENCE, "{} {name} is still there", K::kind(&()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for a pod that is ready and is not the one with this uid.
    pub(crate) async fn until_ready(&self, name: &str, not: Option<&str>) -> Pod {
        self.until::<Pod>(name, "ready", |pod| pod.metadata.uid.as_deref() != not && ready(pod)).await
    }

    /// Makes a Secret.
    pub(crate) async fn secret(&self, name: &str, key: &str, value: &str) {
        let secret = json!({"metadata": {"name": name}, "stringData": {key: value}});
        self.apply_as::<Secret>("test", false, &secret).await.expect("a Secret");
    }

    /// Makes the volume that a claim of the class `no-provisioner` will be bound to: by hand, as an administrator does.
    pub(crate) async fn volume(&self, claim: &str, size: &str) {
        let volume = json!({
            "metadata": {"name": format!("{}-{claim}", self.namespace), "labels": {"namespace": self.namespace}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": size},
                "claimRef": {"namespace": self.namespace, "name": claim},
                "hostPath": {"path": "/nowhere"},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "no-provisioner",
            },
        });
        let volume = serde_json::from_value(volume).expect("a volume");
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        volumes.create(&PostParams::default(), &volume).await.expect("a volume");
    }

    /// Limits what the namespace may hold, and waits until that counts.
    pub(crate) async fn quota(&self, hard: &Value) {
        let quota = json!({"metadata": {"name": "quota"}, "spec": {"hard": hard}});
        self.apply_as::<ResourceQuota>("test", false, &quota).await.expect("a quota");
        self.until::<ResourceQuota>("quota", "counted", |quota| {
            quota.status.as_ref().is_some_and(|status| status.used.is_some())
        })
        .await;
    }

    /// Steers the pods that will be made in the namespace: `fault` and `crash-loop`, say. Without a value, no more.
    pub(crate) async fn steer(&self, key: &str, value: Option<&str>) {
        let patch = Patch::Merge(steering(key, value));
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.patch(&self.namespace, &PatchParams::default(), &patch).await.expect("patched");
    }

    /// Steers one pod from now on.
    pub(crate) async fn steer_pod(&self, pod: &str, key: &str, value: Option<&str>) {
        let patch = Patch::Merge(steering(key, value));
        self.api::<Pod>().patch(pod, &PatchParams::default(), &patch).await.expect("patched");
    }

    /// The kubeconfig of a new ServiceAccount that may do only what these rules of a Role say.
    pub(crate) async fn restricted(&self, account: &str, rules: &Value) -> Kubeconfig {
        let meta = json!({"name": account});
        let made = json!({"metadata": meta});
        self.apply_as::<ServiceAccount>("test", false, &made).await.expect("a ServiceAccount");
        let role = json!({"metadata": meta, "rules": rules});
        self.apply_as::<Role>("test", false, &role).await.expect("a Role");
        let binding = json!({
            "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": self.namespace}],
        });
        self.apply_as::<RoleBinding>("test", false, &binding).await.expect("a RoleBinding");
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(3600), ..Default::default() },
            ..Default::default()
        };
        let accounts = self.api::<ServiceAccount>();
        let made = accounts.create_token_request(account, &PostParams::default(), &request).await.expect("a token");
        let mut kubeconfig = self.kubeconfig.clone();
        let user = kubeconfig.auth_infos[0].auth_info.as_mut().expect("a user");
        user.token = Some(made.status.expect("a token").token.into());
        let context = kubeconfig.contexts[0].context.as_mut().expect("a context");
        context.namespace = Some(self.namespace.clone());
        kubeconfig
    }
}

/// What can be read, applied and shown.
pub(crate) trait Known:
    kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<K> Known for K where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned
{
}

/// A client of a kubeconfig.
pub(crate) async fn client(kubeconfig: Kubeconfig, namespace: &str) -> Client {
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a configuration");
    namespace.clone_into(&mut config.default_namespace);
    Client::try_from(config).expect("a client")
}

fn steering(key: &str, value: Option<&str>) -> Value {
    json!({"metadata": {"annotations": {format!("tranship.test/{key}"): value}}})
}

/// Whether a pod has the condition `Ready`.
pub(crate) fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether a claim has its volume.
pub(crate) fn bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
}
