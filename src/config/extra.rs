//! Rules for what is laid over a pod's own objects: `extra` over the StatefulSet, `config` over Gitaly's config.toml,
//! tolerations. Each is told at the smallest part that is written out; K-numbers are those of gitaly-kubernetes §8.

use serde_json::Value as Json;

use super::scope::Report;
use crate::diag::{Diagnostic, Span};
use crate::expr::Value;
use crate::expr::tree::{Kind, Node};
use crate::model::quantity::Quantity;

/// A patch, and the expression that it came from. Places are JSON pointers.
struct Patch<'a> {
    out: &'a mut Report,
    node: &'a Node,
    patch: &'a Json,
}

/// Where a part of a value is written: the deepest node of the expression on the way to it.
fn place(node: &Node, pointer: &str) -> Span {
    let mut at = node;
    for step in pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")) {
        let next = match &at.kind {
            Kind::Object(entries) => entries.iter().find(|(key, _)| is_text(key, &step)).map(|(_, value)| value),
            Kind::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at.span
}

fn is_text(node: &Node, text: &str) -> bool {
    matches!(&node.kind, Kind::Literal(Value::String(found)) if found == text)
}

/// Where a text stands in a list that is written out.
pub(super) fn element(node: &Node, text: &str) -> Option<Span> {
    let Kind::List(items) = &node.kind else { return None };
    items.iter().find(|item| is_text(item, text)).map(|item| item.span)
}

/// One step of a JSON pointer.
fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

const TEMPLATE: &str = "/spec/template";
const POD: &str = "/spec/template/spec";

/// Parts that tranship needs as it makes them, each an object or a list: they are added to, never replaced or removed.
const KEPT: &[(&str, bool)] = &[
    ("", false),
    ("/metadata", false),
    ("/metadata/labels", false),
    ("/spec", false),
    ("/spec/persistentVolumeClaimRetentionPolicy", false),
    ("/spec/volumeClaimTemplates", true),
    ("/spec/template", false),
    ("/spec/template/metadata", false),
    ("/spec/template/metadata/labels", false),
    ("/spec/template/metadata/annotations", false),
    ("/spec/template/spec", false),
    ("/spec/template/spec/securityContext", false),
    ("/spec/template/spec/containers", true),
    ("/spec/template/spec/initContainers", true),
    ("/spec/template/spec/volumes", true),
];

/// What an attribute of the configuration says, or what nobody may change.
const NOT_HERE: &[(&str, &str)] = &[
    ("/apiVersion", "The patch is for the StatefulSet: it needs no `apiVersion` or `kind`."),
    ("/kind", "The patch is for the StatefulSet: it needs no `apiVersion` or `kind`."),
    ("/status", "Only the cluster writes the status."),
    ("/metadata/name", "The object bears the storage's name."),
    ("/metadata/namespace", "The namespace is that of the `kubernetes` block."),
    (
        "/metadata/annotations/tranship~1environment",
        "This annotation names the environment that the object belongs to.",
    ),
    ("/spec/selector", "The selector finds the pod that runs, and cannot be changed."),
    (
        "/spec/template/metadata/annotations/checksum~1config",
        "This annotation rolls the pod when its configuration changes.",
    ),
    ("/spec/template/spec/serviceAccountName", "The pod runs as its own ServiceAccount, which may do nothing."),
    ("/spec/template/spec/priorityClassName", "Write it as `priority_class`: that it exists is checked."),
    ("/spec/template/spec/nodeSelector", "Write it as `node_selector`: that there are such nodes is checked."),
    ("/spec/template/spec/tolerations", "Write them as `tolerations`."),
];

const OUR_LABELS: [&str; 4] =
    ["tranship/storage", "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"];
/// Where Gitaly's container finds its disk, its configuration, its secrets and its cgroup.
const OUR_MOUNTS: [&str; 5] = [
    "/home/git/repositories",
    "/etc/gitaly/templates",
    "/etc/gitlab-secrets",
    "/run/gitaly/cgroup",
    "/etc/gitaly-cgroup",
];
const OUR_VOLUMES: [&str; 5] = ["repo-data", "gitaly-config", "gitaly-secrets", "cgroup", "gitaly-cgroup"];

/// Checks a strategic merge patch over the StatefulSet. `graceful`: seconds that Gitaly may take to stop.
pub(super) fn extra(out: &mut Report, node: &Node, patch: &Json, graceful: u32) {
    let mut patch = Patch { out, node, patch };
    patch.directives();
    patch.kept();
    patch.set();
    patch.template(graceful);
    patch.claims();
    for list in ["initContainers", "containers"] {
        patch.containers(list);
    }
}

impl Patch<'_> {
    fn get(&self, pointer: &str) -> Option<&Json> {
        self.patch.pointer(pointer)
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.get(pointer)?.as_str()
    }

    fn items(&self, pointer: &str) -> Vec<(String, Json)> {
        let items = self.get(pointer).and_then(Json::as_array).into_iter().flatten();
        items.enumerate().map(|(n, item)| (format!("{pointer}/{n}"), item.clone())).collect()
    }

    fn tell(&mut self, diagnostic: Diagnostic, pointer: &str, detail: impl Into<String>, help: &str) {
        let diagnostic = diagnostic.detail(detail).at(place(self.node, pointer));
        self.out.push(if help.is_empty() { diagnostic } else { diagnostic.help(help) });
    }

    fn error(&mut self, code: &'static str, summary: &str, pointer: &str, detail: impl Into<String>, help: &str) {
        self.tell(Diagnostic::error(code, summary), pointer, detail, help);
    }

    fn warn(&mut self, code: &'static str, summary: &str, pointer: &str, detail: impl Into<String>, help: &str) {
        self.tell(Diagnostic::warning(code, summary), pointer, detail, help);
    }

    /// Only `$patch` is understood.
    fn directives(&mut self) {
        let mut found = Vec::new();
        walk(self.patch, &mut String::new(), &mut |pointer, name, value| {
            let good = name == "$patch" && matches!(value.as_str(), Some("delete" | "replace" | "merge"));
            if name.starts_with('$') && !good {
                found.push((format!("{pointer}/{}", step(name)), name.to_owned()));
            }
        });
        for (pointer, name) in found {
            let detail = format!("`{name}` is no directive that tranship understands here.");
            let help = "There are \"$patch\" = \"delete\", \"replace\" and \"merge\".";
            self.error("config/pod-directive", "Unknown directive", &pointer, detail, help);
        }
    }

    fn kept(&mut self) {
        for (pointer, is_list) in KEPT {
            let Some(value) = self.get(pointer) else { continue };
            let shape = if *is_list { value.is_array() } else { value.is_object() };
            let told = |value: &Json| matches!(value.get("$patch").and_then(Json::as_str), Some("delete" | "replace"));
            let replaces = told(value)
                || value
                    .as_array()
                    .is_some_and(|items| items.iter().any(|item| told(item) && item.get("name").is_none()));
            let name = pointer.trim_start_matches('/').replace('/', ".");
            if !shape && !value.is_null() {
                let wanted = if *is_list { "a list" } else { "an object" };
                self.error("config/pod-extra", "Not a patch", pointer, format!("`{name}` must be {wanted} here."), "");
            } else if value.is_null() || replaces {
                let detail = format!("This takes `{name}` away, and tranship needs what it puts there.");
                self.error(
                    "config/pod-extra",
                    "Removes what is needed",
                    pointer,
                    detail,
                    "Add to it, or change parts of it.",
                );
            }
        }
        for (pointer, why) in NOT_HERE {
            if self.get(pointer).is_some() {
                self.error("config/pod-extra", "Not for a patch", pointer, *why, "Remove it here.");
            }
        }
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            for label in OUR_LABELS {
                let pointer = format!("{labels}/{}", step(label));
                if self.get(&pointer).is_some() {
                    let detail = format!("`{label}` is how tranship and the cluster find the storage's objects.");
                    self.error("config/pod-extra", "Not for a patch", &pointer, detail, "Remove it here.");
                }
            }
        }
        for (pointer, volume) in self.items(&format!("{POD}/volumes")) {
            let name = volume.get("name").and_then(Json::as_str).unwrap_or_default();
            if OUR_VOLUMES.contains(&name) {
                let detail = format!("{name:?} is a volume of tranship's own.");
                self.error("config/pod-extra", "Not for a patch", &pointer, detail, "Give yours another name.");
            }
        }
    }

    /// The StatefulSet itself.
    fn set(&mut self) {
        if self.get("/spec/replicas").is_some_and(|replicas| replicas.as_u64() != Some(1)) {
            let detail = "A storage is one Gitaly: replicas are never copies of each other. (K06)";
            self.error(
                "config/pod-replicas",
                "Not one replica",
                "/spec/replicas",
                detail,
                "Remove it. For more room declare more storages.",
            );
        }
        for when in ["whenDeleted", "whenScaled"] {
            let pointer = format!("/spec/persistentVolumeClaimRetentionPolicy/{when}");
            if self.get(&pointer).is_some_and(|policy| policy.as_str() != Some("Retain")) {
                let detail = "The volume must outlive its StatefulSet: it holds the repositories. (K24)";
                self.error(
                    "config/pod-retention",
                    "Volume would be deleted",
                    &pointer,
                    detail,
                    "Remove it: Retain is set.",
                );
            }
        }
        let partition = "/spec/updateStrategy/rollingUpdate/partition";
        if self.get(partition).is_some_and(|partition| partition.as_u64() != Some(0)) {
            let detail = "With a partition above 0 no change ever reaches the one pod.";
            self.error(
                "config/pod-extra",
                "Never updated",
                partition,
                detail,
                "To choose the moment: updateStrategy = { type = \"OnDelete\" }",
            );
        }
    }

    fn template(&mut self, graceful: u32) {
        let policy = format!("{POD}/securityContext/fsGroupChangePolicy");
        if self.get(&policy).is_some_and(|policy| policy.as_str() != Some("OnRootMismatch")) {
            let detail =
                "Any other policy changes the owner of every file at every start: minutes to hours of outage. (K16)";
            self.error(
                "config/pod-ownership",
                "Owner of every file changed",
                &policy,
                detail,
                "Remove it: OnRootMismatch is set.",
            );
        }
        let grace = format!("{POD}/terminationGracePeriodSeconds");
        if self.get(&grace).is_some_and(|seconds| seconds.as_u64().is_none_or(|s| s <= u64::from(graceful))) {
            let detail = format!("Gitaly may take {graceful} s to stop and would be killed before. (K18)");
            self.error(
                "config/pod-grace",
                "Killed while it stops",
                &grace,
                detail,
                "Remove it: 5 s more than graceful_restart_timeout are set.",
            );
        }
        let evict = format!("{TEMPLATE}/metadata/annotations/cluster-autoscaler.kubernetes.io~1safe-to-evict");
        if self.get(&evict).is_some_and(|value| value.as_str() != Some("false")) {
            let detail = "The autoscaler may then move the pod to save a node: each time a storage is away. (K12)";
            self.warn(
                "config/pod-evictable",
                "May be moved to save a node",
                &evict,
                detail,
                "Remove it: \"false\" is set.",
            );
        }
        let apart = format!("{POD}/affinity/podAntiAffinity");
        let affinity = format!("{POD}/affinity");
        if self.get(&apart).is_some() || self.get(&affinity).is_some_and(Json::is_null) {
            let pointer = if self.get(&apart).is_some() { &apart } else { &affinity };
            let detail = "Two Gitalys may come to share a node, and fall with it. (K13)";
            self.warn("config/pod-sharing", "Anti-affinity replaced", pointer, detail, "Say it with `anti_affinity`.");
        }
        for mesh in [
            "labels/sidecar.istio.io~1inject",
            "annotations/sidecar.istio.io~1inject",
            "annotations/linkerd.io~1inject",
        ] {
            let pointer = format!("{TEMPLATE}/metadata/{mesh}");
            if matches!(self.text(&pointer), Some("true" | "enabled" | "ingress")) {
                let detail = "A mesh that takes Gitaly's calls for plain gRPC breaks clone and fetch. (K28)";
                self.error("config/pod-mesh", "Gitaly behind a mesh", &pointer, detail, "Remove it.");
            }
        }
        let resources = format!("{POD}/resources");
        if let Some(why) = self.get(&resources).and_then(not_guaranteed) {
            self.error("config/pod-qos", "Not Guaranteed", &resources, format!("{why}. (K07)"), "Remove it.");
        }
    }

    /// There is one volume, and its size and class have attributes of their own.
    fn claims(&mut self) {
        for (pointer, claim) in self.items("/spec/volumeClaimTemplates") {
            if claim.pointer("/metadata/name").and_then(Json::as_str) != Some("repo-data") {
                let name = format!("{pointer}/metadata/name");
                let detail = "The one volume is named \"repo-data\": under another name the storage would start on an empty disk.";
                self.error(
                    "config/pod-volume",
                    "Another volume",
                    &name,
                    detail,
                    "To patch it: volumeClaimTemplates = [{ metadata = { name = \"repo-data\" }, … }]",
                );
            }
            for (field, attribute) in [("resources", "disk.size"), ("storageClassName", "disk.class")] {
                let field = format!("{pointer}/spec/{field}");
                if self.get(&field).is_some() {
                    let detail = format!("This is what `{attribute}` says.");
                    self.error("config/pod-volume", "Not for a patch", &field, detail, "Remove it here.");
                }
            }
            for (mode_at, mode) in self.items(&format!("{pointer}/spec/accessModes")) {
                if !matches!(mode.as_str(), Some("ReadWriteOnce" | "ReadWriteOncePod")) {
                    let detail =
                        "A Gitaly's volume is written by one pod only: ReadWriteOnce or ReadWriteOncePod. (K26)";
                    self.error(
                        "config/pod-access-mode",
                        "Volume for many",
                        &mode_at,
                        detail,
                        "Remove it: ReadWriteOnce is set.",
                    );
                }
            }
        }
    }

    /// What is mounted over, into or around a place of tranship's own takes it away: Gitaly would start on an empty disk.
    fn mounts(&mut self, container_at: &str, container: &Json) {
        let at = format!("{container_at}/volumeMounts");
        const REMOVES: &str = "Removes what is needed";
        match container.get("volumeMounts") {
            None => return,
            Some(Json::Array(_)) => {}
            Some(Json::Null) => {
                let detail = "This takes away all that Gitaly's container mounts, its disk among them.";
                return self.error("config/pod-mount", REMOVES, &at, detail, "Add mounts to it.");
            }
            Some(_) => {
                let detail = "`volumeMounts` must be a list here.";
                return self.error("config/pod-mount", "Not a patch", &at, detail, "");
            }
        }
        for (pointer, mount) in self.items(&at) {
            let path = mount.get("mountPath").and_then(Json::as_str);
            let Some(path) = path else {
                let replaces = mount.get("$patch").and_then(Json::as_str) == Some("replace");
                let detail = if replaces {
                    "This replaces all that Gitaly's container mounts, its disk among them."
                } else {
                    "A mount is told by its `mountPath`, to be added or to be patched."
                };
                let summary = if replaces { REMOVES } else { "Mount without a path" };
                self.error("config/pod-mount", summary, &pointer, detail, "Add mounts to it.");
                continue;
            };
            if let Some(ours) = OUR_MOUNTS.iter().find(|ours| nested(path, ours) || nested(ours, path)) {
                let what = if *ours == "/home/git/repositories" {
                    "where Gitaly has its disk: it would start on an empty one, and GitLab would find no repository"
                } else {
                    "what Gitaly's container needs as tranship makes it"
                };
                let detail = format!("{path:?} would hide or change {ours}, {what}.");
                self.error("config/pod-mount", "Mounted over what is needed", &pointer, detail, "Mount it elsewhere.");
            }
        }
    }

    /// Every container must leave the pod Guaranteed.
    fn containers(&mut self, list: &str) {
        for (pointer, container) in self.items(&format!("{POD}/{list}")) {
            let Some(name) = container.get("name").and_then(Json::as_str) else {
                let detail = "A container is told by its `name`, to be added or to be patched.";
                self.error("config/pod-extra", "Container without a name", &pointer, detail, "");
                continue;
            };
            let directive = container.get("$patch").and_then(Json::as_str);
            let ours =
                (list == "containers" && name == "gitaly") || (list == "initContainers" && name == "init-cgroups");
            if ours && matches!(directive, Some("delete" | "replace")) {
                let detail = format!("This takes the container {name:?} away, and the storage cannot do without.");
                self.error("config/pod-extra", "Removes what is needed", &pointer, detail, "Change parts of it.");
                continue;
            }
            for (at, variable) in self.items(&format!("{pointer}/env")) {
                let name = variable.get("name").and_then(Json::as_str).unwrap_or_default();
                if holds_secret(name) && variable.get("value").is_some_and(Json::is_string) {
                    let at = format!("{at}/value");
                    self.out.masks.push(place(self.node, &at));
                    self.error("config/secret", "Secret must be a reference", &at, IN_THE_OPEN, "Take it from a Secret: valueFrom = { secretKeyRef = { name = \"…\", key = \"…\" } }. If a real secret stands here, revoke it.");
                }
            }
            if ours && name == "gitaly" {
                self.mounts(&pointer, &container);
            }
            let resources = format!("{pointer}/resources");
            if ours {
                let attributes = [
                    ("resources", "`cpu` and `memory` of the pod spec say this"),
                    ("image", "`image` of the pod spec says this"),
                ];
                for (field, why) in attributes.iter().filter(|_| name == "gitaly") {
                    if container.get(field).is_some() {
                        let at = format!("{pointer}/{field}");
                        self.error("config/pod-extra", "Not for a patch", &at, format!("{why}."), "Remove it here.");
                    }
                }
                if name != "gitaly"
                    && let Some(why) = container.get("resources").and_then(not_guaranteed)
                {
                    self.error(
                        "config/pod-qos",
                        "Not Guaranteed",
                        &resources,
                        format!("{why}. (K07)"),
                        "Remove it: they are set.",
                    );
                }
            } else if directive != Some("delete") {
                let given = container.get("resources");
                let why = match given {
                    Some(given) => not_guaranteed(given),
                    None => Some("it has no `resources`".to_owned()),
                };
                if let Some(why) = why {
                    let at = if given.is_some() { &resources } else { &pointer };
                    let detail = format!(
                        "With the container {name:?} the pod is not Guaranteed: {why}. It would be among the first to be killed when the node runs short. (K07)"
                    );
                    let help = "For example: resources = { limits = { cpu = \"100m\", memory = \"64Mi\" }, requests = { cpu = \"100m\", memory = \"64Mi\" } }";
                    self.error("config/pod-qos", "Not Guaranteed", at, detail, help);
                }
            }
        }
    }
}

