//! Rules for `config`, which is laid over Gitaly's config.toml.

use serde_json::Value as Json;

use super::{IN_THE_OPEN, Patch, holds_secret, place, step, walk};
use crate::config::scope::Report;
use crate::expr::tree::Node;

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
pub(in crate::config) fn config(out: &mut Report, node: &Node, config: &Json, cpu_millis: Option<u64>) {
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
