//! The blocks that say how the live systems are reached: `gitlab`, `gitaly` or `sandbox`.

use super::build::Builder;
use super::check::Fields;
use super::shapes;
use super::syntax::{Block, Body};
use crate::diag::{Diagnostic, Span, nearest};
use crate::expr::parse_duration;
use crate::model::{
    Bytes, Connection, GitlabConnection, LiveConnection, PrometheusConnection, SandboxConnection, SandboxFault,
    SandboxPods, SandboxStorage, SecretRef, StorageName, Weight,
};

/// The secret that an attribute refers to.
pub(super) fn secret(fields: &Fields, name: &str) -> Option<SecretRef> {
    shapes::secret(&fields.get(name)?.value)
}

/// Reads the connection, and how many moves may be outstanding at once.
pub(super) fn connection(builder: &mut Builder<'_>, body: &Body) -> (Connection, u32) {
    let single = |kind: &str| body.blocks.iter().find(|b| b.kind == kind);
    let gitaly = single("gitaly").map(|block| builder.fields(block, "gitaly"));
    match (single("gitlab"), single("sandbox")) {
        (Some(gitlab), Some(sandbox)) => {
            builder.out.push(
                Diagnostic::error("config/two-connections", "GitLab and a sandbox together")
                    .detail("A configuration is for a real GitLab or for a sandbox, not for both.")
                    .at(sandbox.header)
                    .also(gitlab.header, "the real one")
                    .help("Keep the sandbox in a configuration of its own, with the same other files."),
            );
            builder.fields(gitlab, "gitlab");
            builder.fields(sandbox, "sandbox");
            (Connection::None, 1)
        }
        (Some(block), None) => {
            let fields = builder.fields(block, "gitlab");
            let max_moves = fields.whole("max_moves").unwrap_or(1);
            let url = url(builder, &fields, &GITLAB, fields.get("token").is_some());
            self::url(builder, &fields, &INTERNAL, false);
            match (url, secret(&fields, "token")) {
                (Some(url), Some(token)) => {
                    let ca = fields.text("ca").map(str::to_owned);
                    let live = LiveConnection {
                        gitlab: GitlabConnection { url, token, ca, span: block.header },
                        gitaly_token: gitaly.as_ref().and_then(|g| secret(g, "token")),
                        gitaly_ca: gitaly.as_ref().and_then(|g| g.text("ca")).map(str::to_owned),
                    };
                    (Connection::Live(live), max_moves)
                }
                _ => (Connection::None, max_moves),
            }
        }
        (None, Some(block)) => {
            if let Some(gitaly) = single("gitaly") {
                builder.out.push(ignored("the block `gitaly`", gitaly.header, block.header));
            }
            match sandbox(builder, block) {
                Some(sandbox) => {
                    let workers = sandbox.workers;
                    (Connection::Sandbox(sandbox), workers)
                }
                None => (Connection::None, 1),
            }
        }
        (None, None) => (Connection::None, 1),
    }
}

/// The warning for what has no effect on the sandbox.
pub(super) fn ignored(what: &str, span: Span, sandbox: Span) -> Diagnostic {
    Diagnostic::warning("config/sandbox-ignores", "No effect on the sandbox")
        .detail(format!("The sandbox makes its own tokens and needs no CA, so {what} is ignored."))
        .at(span)
        .also(sandbox, "the sandbox")
        .help("Keep it in a file of the real configuration.")
}

/// An attribute that is an address over HTTP.
struct WebAddress {
    attribute: &'static str,
    /// Whose.
    of: &'static str,
    /// What it must not end in.
    without: &'static str,
    example: &'static str,
}

const GITLAB: WebAddress =
    WebAddress { attribute: "url", of: "GitLab", without: "/api/v4", example: "https://gitlab.example.com" };
const INTERNAL: WebAddress =
    WebAddress { attribute: "internal_url", example: "http://gitlab-webservice:8181", ..GITLAB };
const PROMETHEUS: WebAddress =
    WebAddress { attribute: "url", of: "Prometheus", without: "/api/v1", example: "http://prometheus.monitoring:9090" };

/// Reads the block `prometheus`.
pub(super) fn prometheus(builder: &mut Builder<'_>, block: &Block) -> Option<PrometheusConnection> {
    let fields = builder.fields(block, "prometheus");
    let url = url(builder, &fields, &PROMETHEUS, fields.get("token").is_some())?;
    let ca = fields.text("ca").map(str::to_owned);
    Some(PrometheusConnection { url, token: secret(&fields, "token"), ca, span: block.header })
}