/// True when a path is another one or lies below it, however the two are written.
fn nested(path: &str, above: &str) -> bool {
    fn parts(path: &str) -> Vec<&str> {
        let mut parts = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        parts
    }
    parts(path).starts_with(&parts(above))
}

/// Visits every field of every object in a value, with the pointer to the object.
fn walk(value: &Json, pointer: &mut String, visit: &mut dyn FnMut(&str, &str, &Json)) {
    let length = pointer.len();
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                visit(pointer, name, value);
                pointer.push('/');
                pointer.push_str(&step(name));
                walk(value, pointer, visit);
                pointer.truncate(length);
            }
        }
        Json::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                pointer.push('/');
                pointer.push_str(&n.to_string());
                walk(item, pointer, visit);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

/// Why these resources keep a pod from being Guaranteed: limits of CPU and memory, and requests that equal them or are
/// left out, are what it takes. (Kubernetes, "Pod Quality of Service Classes")
fn not_guaranteed(resources: &Json) -> Option<String> {
    for amount in ["cpu", "memory"] {
        let quantity = |of: &str| match resources.pointer(&format!("/{of}/{amount}")) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => {
                Quantity::parse(text).map(Some).map_err(|e| format!("{of}.{amount} is {text:?}: {e}"))
            }
            Some(Json::Number(n)) => {
                Quantity::parse(&n.to_string()).map(Some).map_err(|e| format!("{of}.{amount} is {n}: {e}"))
            }
            Some(_) => Err(format!("{of}.{amount} is no quantity")),
        };
        match (quantity("limits"), quantity("requests")) {
            (Err(why), _) | (_, Err(why)) => return Some(why),
            (Ok(None), _) => return Some(format!("limits.{amount} is missing")),
            (Ok(Some(limit)), Ok(Some(request))) if limit != request => {
                return Some(format!("requests.{amount} is not limits.{amount}"));
            }
            _ => {}
        }
    }
    None
}

