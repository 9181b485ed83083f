//! What planning pod storages costs the API server and the operator: requests, in all and for each storage, and the wall
//! time of the whole program, for 50 storages with nothing to do and with all of them to restart. On the embedded fleet;
//! and on a real control plane, where TRANSHIP_TEST_KUBECONFIG names one (`tests/kubernetes/control-plane start DIR`).
//!
//! `cargo bench --bench pods`. Prints figures and targets; judges nothing.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use tranship::config::{VariableInputs, load};
use tranship::live::kubernetes::{Access, ClusterTarget, KubeCluster};
use tranship::live::{self, GitalyTarget, Request, SystemClock, Target};
use tranship::model::{Endpoint, Scheme, StorageName};
use tranship::plan::pods;

type Outcome<T> = Result<T, Box<dyn Error>>;

const STORAGES: u32 = 50;
const RUNS: usize = 5;

fn main() -> Outcome<()> {
    println!("pods: {STORAGES} pod storages, {RUNS} runs each, the median; target: under 2 s wall with nothing to do");
    measure("embedded", None)?;
    match std::env::var("TRANSHIP_TEST_KUBECONFIG") {
        Ok(file) => measure("real", Some(file))?,
        Err(_) => println!("SKIPPED: a real control plane: no TRANSHIP_TEST_KUBECONFIG"),
    }
    Ok(())
}

/// A configuration of many small pods in a folder of its own; `kubeconfig`: for a namespace of a real cluster.
struct Case {
    folder: Utf8PathBuf,
    kubeconfig: Option<String>,
    namespace: String,
    _temporary: tempfile::TempDir,
}

impl Case {
    fn new(kubeconfig: Option<String>) -> Outcome<Self> {
        let temporary = tempfile::tempdir()?;
        let folder = Utf8PathBuf::try_from(temporary.path().to_owned())?;
        let real = kubeconfig.is_some();
        let namespace = if real { format!("bench-{}", std::process::id()) } else { "gitaly".to_owned() };
        let case = Self { folder, kubeconfig, namespace, _temporary: temporary };
        let cluster = case.kubeconfig.as_ref().map_or_else(String::new, |file| {
            format!(
                "kubernetes {{\n  kubeconfig = {file:?}\n  namespace = {:?}\n  secrets {{\n    gitaly_token = {{ name = \"gitaly-token\", key = \"token\" }}\n    shell_secret = {{ name = \"gitlab-shell-secret\", key = \"secret\" }}\n  }}\n}}\n",
                case.namespace
            )
        });
        let class = if real { "expandable" } else { "premium-rwo" };
        let text = format!(
            "variable \"version\" {{\n  type = string\n  default = \"v18.2.0\"\n}}\n\
             sandbox \"bench\" {{\n  repositories = 0\n  speed = 20\n  storage \"default\" {{ disk = \"20Gi\" }}\n}}\n{cluster}\
             pod_spec \"small\" {{\n  image = \"example.com/gitaly:${{var.version}}\"\n  cpu = 0.1\n  memory = \"256Mi\"\n  \
             priority_class = \"gitaly\"\n  anti_affinity = \"preferred\"\n  disk {{\n    size = \"1Gi\"\n    class = \"{class}\"\n    retain = false\n  }}\n}}\n\
             storage \"gitaly\" {{\n  for_each = toset([for n in range({STORAGES}) : format(\"%02d\", n)])\n  name = \"gitaly-${{each.key}}\"\n  pod = pod_spec.small\n}}\n"
        );
        std::fs::write(case.folder.join("main.hcl"), text)?;
        case.kubectl(&["create", "namespace", &case.namespace])?;
        case.kubectl(&[
            "-n",
            &case.namespace,
            "create",
            "secret",
            "generic",
            "gitaly-token",
            "--from-literal=token=x",
        ])?;
        case.kubectl(&[
            "-n",
            &case.namespace,
            "create",
            "secret",
            "generic",
            "gitlab-shell-secret",
            "--from-literal=secret=x",
        ])?;
        Ok(case)
    }

    /// Asks the real cluster, if there is one.
    fn kubectl(&self, words: &[&str]) -> Outcome<()> {
        let Some(file) = &self.kubeconfig else { return Ok(()) };
        let output = Command::new("kubectl").arg("--kubeconfig").arg(file).args(words).output()?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    }

