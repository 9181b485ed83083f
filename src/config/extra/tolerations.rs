//! Rules for tolerations.

use serde_json::Value as Json;

use super::{Patch, place, step};
use crate::config::scope::Report;
use crate::diag::Diagnostic;
use crate::expr::tree::Node;

/// Checks tolerations as Kubernetes writes them.
pub(in crate::config) fn tolerations(out: &mut Report, node: &Node, list: &Json) {
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
