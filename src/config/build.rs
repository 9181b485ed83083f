//! From checked blocks to [`Desired`].

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::check::{self, Fields};
use super::connection::{connection, ignored, prometheus, secret};
use super::graph::{self, Instance, Instances};
use super::moved::moved;
use super::schema::{self, BlockSpec};
use super::scope::{Inner, Report, Scope};
use super::shapes;
use super::syntax::{Block, Body};
use super::usage;
use crate::diag::{Diagnostic, Span};
use crate::expr::{Expression, Predicate, Shape, Value};
use crate::model::{
    Address, Assignment, Desired, DesiredStorage, Endpoint, Limits, PLAN_FIELDS, PodSpec, Policy, StorageName, Weight,
};

/// Builds the target; reports what is wrong on the way.
pub(super) struct Builder<'a> {
    pub(super) scope: &'a Scope,
    pub(super) instances: &'a Instances<'a>,
    pub(super) out: &'a mut Report,
    pub(super) later: &'a mut Report,
}

/// A block of the table that the code names; there is always one.
pub(super) fn spec(name: &str) -> &'static BlockSpec {
    schema::ROOT.block(name).unwrap_or(&schema::ROOT)
}

impl Builder<'_> {
    /// Checks the attributes of a block outside of everything.
    pub(super) fn fields(&mut self, block: &Block, kind: &str) -> Fields {
        self.instance_fields(block, spec(kind), None)
    }

    /// Checks the attributes of a block within one.
    pub(super) fn inner_fields(&mut self, block: &Block, kind: &str, inner: &str) -> Fields {
        self.instance_fields(block, spec(kind).block(inner).unwrap_or(spec(kind)), None)
    }

    pub(super) fn instance_fields(&mut self, block: &Block, spec: &'static BlockSpec, each: Option<&Value>) -> Fields {
        let names = Inner { scope: self.scope, extra: each.map(|e| ("each", e.clone())).into_iter().collect() };
        check::fields(block, spec, &names, self.out, self.later)
    }

    /// The text of one attribute of a block that is checked elsewhere too.
    pub(super) fn quiet_text(&mut self, block: &Block, kind: &str, name: &str) -> Option<String> {
        let (mut out, mut later) = (Report::default(), Report::default());
        let names = Inner { scope: self.scope, extra: Vec::new() };
        let fields = check::fields(block, spec(kind), &names, &mut out, &mut later);
        fields.text(name).map(str::to_owned)
    }

    /// Builds everything. `None` when something is missing that has no stand-in; that has been told.
    pub(super) fn build(&mut self, body: &Body) -> Option<Desired> {
        let of = |kind: &'static str| body.blocks.iter().filter(move |b| b.kind == kind);
        let environment = of("tranship").next().map_or_else(|| Some("default".to_owned()), |b| self.settings(b));
        let (connection, max_moves) = connection(self, body);
        let sandbox = of("sandbox").next().map(|b| b.header);
        let (specs, cluster) = (self.pod_specs(body), self.cluster(body));
        let mut storages = self.storages(of("storage"), &specs, sandbox, of("gitlab").next().is_some());
        self.check_pods(&mut storages, cluster.as_ref(), body);
        let by_address: BTreeMap<String, StorageName> =
            storages.values().map(|s| (s.address.to_string(), s.name.clone())).collect();
        let mut assignments: Vec<Assignment> = Vec::new();
        for block in of("assignment") {
            self.assignments(block, &by_address, &mut assignments);
        }
        assignments.sort_by(|a, b| a.address.cmp(&b.address));
        let rollout = of("rollout").next().map(|b| self.rollout(b)).unwrap_or_default();
        let mut policies: Vec<Policy> = of("policy").filter_map(|b| self.policy(b)).collect();
        policies.sort_by(|a, b| a.address.cmp(&b.address));
        let mut imported = BTreeMap::new();
        for block in of("import") {
            self.import(block, &by_address, &mut storages, &mut imported);
        }
        let prometheus = of("prometheus").next().and_then(|b| prometheus(self, b));
        let hooks = of("hook").filter_map(|b| self.hook(b)).map(|hook| (hook.name.clone(), hook)).collect();
        let windows = of("window").filter_map(|b| self.window(b)).map(|one| (one.name.clone(), one)).collect();
        let mut gates = BTreeMap::new();
        for block in of("gate") {
            self.gates(block, &by_address, &mut gates);
        }
        let freeze = of("freeze").next().map(|b| self.freeze(b)).unwrap_or_default();
        let concurrency = of("concurrency").next().map(|b| self.concurrency(b)).unwrap_or_default();
        let source_fsck = of("verify").next().map(|b| self.source_fsck(b)).unwrap_or_default();
        for kind in ["promote", "moved"] {
            for block in of(kind) {
                self.fields(block, kind);
                for inner in &block.body.blocks {
                    self.inner_fields(inner, kind, &inner.kind.clone());
                }
            }
        }
        let moved = moved(body, self.instances, &assignments, self.out);
        let desired = Desired {
            environment: environment?,
            digest: String::new(),
            connection,
            cluster,
            gitlab_learns: of("sandbox")
                .next()
                .is_some_and(|b| self.quiet_text(b, "sandbox", "gitlab_knows").as_deref() == Some("ready")),
            max_moves,
            storages,
            assignments,
            rollout,
            prometheus,
            gates,
            hooks,
            windows,
            freeze,
            concurrency,
            source_fsck,
            policies,
            moved,
            later: Vec::new(),
        };
        usage::doubts(body, &desired, self.out);
        self.look_at_gates(&desired, body);
        Some(desired)
    }

    pub(super) fn wrong(&mut self, code: &'static str, summary: &str, detail: String, span: Span) {
        self.out.push(Diagnostic::error(code, summary).detail(detail).at(span));
    }

    fn settings(&mut self, block: &Block) -> Option<String> {
        let fields = self.fields(block, "tranship");
        if let Some(text) = fields.text("required_version") {
            let version = env!("CARGO_PKG_VERSION");
            match (semver::VersionReq::parse(text), semver::Version::parse(version)) {
                (Ok(wanted), Ok(have)) if !wanted.matches(&have) => self.out.push(
                    Diagnostic::error("config/required-version", "Another version of tranship is needed")
                        .detail(format!("The configuration asks for {wanted}; this is {version}."))
                        .at(fields.span("required_version"))
                        .help("Install a version that matches, or change the requirement."),
                ),
                (Ok(_), _) => {}
                (Err(error), _) => self.out.push(
                    Diagnostic::error("config/invalid-value", "Invalid value")
                        .detail(format!("`required_version` must be a version requirement: {error}."))
                        .at(fields.span("required_version"))
                        .help(
                            "Operators are =, >, >=, <, <=, ~ (the same minor version, Terraform's ~> 0.1.0) and ^ (the same \
                             major version), joined by commas: \">= 0.1, < 0.3\".",
                        ),
                ),
            }
        }
        let name = fields.text("environment")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
            let detail = "`environment` must have 1 to 100 letters, digits, `.`, `_` or `-`.".to_owned();
            self.wrong("config/invalid-value", "Invalid value", detail, fields.span("environment"));
            return None;
        }
        Some(name.to_owned())
    }

    fn storages<'b>(
        &mut self,
        blocks: impl Iterator<Item = &'b Block>,
        specs: &BTreeMap<String, Arc<PodSpec>>,
        sandbox: Option<Span>,
        live: bool,
    ) -> BTreeMap<StorageName, DesiredStorage> {
        let mut storages: BTreeMap<StorageName, DesiredStorage> = BTreeMap::new();
        for block in blocks {
            let Some((label, _)) = block.labels.first() else { continue };
            let instances = self.instances;
            for instance in instances.get(&("storage", label.as_str())).into_iter().flatten() {
                let Some(storage) = self.storage(block, instance, specs, sandbox, live) else { continue };
                if let Some(first) = storages.get(&storage.name) {
                    let (mine, theirs) = (&storage.address, &first.address);
                    // A second block of one label has been told.
                    if mine == theirs {
                        continue;
                    }
                    self.out.push(
                        Diagnostic::error("config/duplicate-storage", "Two storages of one name")
                            .detail(format!("{theirs} and {mine} are both {:?} in GitLab.", storage.name.as_str()))
                            .at(block.body.attribute("name").map_or(block.header, |a| a.value.span))
                            .also(first.span, "the other one")
                            .help("Give each its own `name`; with `for_each`, put each.key into it."),
                    );
                } else {
                    storages.insert(storage.name.clone(), storage);
                }
            }
        }
        storages
    }

    fn storage(
        &mut self,
        block: &Block,
        instance: &Instance,
        specs: &BTreeMap<String, Arc<PodSpec>>,
        sandbox: Option<Span>,
        live: bool,
    ) -> Option<DesiredStorage> {
        let fields = self.instance_fields(block, spec("storage"), instance.each.as_ref());
        let mut limits = Limits::default();
        for inner in block.body.blocks.iter().filter(|b| b.kind == "limits") {
            let kind = spec("storage").block("limits").unwrap_or(spec("storage"));
            let values = self.instance_fields(inner, kind, instance.each.as_ref());
            if let Some(Value::Number(ceiling)) = values.get("disk_ceiling").map(|e| &e.value) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "0 to 1: checked by the table"
                )]
                let permille = (ceiling.to_f64() * 1000.0).round() as u16;
                limits.disk_ceiling_permille = permille;
            }
            limits.max_moves = values.whole("max_moves").unwrap_or(limits.max_moves);
            limits.bandwidth = values.whole("bandwidth");
        }
        let endpoint = |this: &mut Self, name: &str| -> Option<Endpoint> {
            let text = fields.text(name)?;
            if let Some(sandbox) = sandbox {
                this.out.push(
                    Diagnostic::error("config/sandbox-address", "Address on the sandbox")
                        .detail(format!("The sandbox finds its storages by name, so `{name}` is left out there."))
                        .at(fields.span(name))
                        .also(sandbox, "the sandbox")
                        .help("Remove it here; in production it says how the storage is dialled."),
                );
                return None;
            }
            match shapes::endpoint(text) {
                Ok(endpoint) => Some(endpoint),
                Err(problem) => {
                    let detail = format!("`{name}` must be tcp://host:port, tls://host:port or unix:/path; {problem}.");
                    this.wrong("config/address", "Not a Gitaly's address", detail, fields.span(name));
                    None
                }
            }
        };
        let (address, dial) = (endpoint(self, "address"), endpoint(self, "dial"));
        for name in ["token", "ca"] {
            if let (Some(sandbox), Some(written)) = (sandbox, block.body.attribute(name)) {
                self.out.push(ignored(&format!("`storage.{name}`"), written.name_span, sandbox));
            }
        }
        let written = |name: &str| block.body.attribute(name).is_some();
        if live && sandbox.is_none() && !written("address") && !written("pod") {
            self.out.push(
                Diagnostic::error("config/missing-attribute", "Missing attribute")
                    .detail("`storage` needs `address`: a storage without a pod is dialled where GitLab dials it.")
                    .at(block.header)
                    .help("For example: address = \"tcp://gitaly-01.internal:8075\""),
            );
        }
        let weight = fields.whole::<u64>("weight").and_then(|w| Weight::new(w).ok());
        let drain = fields.flag("drain").unwrap_or(false);
        if drain && weight.is_some_and(|w| w > Weight::ZERO) {
            self.out.push(
                Diagnostic::error("config/drain-weight", "Drain with a weight")
                    .detail(
                        "A draining storage takes no new repositories: its weight is 0, and `weight` says otherwise.",
                    )
                    .at(fields.span("weight"))
                    .also(fields.span("drain"), "drains here")
                    .help("Remove `weight`."),
            );
        }
        let metrics = match fields.get("metrics").map(|entry| &entry.value) {
            Some(Value::Object(labels)) => {
                labels.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
            }
            _ => BTreeMap::new(),
        };
        let (pod, zone) = self.pod(&fields, block, specs);
        Some(DesiredStorage {
            address: instance.address.clone(),
            name: StorageName::new(instance.name.clone()?).ok()?,
            endpoint: address,
            dial,
            pod,
            zone,
            adopt: false,
            token: secret(&fields, "token"),
            ca: fields.text("ca").map(str::to_owned),
            weight,
            drain,
            metrics,
            limits,
            name_span: check::name_span(block),
            span: block.header,
        })
    }

    /// Marks the storages whose objects exist already.
    fn import(
        &mut self,
        block: &Block,
        by_address: &BTreeMap<String, StorageName>,
        storages: &mut BTreeMap<StorageName, DesiredStorage>,
        imported: &mut BTreeMap<StorageName, Span>,
    ) {
        let fields = self.fields(block, "import");
        let named = fields.get("to").and_then(|entry| entry.value.elements()).into_iter().flatten();
        for name in named.filter_map(Value::as_str).filter_map(|address| by_address.get(address)) {
            let Some(storage) = storages.get_mut(name) else { continue };
            if let Some(first) = imported.insert(name.clone(), fields.span("to")) {
                self.out.push(
                    Diagnostic::error("config/import-twice", "Storage imported twice")
                        .detail(format!("The objects of {} can be adopted only once.", storage.address))
                        .at(fields.span("to"))
                        .also(first, "first here")
                        .help("Remove one of the blocks."),
                );
                continue;
            }
            storage.adopt = true;
            if storage.pod.is_none() {
                self.out.push(
                    Diagnostic::error("config/import", "Nothing to adopt")
                        .detail(format!("{} has no pod: it has no objects that tranship could adopt.", storage.address))
                        .at(fields.span("to"))
                        .also(storage.span, "the storage")
                        .help("Give it a pod, or remove this block."),
                );
            }
        }
    }

    fn assignments(&mut self, block: &Block, storages: &BTreeMap<String, StorageName>, found: &mut Vec<Assignment>) {
        let Some((label, _)) = block.labels.first() else { return };
        // A second block of one name has been told.
        let Some(instances) = graph::expand(block, "assignment", label, self.scope, self.out) else { return };
        for instance in instances {
            let fields = self.instance_fields(block, spec("assignment"), instance.each.as_ref());
            let names = |name: &str| -> Vec<StorageName> {
                let list = fields.get(name).and_then(|e| e.value.elements()).into_iter().flatten();
                let mut names: Vec<StorageName> =
                    list.filter_map(Value::as_str).filter_map(|a| storages.get(a)).cloned().collect();
                names.sort();
                names.dedup();
                names
            };
            let (from, to) = (names("from"), names("to"));
            let filter = self.filter(block, instance.each.as_ref());
            found.push(Assignment {
                address: instance.address,
                from,
                filter,
                to,
                priority: fields.whole("priority").unwrap_or(0),
                span: block.header,
            });
        }
    }

    /// Compiles a block's `where`: without one, all is selected; of what one selects that is wrong, which is told here,
    /// nothing is known.
    pub(super) fn filter(&mut self, block: &Block, each: Option<&Value>) -> Predicate {
        let Some(written) = block.body.attribute("where") else { return Predicate::always() };
        let extra = each.map(|e| ("each", e.clone())).into_iter().chain([("repository", Value::Unknown)]);
        let names = Inner { scope: self.scope, extra: extra.collect() };
        match Predicate::compile(&written.value, &names) {
            Ok(filter) if self.scope.touches_sensitive(&written.value) => filter.hushed(),
            Ok(filter) => filter,
            Err(fault) => {
                self.out.push(names.safe(&written.value, *fault));
                Predicate::undecided()
            }
        }
    }

    fn policy(&mut self, block: &Block) -> Option<Policy> {
        let fields = self.fields(block, "policy");
        let (label, _) = block.labels.first()?;
        self.must_say(&fields);
        let written = block.body.attribute("condition")?;
        let names = Inner { scope: self.scope, extra: vec![("plan", Value::Unknown)] };
        let compiled = Expression::compile(&written.value, &names, "plan");
        match compiled.and_then(|condition| condition.must_decide("plan", &PLAN).map(|()| condition)) {
            Ok(condition) if condition.as_constant().is_some_and(|v| v.as_bool().is_none() && !v.has_unknown()) => {
                let detail = "A policy's condition must be a bool over `plan`.".to_owned();
                self.wrong("config/invalid-value", "Invalid value", detail, written.value.span);
                None
            }
            Ok(condition) => Some(Policy {
                address: Address::new("policy", label.clone()),
                condition: if self.scope.touches_sensitive(&written.value) { condition.hushed() } else { condition },
                error_message: fields.text("error_message")?.to_owned(),
                place: None,
                span: block.header,
            }),
            Err(fault) => {
                self.out.push(names.safe(&written.value, *fault));
                None
            }
        }
    }

    /// Checks that `error_message` says something.
    fn must_say(&mut self, fields: &Fields) {
        if fields.text("error_message").is_some_and(|text| text.trim().is_empty()) {
            self.out.push(silent(fields.span("error_message")));
        }
    }
}

