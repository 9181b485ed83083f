//! Containers of the patch: what is mounted in Gitaly's, secrets in their environment, and that all leave the pod
//! Guaranteed.

use serde_json::Value as Json;

use super::{IN_THE_OPEN, POD, Patch, holds_secret, place};
use crate::model::quantity::Quantity;

/// Where Gitaly's container finds its disk, its configuration, its secrets and its cgroup.
const OUR_MOUNTS: [&str; 5] = [
    "/home/git/repositories",
    "/etc/gitaly/templates",
    "/etc/gitlab-secrets",
    "/run/gitaly/cgroup",
    "/etc/gitaly-cgroup",
];

impl Patch<'_> {
    /// Every container must leave the pod Guaranteed.
    pub(super) fn containers(&mut self, list: &str) {
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

/// Why these resources keep a pod from being Guaranteed: limits of CPU and memory, and requests that equal them or are
/// left out, are what it takes. (Kubernetes, "Pod Quality of Service Classes")
pub(super) fn not_guaranteed(resources: &Json) -> Option<String> {
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
