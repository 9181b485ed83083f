//! How a plan is released, as rows: probes, steps of the ramp, what is waited for, programs around waves.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::plan::Page;
use super::text::{self, Table, escape, prose};
use super::words;
use crate::model::{Address, Container, HookEvent, StorageName, Weight};
use crate::plan::{Action, Calm, Change, Check, Plan, WeightChange};

/// Names in a line that are shown without `-v`.
const SET: usize = 8;

/// All that releases a plan.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Release {
    /// Storages that are tried before anything else.
    pub probes: Vec<ProbeRow>,
    /// Steps of the ramp before the last.
    pub ramp: Vec<RampRow>,
    /// What is waited for.
    pub holds: Vec<HoldRow>,
    /// Programs of the operator's.
    pub hooks: Vec<HookRow>,
}

/// One storage that is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeRow {
    /// The action.
    pub address: Address,
    /// The project.
    pub project: Container,
    /// Its path.
    pub path: String,
    /// Where it is, and is brought back to.
    pub home: StorageName,
    /// Why.
    pub reason: String,
}

/// One step of the ramp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RampRow {
    /// The action; of the last step, the weights' own actions stand elsewhere.
    pub address: Address,
    /// As asked for, per cent.
    pub percent: u8,
    /// As the integers give it.
    pub share_permille: u16,
    /// The weights it sets.
    pub weights: BTreeMap<StorageName, Weight>,
}

/// One hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HoldRow {
    /// The action.
    pub address: Address,
    /// After what, in words.
    pub after: String,
    /// Storages that gates are asked about.
    pub storages: BTreeSet<StorageName>,
    /// Seconds of watching.
    pub soak_seconds: u64,
    /// When there is no watching any more.
    pub calm: Option<Calm>,
    /// Gates that are asked, each with the answers that are good; a dry run decides nothing.
    pub gates: BTreeMap<Address, String>,
    /// Gates that a person must approve.
    pub approvals: Vec<Address>,
    /// Weights go back when a gate says no.
    pub rolls_back: bool,
    /// Why.
    pub reason: String,
}

/// One program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookRow {
    /// The action; `None`: it runs when something happens.
    pub address: Option<Address>,
    /// The block's label.
    pub hook: String,
    /// When.
    pub on: BTreeSet<HookEvent>,
    /// Of which wave.
    pub wave: Option<String>,
    /// The program and its arguments.
    pub exec: Vec<String>,
    /// Why.
    pub reason: String,
}

impl Release {
    /// Derives it; a pure function of the plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut release = Self::default();
        for Action { address, change, reason } in &plan.actions {
            let (address, reason) = (address.clone(), reason.clone());
            match change {
                Change::Probe { storage: _, container, path, home } => release.probes.push(ProbeRow {
                    address,
                    project: *container,
                    path: path.to_string(),
                    home: home.clone(),
                    reason,
                }),
                Change::Ramp { percent, share_permille, weights } => release.ramp.push(RampRow {
                    address,
                    percent: *percent,
                    share_permille: *share_permille,
                    weights: weights.iter().map(|(name, WeightChange { after, .. })| (name.clone(), *after)).collect(),
                }),
                Change::Hold { after, storages, soak_seconds, calm, checks, approvals, rollback } => {
                    release.holds.push(HoldRow {
                        address,
                        after: words::after(after),
                        storages: storages.clone(),
                        soak_seconds: *soak_seconds,
                        calm: *calm,
                        gates: checks.iter().map(|check| (check.gate.clone(), wanted(check))).collect(),
                        approvals: approvals.clone(),
                        rolls_back: !rollback.is_empty(),
                        reason,
                    });
                }
                Change::RunHook { hook, on, wave } => release.hooks.push(HookRow {
                    address: Some(address),
                    hook: hook.name.clone(),
                    on: BTreeSet::from([*on]),
                    wave: Some(wave.clone()),
                    exec: hook.exec.clone(),
                    reason,
                }),
                _ => {}
            }
        }
        if !plan.is_empty() {
            release.hooks.extend(plan.hooks.iter().map(|hook| {
                HookRow {
                    address: None,
                    hook: hook.name.clone(),
                    on: hook
                        .on
                        .iter()
                        .filter(|on| !matches!(on, HookEvent::WaveStart | HookEvent::WaveDone))
                        .copied()
                        .collect(),
                    wave: None,
                    exec: hook.exec.clone(),
                    reason: String::new(),
                }
            }));
        }
        release
    }

    /// What stands in the headline.
    pub(super) fn parts(&self) -> Vec<String> {
        let count = |rows: usize, one: &str, many: &str| (rows > 0).then(|| text::count(rows as u64, one, many));
        let parts = [
            count(self.probes.len(), "storage to probe", "storages to probe"),
            count(self.ramp.len(), "step before the last weights", "steps before the last weights"),
            count(self.holds.len(), "hold", "holds"),
        ];
        parts.into_iter().flatten().collect()
    }
}

