//! The blocks that say how moves are released: `rollout`, `gate`, `hook`, `window`, `freeze`, `concurrency`, `verify`
//! and `prometheus`.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{Builder, spec};
use super::check::Fields;
use super::connection::secret;
use super::scope::Inner;
use super::shapes::address;
use super::syntax::{Block, Body};
use crate::diag::{Diagnostic, Span, nearest};
use crate::expr::{Expression, Predicate, Value, parse_duration};
use crate::model::{
    Address, Concurrency, Freeze, Gate, Hook, HookEvent, Hours, MetricsQuestion, Profile, PrometheusConnection,
    Question, Rollout, SourceFsck, StorageName, Veto, VetoSource, Wave, Window,
};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Whole seconds of a duration, rounded up.
fn seconds(fields: &Fields, name: &str) -> Option<u64> {
    let duration = parse_duration(fields.text(name)?).ok()?;
    let whole = u64::try_from(duration.as_secs()).ok()?;
    Some(whole.saturating_add(u64::from(duration.subsec_nanos() > 0)))
}

/// The addresses that an attribute refers to; `None` when it is left out.
fn references(fields: &Fields, name: &str) -> Option<Vec<Address>> {
    let list = fields.get(name)?.value.elements()?;
    Some(list.into_iter().filter_map(Value::as_str).filter_map(|text| text.parse().ok()).collect())
}

/// The label of the block that an attribute refers to.
fn label(fields: &Fields, name: &str, kind: &str) -> Option<String> {
    let text = address(&fields.get(name)?.value, kind)?;
    let address: Address = text.parse().ok()?;
    Some(address.label.to_string())
}

fn number(fields: &Fields, name: &str) -> Option<f64> {
    match &fields.get(name)?.value {
        Value::Number(number) => Some(number.to_f64()),
        _ => None,
    }
}