/// Checks an address over HTTP, to which a token may travel; its parts that could be a secret are not printed.
fn url(builder: &mut Builder<'_>, fields: &Fields, address: &WebAddress, token: bool) -> Option<String> {
    let WebAddress { attribute, of, without, example } = address;
    let text = fields.text(attribute)?;
    let mut wrong = |detail: &str| {
        builder.out.push(
            Diagnostic::error("config/url", "Not a usable address")
                .detail(format!("`{attribute}` {detail}"))
                .at(fields.span(attribute))
                .help(format!("For example: {attribute} = \"{example}\"")),
        );
        None
    };
    let Ok(parsed) = url::Url::parse(text) else {
        return wrong("must be a complete address, with https:// or http://.");
    };
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return wrong("must begin with https:// or http:// and name a host.");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return wrong("must not hold a user or password; `token` is for what is secret.");
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return wrong("must not have a query (?) or fragment (#).");
    }
    let plain = text.trim_end_matches('/');
    if plain.ends_with(without) {
        return wrong(&format!("is {of}'s own address, without {without}."));
    }
    let near = match parsed.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if token && parsed.scheme() == "http" && !near {
        builder.out.push(
            Diagnostic::warning("config/plain-http", "Token in clear")
                .detail(format!(
                    "`{attribute}` begins with http://, so the token travels over the network unencrypted."
                ))
                .at(fields.span(attribute))
                .help("Use https://; a private CA is named by `ca`."),
        );
    }
    Some(plain.to_owned())
}

fn sandbox(builder: &mut Builder<'_>, block: &Block) -> Option<SandboxConnection> {
    let fields = builder.fields(block, "sandbox");
    let (name, _) = block.labels.first()?;
    let mut storages = Vec::new();
    for inner in block.body.blocks.iter().filter(|b| b.kind == "storage") {
        let values = builder.inner_fields(inner, "sandbox", "storage");
        let Some((label, span)) = inner.labels.first() else { continue };
        match StorageName::new(label.clone()) {
            Ok(name) => storages.push(SandboxStorage {
                name,
                disk: Bytes(values.whole("disk").unwrap_or(1)),
                weight: values.whole::<u64>("weight").and_then(|w| Weight::new(w).ok()),
            }),
            Err(error) => builder.out.push(
                Diagnostic::error("config/storage-name", "Not a storage's name").detail(format!("{error}.")).at(*span),
            ),
        }
    }
    let mut faults = Vec::new();
    for inner in block.body.blocks.iter().filter(|b| b.kind == "fault") {
        let values = builder.inner_fields(inner, "sandbox", "fault");
        let Some((kind, span)) = inner.labels.first() else { continue };
        let kinds = SandboxFault::KINDS.iter().map(|(kind, _)| *kind);
        if kinds.clone().any(|known| known == kind) {
            faults.push(SandboxFault {
                kind: kind.clone(),
                nth: values.whole("nth").unwrap_or(1),
                count: values.whole("count").unwrap_or(1),
            });
        } else {
            let known: Vec<String> = SandboxFault::KINDS.iter().map(|(kind, does)| format!("{kind}: {does}")).collect();
            let near = nearest(kind, kinds).map(|near| format!("Did you mean {near:?}? ")).unwrap_or_default();
            builder.out.push(
                Diagnostic::error("config/fault", "Unknown fault")
                    .detail(format!("There is no fault {kind:?}."))
                    .at(*span)
                    .help(format!("{near}There are:\n{}", known.join("\n"))),
            );
        }
    }
    if storages.is_empty() {
        builder.out.push(
            Diagnostic::error("config/sandbox-storages", "A sandbox without storages")
                .detail("Nothing can be kept in a sandbox that has no storage.")
                .at(block.header)
                .help("Add: storage \"default\" { disk = \"20Gi\" }"),
        );
    }
    let start = fields.text("pod_start").and_then(|text| parse_duration(text).ok());
    Some(SandboxConnection {
        name: name.clone(),
        repositories: fields.whole("repositories")?,
        snippets: fields.whole("snippets")?,
        group_wikis: fields.whole("group_wikis")?,
        fork_networks: fields.whole("fork_networks")?,
        real_limit: fields.whole("real_limit")?,
        seed: fields.whole("seed")?,
        speed: fields.whole("speed")?,
        workers: fields.whole("workers")?,
        gitlab_version: fields.text("gitlab_version")?.to_owned(),
        gitaly_version: fields.text("gitaly_version")?.to_owned(),
        storages,
        pods: SandboxPods {
            gitlab_learns: fields.text("gitlab_knows")? == "ready",
            start_seconds: start.and_then(|start| u32::try_from(start.as_secs()).ok()).unwrap_or(u32::MAX),
        },
        faults,
    })
}