impl Page {
    pub(super) fn probes(&mut self, rows: &[ProbeRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Probes", ": moved there, committed to through GitLab, read by our own way, and moved back");
        let mut table = Table::new(self.style, &[]);
        for ProbeRow { address, project, path, home, reason } in rows.iter().take(self.shown(rows.len())) {
            let sign = self.paint.change("->");
            let name = escape(&words::named(*project, path)).into_owned();
            table.row_with(
                [format!("{sign} {}", self.address(address)), format!("{name} from {home}")],
                self.reason(reason),
            );
        }
        self.out.push_str(&table.render(2));
        self.more(rows.len() - self.shown(rows.len()), "probes");
    }

    pub(super) fn ramp(&mut self, rows: &[RampRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Ramp", ": the share of new repositories that is asked for, and that the weights really give");
        let mut table = Table::new(self.style, &[1, 2]);
        for RampRow { address, percent, share_permille, weights } in rows {
            let set: Vec<String> = weights.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
            let shown = if self.verbose { set.len() } else { set.len().min(SET) };
            let more = if shown < set.len() { ", …" } else { "" };
            table.row([
                format!("{} {}", self.paint.warning("~"), self.address(address)),
                format!("{percent} %"),
                percent_of(*share_permille),
                format!("{}{more}", set.get(..shown).unwrap_or_default().join(", ")),
            ]);
        }
        self.out.push_str(&table.render(2));
    }

    pub(super) fn holds(&mut self, rows: &[HoldRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Holds", ": what must have held before what comes after begins");
        for HoldRow { address, after, storages, soak_seconds, calm, gates, approvals, rolls_back, reason: _ } in rows {
            let watch = match (soak_seconds, calm) {
                (0, _) => String::new(),
                (soak, None) => format!(", watched for {}", text::eta(*soak)),
                (soak, Some(Calm { after, so_far })) => format!(
                    ", watched for {} until {after} in a row are passed at once ({so_far} so far)",
                    text::eta(*soak)
                ),
            };
            let back = if *rolls_back { "; weights go back when a gate says no" } else { "" };
            let line = format!("> {} after {}{watch}{back}", self.address(address), escape(after));
            self.out.push_str(&prose(self.style, 2, &line));
            let of: Vec<&str> = storages.iter().take(SET).map(StorageName::as_str).collect();
            let more = if of.len() < storages.len() { ", …" } else { "" };
            for (gate, wanted) in gates {
                let line = format!("{} of {}{more}: {}", self.address(gate), of.join(", "), escape(wanted));
                self.out.push_str(&prose(self.style, 6, &line));
            }
            for gate in approvals {
                let line = format!("{}: a person approves it", self.address(gate));
                self.out.push_str(&prose(self.style, 6, &line));
            }
        }
    }

    pub(super) fn hooks(&mut self, rows: &[HookRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Hooks", "");
        let mut table = Table::new(self.style, &[]);
        for HookRow { address, hook, on, wave, exec, reason } in rows {
            let on: Vec<String> = on.iter().map(ToString::to_string).collect();
            let name = match address {
                Some(address) => self.address(address),
                None => self.paint.change(&escape(&format!("hook.{hook}"))),
            };
            let when = match wave {
                Some(wave) => format!("{} of wave {}", on.join(", "), escape(wave)),
                None => format!("on {}", on.join(", ")),
            };
            table.row_with([format!("> {name}"), when, escape(&exec.join(" ")).into_owned()], self.reason(reason));
        }
        self.out.push_str(&table.render(2));
    }
}

fn percent_of(permille: u16) -> String {
    text::percent(u64::from(permille))
}

/// Which answers are good: `at most 0.5 for 5 min`.
fn wanted(check: &Check) -> String {
    let Check { max, min, for_seconds, baseline, max_ratio, dry_run, .. } = check;
    let mut parts = Vec::new();
    parts.extend(max.map(|max| format!("at most {max}")));
    parts.extend(min.map(|min| format!("at least {min}")));
    let others: Vec<&str> = baseline.keys().map(StorageName::as_str).collect();
    parts.extend(max_ratio.map(|ratio| format!("at most {ratio} times that of {}", others.join(", "))));
    let mut line = parts.join(" and ");
    if *for_seconds > 0 {
        line.push_str(" for ");
        line.push_str(&text::eta(*for_seconds));
    }
    if *dry_run {
        line.push_str(" (dry run: told only)");
    }
    line
}
