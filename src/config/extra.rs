//! Rules for what is laid over a pod's own objects: `extra` over the StatefulSet, `config` over Gitaly's config.toml,
//! tolerations. Each is told at the smallest part that is written out; K-numbers are those of gitaly-kubernetes §8.

mod containers;
mod gitaly;
mod tolerations;

pub(super) use gitaly::config;
pub(super) use tolerations::tolerations;

use serde_json::Value as Json;

use super::scope::Report;
use crate::diag::{Diagnostic, Span};
use crate::expr::Value;
use crate::expr::tree::{Kind, Node};
use containers::not_guaranteed;

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

const IN_THE_OPEN: &str = "This would stand in the cluster's objects, a plan and version control for all to read.";

/// Whether a name is one of a secret.
fn holds_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["password", "secret", "token", "private_key", "passphrase"].iter().any(|word| lower.ends_with(word))
}