fn texts(fields: &Fields, name: &str) -> Vec<String> {
    let list = fields.get(name).and_then(|entry| entry.value.elements()).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Builder<'_> {
    pub(super) fn rollout(&mut self, block: &Block) -> Rollout {
        let fields = self.fields(block, "rollout");
        let ramp: Vec<u8> = fields
            .get("ramp")
            .and_then(|entry| entry.value.elements())
            .into_iter()
            .flatten()
            .filter_map(|value| u8::try_from(value.as_int()?).ok())
            .collect();
        if !ramp.is_sorted_by(|a, b| a < b) {
            let detail = "Each step of `ramp` must be above the one before.".to_owned();
            self.wrong("config/invalid-value", "Invalid value", detail, fields.span("ramp"));
        }
        let waves = block.body.blocks.iter().filter(|b| b.kind == "wave").filter_map(|inner| self.wave(inner));
        Rollout {
            waves: waves.collect(),
            backup_declined: fields.text("backup") == Some("none"),
            backup: label(&fields, "backup", "hook"),
            probe: fields.text("probe").map(str::to_owned),
            ramp,
            soak_seconds: seconds(&fields, "soak").unwrap_or(0),
            calm: fields.whole("calm"),
            gates: references(&fields, "gates").unwrap_or_default(),
            window: label(&fields, "window", "window"),
            rollback: fields.flag("rollback").unwrap_or(false),
        }
    }

    fn wave(&mut self, block: &Block) -> Option<Wave> {
        let values = self.inner_fields(block, "rollout", "wave");
        let (name, _) = block.labels.first()?;
        let filter = self.filter(block, None);
        Some(Wave {
            name: name.clone(),
            filter: filter.unwrap_or_else(Predicate::always),
            sample: values.whole("sample"),
            batch: values.whole("batch"),
            growth: values.whole("growth").unwrap_or(3),
            soak_seconds: seconds(&values, "soak"),
            gates: references(&values, "gates"),
            window: label(&values, "window", "window"),
            span: block.header,
        })
    }

    /// Reads a gate: it asks something, or it waits for a person.
    pub(super) fn gates(
        &mut self,
        block: &Block,
        storages: &BTreeMap<String, StorageName>,
        found: &mut BTreeMap<Address, Gate>,
    ) {
        let Some((name, _)) = block.labels.first() else { return };
        let instances = self.instances;
        for instance in instances.get(&("gate", name.as_str())).into_iter().flatten() {
            let fields = self.instance_fields(block, spec("gate"), instance.each.as_ref());
            let approval = fields.flag("approval") == Some(true);
            if approval == block.body.attribute("query").is_some() {
                self.wrong(
                    "config/gate",
                    "Gate without a question",
                    "A gate has either a `query` or `approval = true`.".to_owned(),
                    block.header,
                );
                continue;
            }
            let question = if approval {
                Some(Question::Approval)
            } else {
                self.question(block, instance.each.as_ref(), &fields, storages).map(Question::Metrics)
            };
            let Some(question) = question else { continue };
            let address = instance.address.clone();
            found.insert(address.clone(), Gate { address, question, span: block.header });
        }
    }

    fn question(
        &mut self,
        block: &Block,
        each: Option<&Value>,
        fields: &Fields,
        storages: &BTreeMap<String, StorageName>,
    ) -> Option<MetricsQuestion> {
        let written = block.body.attribute("query")?;
        let extra = each.map(|e| ("each", e.clone())).into_iter().chain([("target", Value::Unknown)]);
        let names = Inner { scope: self.scope, extra: extra.collect() };
        let query = match Expression::compile(&written.value, &names, "target") {
            Ok(query) if self.scope.touches_sensitive(&written.value) => query.hushed(),
            Ok(query) => query,
            Err(fault) => {
                let fault = names.safe(&written.value, *fault);
                self.out.push(fault);
                return None;
            }
        };
        self.promql(&query, written.value.span);
        let baseline: Vec<StorageName> = references(fields, "baseline")
            .unwrap_or_default()
            .iter()
            .filter_map(|address| storages.get(&address.to_string()))
            .cloned()
            .collect();
        let (max, min, max_ratio) = (number(fields, "max"), number(fields, "min"), number(fields, "max_ratio"));
        let has_baseline = block.body.attribute("baseline").is_some();
        if has_baseline != block.body.attribute("max_ratio").is_some() {
            let detail = "`baseline` and `max_ratio` go together: the answer is divided by the baseline's.".to_owned();
            let span = if has_baseline { fields.span("baseline") } else { fields.span("max_ratio") };
            self.wrong("config/gate", "Half of a comparison", detail, span);
        }
        if max.is_none() && min.is_none() && max_ratio.is_none() && !has_baseline {
            self.out.push(
                Diagnostic::error("config/gate", "Gate without a limit")
                    .detail("A gate with a `query` needs `max`, `min`, or `baseline` with `max_ratio`: nothing says which answer is good.")
                    .at(block.header)
                    .help("For example: max = 0.5"),
            );
        }
        if let (Some(max), Some(min)) = (max, min)
            && min > max
        {
            let detail = "`min` is above `max`: no answer could hold.".to_owned();
            self.wrong("config/gate", "A gate that can never hold", detail, fields.span("min"));
        }
        Some(MetricsQuestion {
            query,
            max,
            min,
            for_seconds: seconds(fields, "for").unwrap_or(0),
            baseline,
            max_ratio,
            dry_run: fields.flag("dry_run").unwrap_or(false),
            interval_seconds: seconds(fields, "interval").unwrap_or(30).max(1),
            deadline_seconds: seconds(fields, "deadline").unwrap_or(3600),
        })
    }

    /// Checks that a query parses, with a stand-in for the labels of its target.
    fn promql(&mut self, query: &Expression, span: Span) {
        let target = [("selector".to_owned(), Value::from("instance=\"x\"")), ("name".to_owned(), Value::from("x"))];
        let target = Value::from(BTreeMap::from(target));
        let text = query.evaluate(&BTreeMap::from([("target".to_owned(), target)]));
        match text.as_ref().map(|value| value.as_str()) {
            Ok(Some(text)) => {
                if let Err(problem) = promql_parser::parser::parse(text) {
                    self.out.push(
                        Diagnostic::error("config/promql", "Not PromQL")
                            .detail(format!("The query cannot be parsed: {}.", problem.trim_end_matches('.')))
                            .at(span)
                            .help("Try it in Prometheus; `${target.selector}` stands for labels like instance=\"x\"."),
                    );
                }
            }
            Ok(None) => {
                let detail = "`query` must be a string.".to_owned();
                self.wrong("config/invalid-value", "Invalid value", detail, span);
            }
            Err(fault) => self.out.push((**fault).clone()),
        }
    }

    pub(super) fn hook(&mut self, block: &Block) -> Option<Hook> {
        let fields = self.fields(block, "hook");
        let (name, _) = block.labels.first()?;
        let exec = texts(&fields, "exec");
        if fields.get("exec").is_some() && exec.first().is_none_or(String::is_empty) {
            let detail = "`exec` must name a program.".to_owned();
            self.wrong("config/invalid-value", "Invalid value", detail, fields.span("exec"));
        }
        let mut on = BTreeSet::new();
        for text in texts(&fields, "on") {
            match HookEvent::parse(&text) {
                Some(event) => drop(on.insert(event)),
                None => {
                    let known: Vec<&str> = HookEvent::ALL.iter().map(|(_, name)| *name).collect();
                    let near = nearest(&text, known.iter().copied()).map(|near| format!("Did you mean {near:?}? "));
                    self.out.push(
                        Diagnostic::error("config/invalid-value", "Invalid value")
                            .detail(format!("There is no event {text:?} for a hook."))
                            .at(fields.span("on"))
                            .help(format!("{}There are {}.", near.unwrap_or_default(), known.join(", "))),
                    );
                }
            }
        }
        let timeout_seconds = seconds(&fields, "timeout").unwrap_or(600).max(1);
        Some(Hook { name: name.clone(), exec, on, timeout_seconds })
    }

    /// Reads a window's times and days.
    pub(super) fn window(&mut self, block: &Block) -> Option<Window> {
        let fields = self.fields(block, "window");
        let (name, _) = block.labels.first()?;
        let clock = |text: &str| -> Option<u16> {
            let (hours, minutes) = text.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
            let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        };
        let mut time = |name: &str| {
            let found = fields.text(name).and_then(clock);
            if found.is_none() && fields.get(name).is_some() {
                let detail = format!("`{name}` must be a time of day, from \"00:00\" to \"23:59\".");
                self.wrong("config/invalid-value", "Invalid value", detail, fields.span(name));
            }
            found
        };
        let (start, end) = (time("start"), time("end"));
        let written = texts(&fields, "days");
        let days: BTreeSet<u8> =
            written.iter().filter_map(|day| (0u8..).zip(DAYS).find(|(_, name)| name == day)).map(|(n, _)| n).collect();
        if written.iter().any(|day| !DAYS.contains(&day.as_str())) {
            let detail = format!("`days` must be of {}.", DAYS.join(", "));
            self.wrong("config/invalid-value", "Invalid value", detail, fields.span("days"));
        }
        let timezone = fields.text("timezone").unwrap_or("UTC").to_owned();
        if jiff::tz::TimeZone::get(&timezone).is_err() {
            self.out.push(
                Diagnostic::error("config/timezone", "Unknown time zone")
                    .detail(format!("There is no time zone {timezone:?}."))
                    .at(fields.span("timezone"))
                    .help("Use a name of the IANA database, like \"Europe/Berlin\" or \"UTC\"."),
            );
        }
        let days = if days.is_empty() { (0..7).collect() } else { days };
        Some(Window {
            name: name.clone(),
            hours: Hours { days, start: start?, end: end?, timezone },
            span: block.header,
        })
    }

    pub(super) fn freeze(&mut self, block: &Block) -> Freeze {
        let fields = self.fields(block, "freeze");
        Freeze {
            per_repository: seconds(&fields, "per_repository"),
            per_day: seconds(&fields, "per_day"),
            window: label(&fields, "window", "window"),
            span: Some(block.header),
        }
    }

    pub(super) fn concurrency(&mut self, block: &Block) -> Concurrency {
        let fields = self.fields(block, "concurrency");
        let vetoes = block.body.blocks.iter().filter(|b| b.kind == "veto").filter_map(|inner| self.veto(inner));
        Concurrency {
            profile: fields.text("profile").and_then(Profile::parse).unwrap_or_default(),
            signals: references(&fields, "signals").unwrap_or_default(),
            interval_seconds: seconds(&fields, "interval").map(|s| s.max(1)),
            deadline_seconds: seconds(&fields, "deadline"),
            vetoes: vetoes.collect(),
        }
    }

    fn veto(&mut self, block: &Block) -> Option<Veto> {
        let values = self.inner_fields(block, "concurrency", "veto");
        let (name, _) = block.labels.first()?;
        let of = |name: &str| values.text(name).map(str::to_owned);
        let source = match (of("query"), of("url"), of("file")) {
            (Some(query), None, None) => {
                let span = values.span("query");
                self.promql(&Expression::constant(query.clone()), span);
                VetoSource::Query(query)
            }
            (None, Some(url), None) => {
                self.http(&url, "url", values.span("url"));
                VetoSource::Url(url)
            }
            (None, None, Some(file)) => VetoSource::File(file),
            _ => {
                self.out.push(
                    Diagnostic::error("config/veto", "Veto without a source")
                        .detail("A `veto` has one of `query`, `url` and `file`.")
                        .at(block.header)
                        .help("For example: file = \"STOP\""),
                );
                return None;
            }
        };
        Some(Veto { name: name.clone(), source })
    }

    pub(super) fn source_fsck(&mut self, block: &Block) -> SourceFsck {
        match self.fields(block, "verify").text("source_fsck") {
            Some("sample") => SourceFsck::Sample,
            Some("all") => SourceFsck::All,
            _ => SourceFsck::None,
        }
    }

    pub(super) fn prometheus(&mut self, body: &Body) -> Option<PrometheusConnection> {
        let block = body.blocks.iter().find(|b| b.kind == "prometheus")?;
        let fields = self.fields(block, "prometheus");
        let url = fields.text("url")?.trim_end_matches('/').to_owned();
        self.http(&url, "url", fields.span("url"));
        Some(PrometheusConnection {
            url,
            token: secret(&fields, "token"),
            ca: fields.text("ca").map(str::to_owned),
            span: block.header,
        })
    }

    /// Checks an address of HTTP; its parts that could be a secret are not printed.
    fn http(&mut self, text: &str, name: &str, span: Span) {
        let good = url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.host_str().is_some()
                && url.username().is_empty()
                && url.password().is_none()
        });
        if !good {
            let detail =
                format!("`{name}` must begin with https:// or http://, name a host, and hold no user or password.");
            self.wrong("config/url", "Not an address", detail, span);
        }
    }
}
