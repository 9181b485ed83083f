//! One `pod_spec`: what its pod is made of, and the rules that can be told without a cluster.

use serde_json::Value as Json;

use super::{bytes, inner, json, seconds, text_map, texts};
use crate::config::build::Builder;
use crate::config::check::Fields;
use crate::config::extra;
use crate::config::syntax::Block;
use crate::diag::Span;
use crate::model::quantity::Size;
use crate::model::{
    Address, Bytes, CgroupSpec, DiskSpec, MonitorSpec, NetworkPolicySpec, PodSpec, ServiceKind, ServiceSpec,
};

/// How far git's cgroup must stay below the pod: what Gitaly itself needs. (gitaly-kubernetes K08)
const GITALYS_OWN: u64 = 1 << 30;
/// Below these a pod's memory and share of a core (thousandths) were written wrongly: GitLab's chart asks for 200 MiB and a
/// tenth of a core, for a Gitaly that has nothing to do. (gitaly-kubernetes §7)
const SMALLEST_POD: (Bytes, u64) = (Bytes(200 << 20), 100);

/// Checks one pod spec.
pub(super) struct Spec<'s, 'a, 'b> {
    pub(super) builder: &'s mut Builder<'a>,
    pub(super) block: &'b Block,
}

impl Spec<'_, '_, '_> {
    pub(super) fn read(mut self, address: Address) -> Option<PodSpec> {
        let block = self.block;
        let fields = self.builder.fields(block, "pod_spec");
        let disk = self.disk();
        let memory = bytes(&fields, "memory");
        let image = fields.text("image");
        let cgroups = self.cgroups(memory, image);
        let service = self.service();
        let network_policy = self.network_policy();
        let service_monitor = self.service_monitor();
        self.tolerations(&fields);
        if let Some(image) = image
            && !image.contains('@')
            && matches!(tag(image), None | Some("latest"))
        {
            let detail = format!("{image:?} names no version: every restart may bring another Gitaly.");
            self.builder.warn(
                "config/pod-image",
                "Image without a version",
                detail,
                fields.span("image"),
                "Give it the tag of GitLab's version, like :v18.2.0",
            );
        }
        if fields.get("priority_class").is_none() {
            let detail = "Without `priority_class` anything may push these pods off their nodes, and each time a storage is away.";
            self.builder.warn(
                "config/pod-priority",
                "No priority class",
                detail,
                block.header,
                "Make a PriorityClass for Gitaly and name it: priority_class = \"gitaly\"",
            );
        }
        let graceful = seconds(&fields, "graceful_restart_timeout").unwrap_or(1);
        let budget = seconds(&fields, "rotation_budget");
        if let Some(budget) = budget.filter(|budget| graceful >= *budget) {
            let detail = format!(
                "Gitaly may take {graceful} s to stop (`graceful_restart_timeout`), and a restart may keep it away for {budget} s \
                 only (`rotation_budget`)."
            );
            self.builder.warn(
                "config/pod-rotation",
                "Stops for longer than it may be away",
                detail,
                fields.span("rotation_budget"),
                "Let it stop faster: clients repeat what was cut off.",
            );
        }
        let written = |name: &str| block.body.attribute(name).map(|attribute| &attribute.value);
        let object =
            |name: &str| fields.get(name).map_or(Json::Object(serde_json::Map::new()), |entry| json(&entry.value));
        let (config, extra) = (object("config"), object("extra"));
        let cpu_millis = fields.whole("cpu");
        if let Some(node) = written("config") {
            extra::config(self.builder.out, node, &config, cpu_millis);
        }
        if let Some(node) = written("extra") {
            extra::extra(self.builder.out, node, &extra, graceful);
        }
        self.floors(&fields, memory, cpu_millis);
        let tolerations = fields.get("tolerations").and_then(|entry| entry.value.elements());
        Some(PodSpec {
            address,
            image: image?.to_owned(),
            cpu_millis: cpu_millis?,
            memory: memory?,
            disk: disk?,
            cgroups,
            priority_class: fields.text("priority_class").map(str::to_owned),
            node_selector: text_map(&fields, "node_selector"),
            tolerations: tolerations.into_iter().flatten().map(json).collect(),
            node_for_itself: fields.text("anti_affinity") != Some("preferred"),
            graceful_restart_seconds: graceful,
            rotation_budget_seconds: budget,
            ready_timeout_seconds: seconds(&fields, "ready_timeout").unwrap_or(600),
            max_unavailable: fields.whole("max_unavailable").unwrap_or(1),
            service,
            network_policy,
            service_monitor,
            config,
            extra,
            span: block.header,
        })
    }

    /// A pod in which no Gitaly could start is a slip of the pen: `1e3` is a thousand bytes.
    fn floors(&mut self, fields: &Fields, memory: Option<Bytes>, cpu_millis: Option<u64>) {
        let (least, share) = SMALLEST_POD;
        if let Some(memory) = memory.filter(|memory| *memory < least) {
            let detail = format!(
                "A pod with {memory} of memory is smaller than any that a Gitaly could start in: {least} at least."
            );
            let help = "Write it with its unit, for example \"48Gi\".";
            self.builder.refuse("config/pod-small", "Pod too small", detail, fields.span("memory"), help);
        }
        if cpu_millis.is_some_and(|millis| millis < share) {
            let detail = "A pod with less than a tenth of a core is smaller than any that a Gitaly could start in.";
            self.builder.refuse(
                "config/pod-small",
                "Pod too small",
                detail,
                fields.span("cpu"),
                "For example: cpu = 8",
            );
        }
    }

    /// The fields of a block within, if it is there.
    fn inner(&mut self, kind: &str) -> Option<Fields> {
        let inner = inner(self.block, kind)?;
        Some(self.builder.inner_fields(inner, "pod_spec", kind))
    }

    fn disk(&mut self) -> Option<DiskSpec> {
        let Some(fields) = self.inner("disk") else {
            self.builder.refuse(
                "config/missing-block",
                "Missing block",
                "`pod_spec` needs a `disk`: the volume that holds the repositories.",
                self.block.header,
                "For example: disk {\n  size  = \"5Ti\"\n  class = \"premium-rwo\"\n}",
            );
            return None;
        };
        let class = fields.text("class").map(str::to_owned);
        let size = bytes(&fields, "size")?;
        self.builder.disk_size(size, fields.span("size"));
        Some(DiskSpec { size, class, retain: fields.flag("retain").unwrap_or(true) })
    }

    fn cgroups(&mut self, pod: Option<Bytes>, image: Option<&str>) -> Option<CgroupSpec> {
        let fields = self.inner("cgroups")?;
        let memory = bytes(&fields, "memory")?;
        if let Some(pod) = pod
            && memory.0.saturating_add(GITALYS_OWN) > pod.0
        {
            let most = pod.0.checked_sub(GITALYS_OWN).filter(|most| *most > 0);
            let help = match most {
                Some(most) => format!("At most: memory = \"{}\"", Size(Bytes(most))),
                None => "Give the pod more `memory`.".to_owned(),
            };
            let detail = format!(
                "Git's processes may have {memory} here, of the pod's {pod}: less than 1 GiB is left for Gitaly, which would be \
                 killed in their stead."
            );
            self.builder.refuse(
                "config/pod-cgroups",
                "No memory left for Gitaly",
                detail,
                fields.span("memory"),
                &help,
            );
        }
        let repository_memory = bytes(&fields, "repository_memory").unwrap_or(Bytes((memory.0 / 2).max(1)));
        if repository_memory > memory {
            let detail =
                format!("One repository may have {repository_memory} here, more than all of them together ({memory}).");
            self.builder.refuse(
                "config/pod-cgroups",
                "More than its parent has",
                detail,
                fields.span("repository_memory"),
                "Leave it out for half of `memory`.",
            );
        }
        let beside = |image: &str| {
            let (named, digest) = image.split_once('@').map_or((image, None), |(named, digest)| (named, Some(digest)));
            let (folder, last) = named.rsplit_once('/')?;
            let (name, tag) = last.split_once(':')?;
            (name == "gitaly" && digest.is_none()).then(|| format!("{folder}/gitaly-init-cgroups:{tag}"))
        };
        let init_image = fields.text("init_image").map(str::to_owned).or_else(|| image.and_then(beside));
        if let (None, Some(image)) = (&init_image, image) {
            let detail = format!("Which image hands the pod's cgroup over cannot be told from {image:?}.");
            self.builder.refuse(
                "config/pod-cgroups",
                "Image for cgroups unknown",
                detail,
                fields.header,
                "Name it: init_image = \"…/gitaly-init-cgroups:v18.2.0\"",
            );
        }
        let count = fields.whole("count").unwrap_or(50);
        Some(CgroupSpec { memory, count, repository_memory, init_image: init_image? })
    }

    fn service(&mut self) -> ServiceSpec {
        let Some(fields) = self.inner("service") else { return ServiceSpec::default() };
        let kind = match fields.text("type") {
            Some("LoadBalancer") => ServiceKind::LoadBalancer,
            Some("NodePort") => ServiceKind::NodePort,
            _ => ServiceKind::ClusterIp,
        };
        ServiceSpec { kind, annotations: text_map(&fields, "annotations") }
    }

    fn network_policy(&mut self) -> Option<NetworkPolicySpec> {
        let fields = self.inner("network_policy")?;
        let policy = NetworkPolicySpec {
            namespaces: texts(&fields, "namespaces"),
            cidrs: texts(&fields, "cidrs"),
            metrics: texts(&fields, "metrics"),
        };
        if policy.namespaces.is_empty() && policy.cidrs.is_empty() {
            let detail = "This admits nobody but other Gitalys: GitLab could not call it.";
            self.builder.refuse(
                "config/network-policy",
                "Nobody is admitted",
                detail,
                fields.header,
                "Add GitLab's: namespaces = [\"gitlab\"], or cidrs = [\"10.0.0.0/8\"]",
            );
        }
        if let Some(wrong) = policy.cidrs.iter().find(|cidr| !is_cidr(cidr)) {
            let detail = format!("{wrong:?} is no network: an address, `/` and how many bits of it count.");
            self.builder.refuse(
                "config/network-policy",
                "Not a network",
                detail,
                self.element(&fields, "network_policy", "cidrs", wrong),
                "For example: cidrs = [\"10.0.0.0/8\"]",
            );
        }
        Some(policy)
    }

    /// Where an element of a list in a block within stands, or the list.
    fn element(&self, fields: &Fields, kind: &str, name: &str, text: &str) -> Span {
        let written = inner(self.block, kind).and_then(|inner| inner.body.attribute(name));
        let place = written.and_then(|attribute| extra::element(&attribute.value, text));
        place.unwrap_or_else(|| fields.span(name))
    }

    fn service_monitor(&mut self) -> Option<MonitorSpec> {
        let fields = self.inner("service_monitor")?;
        Some(MonitorSpec { labels: text_map(&fields, "labels"), interval_seconds: seconds(&fields, "interval") })
    }

    fn tolerations(&mut self, fields: &Fields) {
        let Some(node) = self.block.body.attribute("tolerations").map(|attribute| &attribute.value) else { return };
        let Some(list) = fields.get("tolerations").map(|entry| json(&entry.value)) else { return };
        extra::tolerations(self.builder.out, node, &list);
    }
}

/// The tag of an image, without its digest.
fn tag(image: &str) -> Option<&str> {
    let named = image.split('@').next().unwrap_or(image);
    named.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag).filter(|tag| !tag.is_empty())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    match (address.parse::<std::net::IpAddr>(), bits.parse::<u8>()) {
        (Ok(address), Ok(bits)) => bits <= if address.is_ipv4() { 32 } else { 128 },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_behind_ports_and_before_digests() {
        assert_eq!(tag("r:5000/x/gitaly:v18.2.0"), Some("v18.2.0"));
        assert_eq!(tag("r:5000/x/gitaly"), None);
        assert_eq!(tag("gitaly:v1@sha256:00"), Some("v1"));
    }
}