/// The diagnostic for a rule that says nothing when it is broken.
pub(super) fn silent(span: Span) -> Diagnostic {
    Diagnostic::error("config/invalid-value", "Invalid value")
        .detail("`error_message` must say what is wrong when the condition does not hold; this is empty.")
        .at(span)
        .help("For example: error_message = \"Split this: more than 5,000 moves in one plan.\"")
}

/// What a policy's condition may name of a plan, from the table that the reference is printed from.
static PLAN: LazyLock<Shape> = LazyLock::new(|| {
    let mut plan = BTreeMap::new();
    for (path, kind, _) in PLAN_FIELDS {
        let steps: Vec<&str> = path.split('.').collect();
        let leaf = match kind.split(',').next() {
            Some("whole number") => Shape::Number,
            Some("string") => Shape::Text,
            Some("list of strings") => Shape::List(Box::new(Shape::Text)),
            _ => Shape::Any,
        };
        plant(&mut plan, &steps, leaf);
    }
    Shape::Object(plan)
});

/// Puts a leaf at the end of a path; `*` stands for any key.
fn plant(object: &mut BTreeMap<String, Shape>, path: &[&str], leaf: Shape) {
    let Some((first, rest)) = path.split_first() else { return };
    let place = (*first).to_owned();
    match rest {
        [] => drop(object.insert(place, leaf)),
        ["*", rest @ ..] => {
            let map = object.entry(place).or_insert_with(|| Shape::Map(Box::new(Shape::Object(BTreeMap::new()))));
            if let Shape::Map(inner) = map
                && let Shape::Object(inner) = &mut **inner
            {
                plant(inner, rest, leaf);
            }
        }
        rest => {
            if let Shape::Object(inner) = object.entry(place).or_insert_with(|| Shape::Object(BTreeMap::new())) {
                plant(inner, rest, leaf);
            }
        }
    }
}
