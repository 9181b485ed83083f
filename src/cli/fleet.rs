//! The embedded fleet from the command line's side: its process, its addresses, and, where the pods are in a real
//! cluster, the word that it gets of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use secrecy::SecretString;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::context::{real_cluster, world};
use super::failure::Failure;
use super::signals::Signals;
use crate::apply::port::{Cluster, PortResult, Ports};
use crate::diag::Diagnostic;
use crate::live::kubernetes::{Access, ClusterTarget, KubeCluster};
use crate::live::{GitalyTarget, PrometheusTarget, ScaledClock, Target};
use crate::model::cluster::{ObjectKind, STORAGE_LABEL};
use crate::model::quantity::Quantity;
use crate::model::{ClusterSettings, Desired, DesiredStorage, Endpoint, SandboxConnection, Scheme, StorageName};
use crate::sandbox::memory::{Handle, MemoryFleet};
use crate::sandbox::{self, Endpoints, PodFacts, PodNeeds};

/// How often a real cluster is looked at for the fleet.
const LOOK: Duration = Duration::from_millis(500);
/// How often the fleet hears that somebody waits: well within the time after which it ends.
const TOUCH: Duration = Duration::from_secs(8);

/// Storages that are declared, without a pod, but not part of the sandbox: nothing could ever be moved to or from them.
pub(super) fn absent_storages(desired: &Desired, spec: &SandboxConnection) -> Vec<Diagnostic> {
    let known: BTreeSet<&StorageName> = spec.storages.iter().map(|storage| &storage.name).collect();
    let vms = desired.storages.values().filter(|storage| storage.pod.is_none());
    let diagnostic = |storage: &DesiredStorage| {
        let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        Diagnostic::error("sandbox/storage-missing", "Storage missing from the sandbox")
            .at(storage.span)
            .detail(format!(
                "{} is storage `{}` in GitLab; the sandbox {:?} has {}.",
                storage.address,
                storage.name,
                spec.name,
                if names.is_empty() { "no storage".to_owned() } else { names.join(", ") },
            ))
            .help(format!("Add it to the `sandbox` block: storage \"{}\" {{ disk = \"20Gi\" }}", storage.name))
    };
    vms.filter(|storage| !known.contains(&storage.name)).map(diagnostic).collect()
}

/// Starts or finds the fleet, and says how its systems are reached. With a real cluster, the fleet hears of its pods as
/// long as the word is kept.
pub(super) async fn target(
    desired: &Desired,
    spec: &SandboxConnection,
    signals: &Signals,
) -> Result<(Target, Option<Word>), Failure> {
    let exe = std::env::current_exe().map_err(|error| {
        Failure::new(format!("this program's own file cannot be found: {error}"), "Start it by its full path.")
    })?;
    let folder = world(&spec.name)?;
    let mut endpoints = signals.or_stop(sandbox::ensure(&folder, &exe, spec)).await??;
    let pods: BTreeSet<StorageName> =
        desired.storages.values().filter(|s| s.pod.is_some()).map(|s| s.name.clone()).collect();
    let real = real_cluster(desired);
    if !pods.is_empty() {
        let needs = needs(desired.cluster.as_ref().filter(|_| real.is_none()), pods);
        endpoints = signals.or_stop(sandbox::expect_pods(&endpoints, &needs)).await??;
    }
    let labels: BTreeMap<StorageName, BTreeMap<String, String>> =
        desired.storages.values().map(|s| (s.name.clone(), s.metrics.clone())).filter(|(_, l)| !l.is_empty()).collect();
    signals.or_stop(sandbox::label(&endpoints, labels)).await??;
    let word = Word::keep(real.clone(), endpoints.clone()).await;
    let cluster = real.or_else(|| embedded(desired, &endpoints));
    Ok((reached(desired, endpoints, cluster), Some(word)))
}

/// The fleet within this process, its world kept in a file between two commands: what stories run on beside the sockets.
pub(crate) struct InMemory {
    pub(crate) ports: Ports,
    pub(crate) handle: Handle,
    file: Utf8PathBuf,
}

impl InMemory {
    /// The fleet in memory, where the environment asks for it (`TRANSHIP_SANDBOX=memory`).
    pub(crate) fn wanted(spec: &SandboxConnection) -> Result<Option<Self>, Failure> {
        if std::env::var_os("TRANSHIP_SANDBOX").is_none_or(|how| how != "memory") {
            return Ok(None);
        }
        let file = world(&spec.name)?.join("memory.json");
        let (ports, handle) = MemoryFleet::resume(spec, &file)?;
        Ok(Some(Self { ports, handle, file }))
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        if let Err(error) = self.handle.keep(&self.file) {
            tracing::error!(%error, "the fleet in memory is not kept");
        }
    }
}