const IN_THE_OPEN: &str = "This would stand in the cluster's objects, a plan and version control for all to read.";

/// Whether a name is one of a secret.
fn holds_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["password", "secret", "token", "private_key", "passphrase"].iter().any(|word| lower.ends_with(word))
}

/// What of config.toml is tranship's, and where else it is said.
const OUR_CONFIG: &[(&str, &str)] = &[
    ("/storage", "The storage's name and path are tranship's."),
    ("/bin_dir", "Where the image has its programs is tranship's."),
    ("/listen_addr", "The Service and the probes need the port that tranship sets."),
    ("/tls_listen_addr", "The Service and the probes know the plain port only."),
    ("/prometheus_listen_addr", "The metrics' port is tranship's."),
    ("/graceful_restart_timeout", "`graceful_restart_timeout` of the pod spec says this."),
    ("/auth/token", "The token comes from the Secret that `kubernetes.secrets.gitaly_token` names."),
    ("/gitlab/url", "`gitlab.internal_url` says this."),
    ("/gitlab/secret", "The secret comes from the Secret that `kubernetes.secrets.shell_secret` names."),
    ("/gitlab/secret_file", "The secret comes from the Secret that `kubernetes.secrets.shell_secret` names."),
    ("/cgroups/mountpoint", "The pod's cgroup is found when it starts."),
    ("/cgroups/hierarchy_root", "The pod's cgroup is found when it starts."),
    ("/cgroups/memory_bytes", "`cgroups.memory` of the pod spec says this."),
    ("/cgroups/repositories/count", "`cgroups.count` of the pod spec says this."),
    ("/cgroups/repositories/memory_bytes", "`cgroups.repository_memory` of the pod spec says this."),
];