    /// Runs the program; its exit code and wall time, seconds.
    fn tranship(&self, words: &[&str]) -> Outcome<(Option<i32>, f64)> {
        let began = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_tranship")).arg("-C").arg(&self.folder).args(words).output()?;
        let seconds = began.elapsed().as_secs_f64();
        if output.status.code() == Some(1) {
            return Err(format!(
                "{words:?}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
            .into());
        }
        Ok((output.status.code(), seconds))
    }

    fn median(&self, words: &[&str]) -> Outcome<(Option<i32>, f64)> {
        let mut runs = (0..RUNS).map(|_| self.tranship(words)).collect::<Outcome<Vec<_>>>()?;
        runs.sort_by(|a, b| a.1.total_cmp(&b.1));
        runs.get(RUNS / 2).copied().ok_or_else(|| "no run".into())
    }

    /// Reads the fleet as `plan` does; how many requests that took, and how long, seconds.
    fn requests(&self, version: &str) -> Outcome<(u64, f64)> {
        let endpoint = std::fs::read_to_string(self.folder.join(".tranship/sandbox/bench/endpoint.json"))?;
        let endpoint: Value = serde_json::from_str(&endpoint)?;
        let text = |name: &str| endpoint[name].as_str().unwrap_or_default().to_owned();
        let access = match &self.kubeconfig {
            Some(file) => Access::Kubeconfig { file: Some(file.clone()), context: None },
            None => Access::Server { url: text("kubernetes_url"), token: Some(text("kubernetes_token").into()) },
        };
        let cluster = Arc::new(KubeCluster::new(ClusterTarget { access, namespace: self.namespace.clone() }));
        let mut gitaly = BTreeMap::new();
        for (name, authority) in endpoint["gitaly"].as_object().into_iter().flatten() {
            let authority = authority.as_str().unwrap_or_default().to_owned();
            let target = GitalyTarget {
                endpoint: Endpoint { scheme: Scheme::Tcp, authority },
                token: Some(text("gitaly_token").into()),
                ca: None,
            };
            gitaly.insert(StorageName::new(name.as_str())?, target);
        }
        let target = Target {
            gitlab_url: text("gitlab_url"),
            gitlab_token: text("gitlab_token").into(),
            gitlab_ca: None,
            gitaly,
            cluster: Some(Arc::clone(&cluster)),
            prometheus: None,
            clock: None,
        };
        let mut ports = live::connect(&target)?;
        ports.clock = Arc::new(SystemClock);
        let inputs =
            VariableInputs { assignments: vec![("version".to_owned(), version.to_owned())], ..Default::default() };
        let desired = load(Utf8Path::new(&self.folder), &inputs).desired.ok_or("a configuration with errors")?;
        let request = Request {
            declared: desired.storages.keys().cloned().collect(),
            pods: pods::wanted(&desired),
            ..Request::default()
        };
        let runtime = tokio::runtime::Runtime::new()?;
        let began = Instant::now();
        let observed = runtime.block_on(live::observe(&ports, &request)).map_err(|errors| format!("{errors:?}"))?;
        if observed.cluster.is_none_or(|cluster| cluster.known().is_none()) {
            return Err("the cluster was not read".into());
        }
        Ok((cluster.requests(), began.elapsed().as_secs_f64()))
    }
}

fn measure(name: &str, kubeconfig: Option<String>) -> Outcome<()> {
    let case = Case::new(kubeconfig)?;
    let (code, seconds) = case.tranship(&["apply", "--auto-approve"])?;
    println!("{name}: all applied and ready in {seconds:.1} s (exit {code:?})");
    for (what, version, expected) in [("nothing to do", "v18.2.0", 0), ("all restart", "v18.3.0", 2)] {
        let (code, wall) = case.median(&["plan", "--detailed-exitcode", "--var", &format!("version={version}")])?;
        let (requests, reading) = case.requests(version)?;
        println!(
            "{name}, {what}: {wall:.2} s wall (exit {code:?}, expected {expected}); {requests} requests to the API server, {:.2} a storage; \
             reading alone {reading:.2} s",
            requests as f64 / f64::from(STORAGES)
        );
    }
    case.kubectl(&["delete", "namespace", &case.namespace, "--wait=false"])?;
    Ok(())
}