/// What the embedded cluster must have for the configuration's pods.
fn needs(settings: Option<&ClusterSettings>, storages: BTreeSet<StorageName>) -> PodNeeds {
    let mut needs = PodNeeds { storages, ..PodNeeds::default() };
    if let Some(settings) = settings {
        needs.namespace.clone_from(&settings.namespace);
        for secret in [&settings.gitaly_token, &settings.shell_secret].into_iter().flatten() {
            needs.secrets.entry(secret.name.clone()).or_default().insert(secret.key.clone());
        }
    }
    needs
}

/// The embedded cluster, where pods live in it.
fn embedded(desired: &Desired, endpoints: &Endpoints) -> Option<Arc<KubeCluster>> {
    let settings = desired.cluster.as_ref()?;
    let token = Some(SecretString::from(endpoints.kubernetes_token.clone()));
    let access = Access::Server { url: endpoints.kubernetes_url.clone(), token };
    Some(Arc::new(KubeCluster::new(ClusterTarget { access, namespace: settings.namespace.clone() })))
}

/// How the fleet's declared storages are reached.
fn reached(desired: &Desired, endpoints: Endpoints, cluster: Option<Arc<KubeCluster>>) -> Target {
    let Endpoints {
        pid: _,
        gitlab_url,
        gitlab_token,
        gitaly,
        gitaly_token,
        kubernetes_url: _,
        kubernetes_token: _,
        prometheus_url,
        fleet_epoch,
        real_epoch,
        speed,
    } = endpoints;
    let declared = gitaly.into_iter().filter(|(name, _)| desired.storages.contains_key(name));
    let gitaly = declared.map(|(name, authority)| {
        let endpoint = Endpoint { scheme: Scheme::Tcp, authority };
        (name, GitalyTarget { endpoint, token: Some(SecretString::from(gitaly_token.clone())), ca: None })
    });
    Target {
        gitlab_url,
        gitlab_token: SecretString::from(gitlab_token),
        gitlab_ca: None,
        gitaly: gitaly.collect(),
        cluster,
        prometheus: Some(PrometheusTarget { url: prometheus_url, token: None, ca: None }),
        clock: Some(ScaledClock { fleet_epoch, real_epoch, speed }),
    }
}

/// Keeps telling the fleet that somebody waits, and of a real cluster's pods, until it is dropped.
pub(crate) struct Word(Vec<JoinHandle<()>>);

impl Drop for Word {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Word {
    /// Tells once before it returns, so that the fleet is read as it is. A cluster that cannot be read is told of by
    /// whoever needs it.
    async fn keep(cluster: Option<Arc<KubeCluster>>, endpoints: Endpoints) -> Self {
        let mut tasks = Vec::new();
        if let Some(cluster) = cluster {
            let endpoints = endpoints.clone();
            let mut told = tell(&cluster, &endpoints, None).await;
            tasks.push(tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LOOK).await;
                    told = tell(&cluster, &endpoints, told).await;
                }
            }));
        }
        // A long wait asks nothing, and the fleet ends when nobody asks.
        tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(TOUCH).await;
                sandbox::touch(&endpoints).await;
            }
        }));
        Self(tasks)
    }
}

/// Tells the fleet of the pods there are, if they are other than those told before.
async fn tell(
    cluster: &KubeCluster,
    endpoints: &Endpoints,
    before: Option<BTreeMap<StorageName, PodFacts>>,
) -> Option<BTreeMap<StorageName, PodFacts>> {
    match look(cluster).await {
        Ok(pods) if before.as_ref() == Some(&pods) => before,
        Ok(pods) => sandbox::relay(endpoints, pods.clone()).await.is_ok().then_some(pods),
        Err(error) => {
            tracing::debug!(%error, "the fleet is not told of the cluster's pods");
            before
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The pods of storages, with their claims' disks.
async fn look(cluster: &dyn Cluster) -> PortResult<BTreeMap<StorageName, PodFacts>> {
    let claims = cluster.list(ObjectKind::PersistentVolumeClaim).await?;
    let pods = cluster.list(ObjectKind::Pod).await?;
    let found = pods.iter().filter_map(|pod| {
        let label = pod.pointer("/metadata/labels")?.get(STORAGE_LABEL)?.as_str()?;
        let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array)?;
        let claim =
            volumes.iter().map(|v| text(v, "/persistentVolumeClaim/claimName")).find(|name| !name.is_empty())?;
        let claim = claims.iter().find(|c| text(c, "/metadata/name") == claim)?;
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let ready = |c: &Value| text(c, "/type") == "Ready" && text(c, "/status") == "True";
        let stays = text(pod, "/metadata/deletionTimestamp").is_empty();
        let facts = PodFacts {
            disk: Quantity::parse(text(claim, "/status/capacity/storage")).ok()?.bytes().0,
            identity: text(claim, "/metadata/uid").to_owned(),
            version: text(pod, "/spec/containers/0/image").rsplit_once(":v").map(|(_, tag)| tag.to_owned()),
            ready: stays && conditions.is_some_and(|all| all.iter().any(ready)),
        };
        Some((StorageName::new(label).ok()?, facts))
    });
    Ok(found.collect())
}