/// Checks what is laid over Gitaly's config.toml.
pub(super) fn config(out: &mut Report, node: &Node, config: &Json, cpu_millis: Option<u64>) {
    let mut patch = Patch { out, node, patch: config };
    for (pointer, why) in OUR_CONFIG {
        if patch.get(pointer).is_some() {
            if pointer.contains("token") || pointer.contains("secret") {
                patch.out.masks.push(place(node, pointer));
            }
            patch.error("config/pod-config", "Not for `config`", pointer, *why, "Remove it here.");
        }
    }
    let mut found = Vec::new();
    walk(config, &mut String::new(), &mut |pointer, name, value| {
        let at = format!("{pointer}/{}", step(name));
        let ours = OUR_CONFIG.iter().any(|(known, _)| *known == at);
        found.extend((holds_secret(name) && value.is_string() && !ours).then(|| (at.clone(), true)));
        found.extend((value.as_i64().is_none() && value.is_u64()).then_some((at, false)));
    });
    for (pointer, secret) in found {
        if secret {
            patch.out.masks.push(place(node, &pointer));
            let detail = IN_THE_OPEN;
            patch.error(
                "config/secret",
                "Secret must be a reference",
                &pointer,
                detail,
                "Mount it by `extra` and name its file here. If a real secret stands here, revoke it.",
            );
        } else {
            patch.error("config/pod-config", "Number too large", &pointer, "TOML counts to 2^63.", "");
        }
    }
    // Quotas are per 100 ms: a core is 100,000.
    let most = cpu_millis.map(|millis| millis.saturating_mul(100));
    for pointer in ["/cgroups/cpu_quota_us", "/cgroups/repositories/cpu_quota_us"] {
        let given = patch.get(pointer).and_then(Json::as_u64);
        if let (Some(given), Some(most)) = (given, most)
            && given > most
        {
            let detail = format!("{given} is more than the pod's `cpu` allows ({most}): it limits nothing. (K09)");
            patch.warn("config/pod-cpu-quota", "Quota above the pod's", pointer, detail, "");
        }
    }
}

