//! Gitaly's `config.toml` for a pod, as a template of the image: the token and the pod's cgroup are filled in when the
//! container starts, so that no secret stands in the ConfigMap.
//! (GitLab's CNG images render `/etc/gitaly/templates/*.tpl` with gomplate, delimiters `{%` and `%}`.)

use serde::Serialize;
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::model::{ClusterSettings, PodSpec, StorageName};

/// Where the storage's repositories are in the pod.
pub(super) const REPOSITORIES: &str = "/home/git/repositories";
/// Where the Secrets are mounted.
pub(super) const SECRETS: &str = "/etc/gitlab-secrets";
/// Gitaly's token, below [`SECRETS`].
pub(super) const TOKEN_FILE: &str = "gitaly/gitaly_token";
/// GitLab Shell's secret, below [`SECRETS`].
pub(super) const SHELL_FILE: &str = "shell/.gitlab_shell_secret";
/// What the init container writes: the path of the pod's own cgroup.
pub(super) const CGROUP_FILE: &str = "/etc/gitaly-cgroup/gitaly-pod-cgroup";
/// Gitaly's port.
pub(super) const PORT: u16 = 8075;
/// Its metrics' port.
pub(super) const METRICS: u16 = 9236;

/// Stand-ins until the text is written: TOML's quotes go with the first.
const TOKEN: &str = "tranship:token";
const MOUNTPOINT: &str = "tranship:mountpoint";

#[derive(Serialize)]
struct Config<'a> {
    bin_dir: &'static str,
    listen_addr: String,
    prometheus_listen_addr: String,
    graceful_restart_timeout: String,
    auth: Auth,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroups: Option<Cgroups>,
    gitlab: Gitlab<'a>,
    #[serde(rename = "gitlab-shell")]
    shell: Shell,
    hooks: Hooks,
    logging: Logging,
    storage: [Storage<'a>; 1],
}

#[derive(Serialize)]
struct Auth {
    token: &'static str,
}

#[derive(Serialize)]
struct Cgroups {
    mountpoint: &'static str,
    hierarchy_root: &'static str,
    memory_bytes: u64,
    cpu_shares: u64,
    repositories: RepositoryCgroups,
}

#[derive(Serialize)]
struct RepositoryCgroups {
    count: u32,
    memory_bytes: u64,
    cpu_shares: u64,
}

#[derive(Serialize)]
struct Gitlab<'a> {
    url: &'a str,
    secret_file: String,
}

#[derive(Serialize)]
struct Shell {
    dir: &'static str,
}

#[derive(Serialize)]
struct Hooks {
    custom_hooks_dir: &'static str,
}

#[derive(Serialize)]
struct Logging {
    format: &'static str,
}

#[derive(Serialize)]
struct Storage<'a> {
    name: &'a str,
    path: &'static str,
}

/// Writes the template: ours, with the operator's `config` laid over it.
pub(super) fn template(storage: &StorageName, spec: &PodSpec, cluster: &ClusterSettings) -> String {
    let config = Config {
        bin_dir: "/usr/local/bin",
        listen_addr: format!("0.0.0.0:{PORT}"),
        prometheus_listen_addr: format!(":{METRICS}"),
        graceful_restart_timeout: format!("{}s", spec.graceful_restart_seconds),
        auth: Auth { token: TOKEN },
        cgroups: spec.cgroups.as_ref().map(|cgroups| Cgroups {
            mountpoint: MOUNTPOINT,
            hierarchy_root: "gitaly",
            memory_bytes: cgroups.memory.0,
            cpu_shares: 1024,
            repositories: RepositoryCgroups {
                count: cgroups.count,
                memory_bytes: cgroups.repository_memory.0,
                cpu_shares: 512,
            },
        }),
        gitlab: Gitlab {
            url: cluster.internal_url.as_deref().unwrap_or_default(),
            secret_file: format!("{SECRETS}/{SHELL_FILE}"),
        },
        shell: Shell { dir: "/srv/gitlab-shell" },
        hooks: Hooks { custom_hooks_dir: "/home/git/custom_hooks" },
        logging: Logging { format: "json" },
        storage: [Storage { name: storage.as_str(), path: REPOSITORIES }],
    };
    // Sizes are below 2^63 and keys are texts: plain data that TOML can hold.
    let mut table = Table::try_from(&config).unwrap_or_default();
    overlay(&mut table, &spec.config);
    let token = format!("{{% file.Read \"{SECRETS}/{TOKEN_FILE}\" | strings.TrimSpace | data.ToJSON %}}");
    let mountpoint = format!("{{% file.Read \"{CGROUP_FILE}\" | strings.TrimSpace | data.ToJSON %}}");
    let text = toml::to_string(&table).unwrap_or_default();
    text.replace(&format!("\"{TOKEN}\""), &token).replace(&format!("\"{MOUNTPOINT}\""), &mountpoint)
}

/// Lays an object over a table: tables are merged, everything else is replaced, null removes.
fn overlay(table: &mut Table, over: &Json) {
    for (name, value) in over.as_object().into_iter().flatten() {
        match (table.get_mut(name), value) {
            (_, Json::Null) => drop(table.remove(name)),
            (Some(Value::Table(inner)), Json::Object(_)) => overlay(inner, value),
            _ => drop(table.insert(name.clone(), toml_value(value))),
        }
    }
}

fn toml_value(value: &Json) -> Value {
    match value {
        Json::Null => Value::String(String::new()),
        Json::Bool(truth) => Value::Boolean(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Integer(whole),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().filter(|item| !item.is_null()).map(toml_value).collect()),
        Json::Object(_) => {
            let mut inner = Table::new();
            overlay(&mut inner, value);
            Value::Table(inner)
        }
    }
}