/// Checks tolerations as Kubernetes writes them.
pub(super) fn tolerations(out: &mut Report, node: &Node, list: &Json) {
    const KNOWN: [&str; 5] = ["key", "operator", "value", "effect", "tolerationSeconds"];
    let patch = Patch { out, node, patch: list };
    for (pointer, toleration) in patch.items("") {
        let mut wrong = |at: String, detail: String| {
            let help = "For example: { key = \"gitaly\", operator = \"Exists\", effect = \"NoSchedule\" }";
            let told = Diagnostic::error("config/toleration", "Not a toleration").detail(detail).at(place(node, &at));
            patch.out.push(told.help(help));
        };
        let Some(fields) = toleration.as_object() else { continue };
        for (name, value) in fields {
            let at = format!("{pointer}/{}", step(name));
            let text = value.as_str().unwrap_or_default();
            match name.as_str() {
                "operator" if !matches!(text, "Exists" | "Equal") => {
                    wrong(at, "`operator` must be \"Exists\" or \"Equal\".".to_owned());
                }
                "effect" if !matches!(text, "NoSchedule" | "PreferNoSchedule" | "NoExecute") => {
                    wrong(at, "`effect` must be \"NoSchedule\", \"PreferNoSchedule\" or \"NoExecute\".".to_owned());
                }
                "tolerationSeconds" if !value.is_u64() => {
                    wrong(at, "`tolerationSeconds` must be a whole number.".to_owned());
                }
                "key" | "value" if !value.is_string() => wrong(at, format!("`{name}` must be a string.")),
                _ if !KNOWN.contains(&name.as_str()) => {
                    wrong(at, format!("A toleration has no `{name}`: it has {}.", KNOWN.join(", ")));
                }
                _ => {}
            }
        }
    }
}
