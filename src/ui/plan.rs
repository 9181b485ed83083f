//! A plan as text and as JSON. Short by default; every line that names an action or a repository is complete on its
//! own, so that `grep ADDRESS` finds it.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::Style;
use super::hours::{FreezeRow, WindowRow};
use super::overview::{
    ConcurrencyRow, EstimateRow, ListedRow, MoveRef, NotPlannedRow, Overview, RoomRow, Route, WeightRow,
};
use super::pods::{ChangedField, PodActionRow, PodClass, PodRow};
use super::text::{self, Paint, Table, escape, escape_lines, percent, prose, repositories};
use super::words;
use crate::model::Address;
use crate::plan::{
    Basis, Drift, Finding, Level, PlacementPlan, Plan, PlannedMove, PolicyVerdict, Quarantined, Rename, Verdict,
};

/// Rows of a table that are shown without `-v`.
const ROWS: usize = 20;
/// Fields of an object, and lines of one of them, that are shown without `-v`.
const FIELDS: usize = 10;
/// Moves of a route that are shown without `-v`.
const MOVES: usize = 5;
/// Moves that are shown without `-v` in all.
const MOVES_IN_ALL: usize = 20;

/// A plan as text; `verbose` lists every move, every weight and what the plan was made from.
pub fn plan(plan: &Plan, style: Style, verbose: bool) -> String {
    let Overview { summary, listed, pods, weights, routes, waves, windows, freeze, rooms, release, .. } =
        &Overview::of(plan);
    let Overview { drains, not_planned, concurrency, estimate, next, .. } = &Overview::of(plan);
    // Every field is named, so that a new one cannot be forgotten.
    let Plan {
        format: _, // the JSON's
        environment,
        as_of,
        listed: _, // with its age, in the overview
        basis,
        actions: _, // by their kinds, in the overview
        edges: _,   // `tranship graph`
        moves: _,   // by route
        drift,
        findings,
        report: _, // in words: `not_planned`
        quarantined,
        weights: _,  // in the overview
        storages: _, // `rooms`
        placement,
        max_moves: _,   // in the estimate
        concurrency: _, // in words
        windows: _,     // in the overview
        freeze: _,      // in the overview
        source_fsck: _,
        hooks: _, // `release`
        durations: _,
        estimate: _, // in words
        policies,
        samples: _, // with the waves
        renames,
    } = plan;
    let mut page = Page { out: String::new(), paint: Paint::new(style), style, verbose };
    let headline = page.paint.bold(&summary.text);
    let _ = writeln!(page.out, "{headline}");
    let bare = plan.is_empty()
        && not_planned.is_empty()
        && quarantined.is_empty()
        && drift.is_empty()
        && findings.is_empty()
        && policies.is_empty()
        && listed.is_none();
    if bare && !verbose {
        return page.out;
    }
    let _ = writeln!(page.out, "Environment {}.", escape(environment));
    if let Some(ListedRow { text, age_seconds: _ }) = listed {
        page.out.push_str(&prose(style, 0, text));
    }
    page.quarantined(quarantined);
    page.drift(drift);
    page.renames(renames);
    page.findings("Danger", findings.iter().filter(|f| f.level != Level::Notice));
    page.pods(pods);
    page.probes(&release.probes);
    page.ramp(&release.ramp);
    page.weights(weights);
    page.routes(plan, routes);
    page.waves(waves);
    page.windows(windows);
    page.freeze(freeze.as_ref());
    page.holds(&release.holds);
    page.hooks(&release.hooks);
    page.rooms(rooms);
    page.placement(placement);
    page.drains(drains);
    page.not_planned(not_planned);
    page.policies(policies);
    page.concurrency(concurrency.as_ref());
    page.estimate(estimate.as_ref());
    page.findings("Notices", findings.iter().filter(|f| f.level == Level::Notice));
    if verbose {
        page.basis(basis, *as_of);
    }
    let _ = writeln!(page.out, "\n{headline}");
    for line in next {
        page.out.push_str(&prose(style, 0, line));
    }
    if !verbose && routes.iter().any(|r| r.repositories > 0) {
        page.out.push_str("`-v` lists every move.\n");
    }
    page.out
}

/// The text as it grows.
pub(super) struct Page {
    pub(super) out: String,
    pub(super) paint: Paint,
    pub(super) style: Style,
    pub(super) verbose: bool,
}

impl Page {
    pub(super) fn heading(&mut self, title: &str, rest: &str) {
        let title = self.paint.bold(title);
        let _ = writeln!(self.out, "\n{title}{rest}");
    }

    /// How many rows of a table are shown.
    pub(super) fn shown(&self, rows: usize) -> usize {
        if self.verbose { rows } else { rows.min(ROWS) }
    }

    pub(super) fn more(&mut self, left: usize, what: &str) {
        if left > 0 {
            let _ = writeln!(self.out, "    and {left} more {what} (`-v` lists all)");
        }
    }

    fn help(&mut self, indent: usize, help: &str) {
        if !help.is_empty() {
            self.out.push_str(&prose(
                self.style,
                indent,
                &format!("what to do: {}", escape_lines(help).replace('\n', "\n  ")),
            ));
        }
    }

    pub(super) fn address(&self, address: &Address) -> String {
        self.paint.change(&escape(&address.to_string()))
    }

    pub(super) fn reason(&self, reason: &str) -> String {
        if reason.is_empty() { String::new() } else { self.paint.dim(&format!("# {}", escape(reason))) }
    }

    fn quarantined(&mut self, items: &[Quarantined]) {
        if items.is_empty() {
            return;
        }
        self.heading(
            "Quarantined",
            &format!(
                ": {} set aside until a person releases {}",
                repositories(items.len() as u64),
                if items.len() == 1 { "it" } else { "them" }
            ),
        );
        // What may have lost something comes first and is never folded away.
        let mut order: Vec<&Quarantined> = items.iter().collect();
        order.sort_by_key(|q| !q.urgent);
        let urgent = order.iter().filter(|q| q.urgent).count();
        let shown = self.shown(order.len()).max(urgent);
        for Quarantined { container, path, source, cause, remedy, urgent } in order.iter().take(shown) {
            let word = if *urgent { self.paint.danger("! URGENT") } else { self.paint.warning("!") };
            let name = escape(&words::named(*container, path)).into_owned();
            let _ = writeln!(self.out, "  {word} quarantine.{name} off {source}: {}", escape(cause));
            self.help(6, remedy);
        }
        self.more(order.len() - shown, "quarantined");
    }

    fn drift(&mut self, items: &[Drift]) {
        if items.is_empty() {
            return;
        }
        self.heading("Changed outside of tranship", "");
        let mut table = Table::new(self.style, &[]);
        let shown = self.shown(items.len());
        for Drift { address, fact, recorded, observed } in items.iter().take(shown) {
            table.row([
                format!("{} {}", self.paint.warning("~"), self.address(address)),
                format!("{}:", escape(fact)),
                format!("recorded {} -> observed {}", escape(recorded), escape(observed)),
            ]);
        }
        self.out.push_str(&table.render(2));
        self.more(items.len() - shown, "changes");
    }

    fn renames(&mut self, items: &[Rename]) {
        if items.is_empty() {
            return;
        }
        self.heading("Renamed", ": records of the state, as `moved` blocks say; nothing else changes");
        let shown = self.shown(items.len());
        for Rename { from, to } in items.iter().take(shown) {
            let _ = writeln!(self.out, "  {} {from} -> {}", self.paint.warning("~"), self.address(to));
        }
        self.more(items.len() - shown, "records");
    }

    fn findings<'a>(&mut self, title: &str, items: impl Iterator<Item = &'a Finding>) {
        let mut items: Vec<&Finding> = items.collect();
        if items.is_empty() {
            return;
        }
        items.sort();
        self.heading(title, "");
        for Finding { level, code, subject, message, help, blocks_drain } in items {
            let word = match level {
                Level::Error => self.paint.danger("! error"),
                Level::Danger => self.paint.warning("! danger"),
                Level::Notice => "notice".to_owned(),
            };
            let drain = if *blocks_drain { " (a drain cannot end because of it)" } else { "" };
            let line = format!("{word} [{}] {}: {}{drain}", escape(code), escape(subject), escape_lines(message));
            self.out.push_str(&prose(self.style, 2, &line));
            self.help(6, help);
        }
    }

    fn pods(&mut self, rows: &[PodRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Pods", ": by storage, what is done and what that means");
        let shown = self.shown(rows.len());
        for PodRow { storage, actions } in rows.iter().take(shown) {
            let _ = writeln!(self.out, "  {storage}");
            let mut table = Table::new(self.style, &[]);
            let new: Vec<&PodActionRow> = actions.iter().filter(|row| row.class == PodClass::Create).collect();
            if !self.verbose && new.len() > 1 {
                let kinds: Vec<&str> = new.iter().map(|row| row.what.trim_start_matches("create ")).collect();
                let address = Address::new("pod", storage.as_str());
                let all = kinds.join(", ");
                table.row([
                    format!("{} {}", self.paint.change("+"), self.address(&address)),
                    format!("create {}", escape(&all)),
                ]);
            }
            for PodActionRow { address, class, what, reason, changes } in actions {
                if *class == PodClass::Create && !self.verbose && new.len() > 1 {
                    continue;
                }
                let sign = match class {
                    PodClass::Create => self.paint.change("+"),
                    PodClass::InPlace | PodClass::Grow => self.paint.change("~"),
                    PodClass::RollsPod => self.paint.warning("!"),
                    PodClass::Recreate => self.paint.warning("-/+"),
                    PodClass::Wait => self.paint.dim(">"),
                    PodClass::Forget => self.paint.warning("-"),
                };
                table.row_with(
                    [format!("{sign} {}", self.address(address)), escape(what).into_owned()],
                    self.reason(reason),
                );
                if !changes.is_empty() {
                    self.out.push_str(&table.render(4));
                    table = Table::new(self.style, &[]);
                    self.changes(changes);
                }
            }
            self.out.push_str(&table.render(4));
        }
        self.more(rows.len() - shown, "pod storages");
    }

    fn changes(&mut self, changes: &[ChangedField]) {
        let shown = if self.verbose { changes.len() } else { changes.len().min(FIELDS) };
        for ChangedField { path, before, after } in changes.iter().take(shown) {
            let many = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains('\n'));
            if !many(before) && !many(after) {
                let value = |value: &Option<String>| {
                    value.as_ref().map_or_else(|| "(none)".to_owned(), |text| self.short(text))
                };
                let _ = writeln!(self.out, "        {}: {} -> {}", escape(path), value(before), value(after));
                continue;
            }
            let _ = writeln!(self.out, "        {}:", escape(path));
            for (sign, text) in [("-", before), ("+", after)] {
                let lines: Vec<&str> = text.as_deref().unwrap_or_default().lines().collect();
                let most = if self.verbose { lines.len() } else { FIELDS };
                for line in lines.iter().take(most) {
                    let line = self.short(line);
                    let _ = writeln!(self.out, "          {}", format!("{sign} {line}").trim_end());
                }
                self.more(lines.len().saturating_sub(most), "lines");
            }
        }
        self.more(changes.len() - shown, "fields");
    }

    /// A value, cut to a readable length where not all is asked for.
    fn short(&self, text: &str) -> String {
        const MOST: usize = 100;
        let text = escape(text);
        if self.verbose || text.chars().count() <= MOST {
            return text.into_owned();
        }
        text.chars().take(MOST).chain(['…']).collect()
    }

    fn weights(&mut self, rows: &[WeightRow]) {
        let changed = rows.iter().filter(|r| r.address.is_some()).count();
        if changed == 0 {
            return;
        }
        self.heading("Weights", ": before -> after, and the share of new repositories that this gives");
        let rest = rows.len() - changed;
        let shown = self.shown(changed);
        let rest_shown = if self.verbose || rest <= MOVES { rest } else { 0 };
        let mut table = Table::new(self.style, &[1, 3, 5, 7]);
        let changed_rows = rows.iter().take(shown);
        for row in changed_rows.chain(rows.iter().skip(changed).take(rest_shown)) {
            let WeightRow { storage, address, before, after, share_before_permille, share_after_permille, reason } =
                row;
            let share = |permille: Option<u64>| permille.map_or_else(|| "none".to_owned(), percent);
            let (name, why) = match address {
                Some(address) => {
                    (format!("{} {}", self.paint.warning("~"), self.address(address)), self.reason(reason))
                }
                None if before == after => (format!("  {storage}"), self.paint.dim("# weight unchanged")),
                None => (format!("  {storage}"), self.paint.dim("# set by the steps of the ramp")),
            };
            table.row_with(
                [
                    name,
                    before.to_string(),
                    "->".to_owned(),
                    after.to_string(),
                    " share".to_owned(),
                    share(*share_before_permille),
                    "->".to_owned(),
                    share(*share_after_permille),
                ],
                why,
            );
        }
        self.out.push_str(&table.render(2));
        self.more(changed - shown, "weights to set");
        if rest > rest_shown {
            let _ = writeln!(
                self.out,
                "    and {} with unchanged weights",
                text::count(rest as u64, "storage", "storages")
            );
        }
    }

    fn routes(&mut self, plan: &Plan, rows: &[Route]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Moves", ": source -> destination");
        let mut left = if self.verbose { usize::MAX } else { MOVES_IN_ALL };
        let shown = self.shown(rows.len());
        for Route { source, destination, repositories: number, kinds, bytes, waves, moves } in rows.iter().take(shown) {
            let waves: Vec<_> = waves.iter().map(|w| escape(w)).collect();
            let word = if waves.len() == 1 { "wave" } else { "waves" };
            let _ = writeln!(
                self.out,
                "  {} {} {source} -> {destination} ({bytes}), {word} {}{}",
                self.paint.change("move"),
                repositories(*number),
                waves.join(", "),
                if kinds.len() > 1 { format!(": {}", words::kinds(kinds)) } else { String::new() }
            );
            let listed = if self.verbose { moves.len() } else { moves.len().min(MOVES).min(left) };
            left = left.saturating_sub(listed);
            for MoveRef { index, action } in moves.iter().take(listed) {
                let item = plan.moves.get(*index as usize);
                let action = plan.actions.get(*action as usize);
                if let (Some(item), Some(action)) = (item, action) {
                    self.one_move(item, &action.address);
                }
            }
            if listed > 0 {
                self.more(moves.len() - listed, "on this route");
            }
        }
        self.more(rows.len() - shown, "routes");
    }

    /// One line, complete on its own.
    fn one_move(&mut self, item: &PlannedMove, action: &Address) {
        let PlannedMove { container, path, source, destination, assignment, bytes, shared, pool: _, empty } = item;
        let mut size = if *empty { "empty".to_owned() } else { bytes.to_string() };
        if shared.0 > 0 {
            let _ = write!(size, " and {shared} of its pool");
        }
        let name = words::named(*container, path);
        let _ = writeln!(
            self.out,
            "      {} {source} -> {destination} ({size}) {} for {}",
            escape(&name),
            self.address(action),
            escape(&assignment.to_string())
        );
    }

    fn waves(&mut self, rows: &[super::overview::WaveRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Waves", ": in this order, each off one storage");
        let shown = self.shown(rows.len());
        let mut table = Table::new(self.style, &[2, 3]);
        for row in rows.iter().take(shown) {
            let super::overview::WaveRow {
                position,
                wave,
                address,
                source,
                repositories: n,
                bytes,
                window,
                sample,
                order: _, // follows from the kind of wave
                reason,
            } = row;
            let inside = window.as_ref().map_or_else(String::new, |window| format!(", inside {}", escape(window)));
            let sampled = match sample {
                Some(threshold) if self.verbose => format!(" (drawn up to {})", escape(threshold)),
                Some(threshold) if threshold.starts_with("to:") => String::new(),
                Some(_) => " (sample)".to_owned(),
                None => String::new(),
            };
            table.row_with(
                [
                    format!("{} {}", self.paint.change("->"), self.address(address)),
                    format!("{}. {}{sampled}", u64::from(*position) + 1, escape(wave)),
                    repositories(*n),
                    bytes.to_string(),
                    format!("off {source}{inside}"),
                ],
                self.reason(reason),
            );
        }
        self.out.push_str(&table.render(2));
        self.more(rows.len() - shown, "waves");
    }

    fn windows(&mut self, rows: &[WindowRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Windows", ": moves start only inside, where 95 of 100 end before it closes");
        let mut table = Table::new(self.style, &[]);
        for WindowRow { name, hours, next } in rows {
            table.row([escape(name).into_owned(), format!("{hours}:"), next.clone()]);
        }
        self.out.push_str(&table.render(4));
    }

    fn freeze(&mut self, row: Option<&FreezeRow>) {
        let Some(FreezeRow { per_repository, per_day, groups }) = row else { return };
        self.heading("Freeze budget", ": read-only time that users may be made to bear");
        let mut table = Table::new(self.style, &[]);
        for (name, budget) in [("per repository", per_repository), ("per day", per_day)] {
            if let Some(budget) = budget {
                table.row([name.to_owned(), escape(budget).into_owned()]);
            }
        }
        for (group, line) in groups {
            table.row([format!("  group {}", escape(group)), line.clone()]);
        }
        self.out.push_str(&table.render(4));
    }

    fn rooms(&mut self, rows: &[RoomRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Room", ": fullest while the moves run, and the ceiling that none may cross");
        let shown = self.shown(rows.len());
        let mut table = Table::new(self.style, &[]);
        for row in rows.iter().take(shown) {
            let RoomRow {
                storage,
                incoming_count,
                incoming,
                outgoing_count,
                outgoing,
                used,
                capacity,
                used_permille,
                full_permille,
                growth,
                level,
                disk_ceiling_permille,
                max_moves,
            } = row;
            let unknown = || "unknown".to_owned();
            let share = |permille: Option<u64>| permille.map_or_else(unknown, percent);
            let bytes = |b: Option<crate::model::Bytes>| b.map_or_else(unknown, |b| b.to_string());
            table.row([
                storage.to_string(),
                if *incoming_count > 0 { format!("+ {incoming_count} ({incoming})") } else { String::new() },
                if *outgoing_count > 0 { format!("- {outgoing_count} ({outgoing})") } else { String::new() },
                format!(
                    "used {} of {}{}:",
                    bytes(*used),
                    bytes(*capacity),
                    match growth.0 {
                        0 => String::new(),
                        _ => format!(", new {growth}"),
                    }
                ),
                format!("{} -> {}", share(*used_permille), share(*full_permille)),
                format!("ceiling {},", percent(*disk_ceiling_permille)),
                format!("{} at once", text::count(u64::from(*max_moves), "move", "moves")),
                match words::level(*level, *disk_ceiling_permille) {
                    text if text.is_empty() => text,
                    text => self.paint.warning(&format!("! {text}")),
                },
            ]);
        }
        self.out.push_str(&table.render(4));
        self.more(rows.len() - shown, "storages");
    }

    /// How even it is, where there was a choice.
    fn placement(&mut self, items: &[PlacementPlan]) {
        let chosen: Vec<&PlacementPlan> = items.iter().filter(|one| one.destinations.len() > 1).collect();
        let shown = self.shown(chosen.len());
        for PlacementPlan { destinations, fullest, level, bound, ratio_permille, fewest, most } in
            chosen.iter().take(shown)
        {
            let each =
                if fewest == most { repositories(*most) } else { format!("{fewest} to {}", repositories(*most)) };
            let (whole, part) = (ratio_permille / 1000, ratio_permille % 1000);
            let line = format!(
                "spread over {}: {each} each; in the end {fullest} has the least room left, {level} less than the \
                 roomiest has now, {whole}.{part:03} x the least possible ({bound})",
                words::together(destinations)
            );
            self.out.push_str(&prose(self.style, 4, &line));
        }
        self.more(chosen.len() - shown, "families of storages");
    }

    fn drains(&mut self, rows: &[super::overview::DrainRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Drains", ": proven empty twice, by GitLab's lists and by Gitaly's walk");
        let shown = self.shown(rows.len());
        let mut table = Table::new(self.style, &[]);
        for super::overview::DrainRow { address, storage, reason } in rows.iter().take(shown) {
            table.row_with(
                [format!("{} {}", self.paint.warning("-"), self.address(address)), format!("prove {storage} empty")],
                self.reason(reason),
            );
        }
        self.out.push_str(&table.render(2));
        self.more(rows.len() - shown, "drains");
    }

    fn not_planned(&mut self, rows: &[NotPlannedRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Not planned", ", and why");
        let shown = self.shown(rows.len());
        for NotPlannedRow { subject, count, advice, examples, blocks_drain } in rows.iter().take(shown) {
            let number = if *count > 0 { format!(" ({})", repositories(*count)) } else { String::new() };
            let drain =
                if *blocks_drain { self.paint.warning(" (a drain cannot end because of it)") } else { String::new() };
            let line = format!("? {}{number}: {}{drain}", escape(subject), escape_lines(&advice.message));
            self.out.push_str(&prose(self.style, 2, &line));
            let listed = if self.verbose { examples.len() } else { examples.len().min(3) };
            if listed > 0 {
                let names: Vec<_> = examples.iter().take(listed).map(|e| escape(e)).collect();
                let rest = if (listed as u64) < *count { " …" } else { "" };
                let _ = writeln!(self.out, "      such as {}{rest}", names.join(", "));
            }
            self.help(6, &advice.help);
        }
        self.more(rows.len() - shown, "reasons");
    }

    fn policies(&mut self, items: &[PolicyVerdict]) {
        if items.is_empty() {
            return;
        }
        self.heading("Policies", "");
        let mut order: Vec<&PolicyVerdict> = items.iter().collect();
        order.sort_by_key(|p| p.verdict == Verdict::Pass);
        for PolicyVerdict { address, verdict, message, place } in order {
            let word = words::verdict(*verdict);
            let word = if *verdict == Verdict::Pass { word.to_owned() } else { self.paint.danger(word) };
            let colon = if message.is_empty() { "" } else { ": " };
            let place = place.as_ref().map_or_else(String::new, |place| format!(" ({})", escape(place)));
            let line = format!("{} {word}{colon}{}{place}", self.address(address), escape_lines(message));
            self.out.push_str(&prose(self.style, 2, &line));
        }
    }

    fn concurrency(&mut self, row: Option<&ConcurrencyRow>) {
        let Some(ConcurrencyRow { profile, text, signals, vetoes }) = row else { return };
        self.heading("Concurrency", &format!(": {profile}: {text}"));
        let mut groups: std::collections::BTreeMap<&[String], Vec<&str>> = std::collections::BTreeMap::new();
        for (storage, gates) in signals {
            groups.entry(gates).or_default().push(storage.as_str());
        }
        for (gates, storages) in groups {
            let _ = writeln!(self.out, "    asked about {}: {}", storages.join(", "), escape(&gates.join(", ")));
        }
        for veto in vetoes {
            let _ = writeln!(self.out, "    nothing new begins while this holds: {}", escape(veto));
        }
    }

    fn estimate(&mut self, row: Option<&EstimateRow>) {
        let Some(row) = row else { return };
        let EstimateRow { duration, frozen, longest, half, nearly_all, longest_repository, longest_path, .. } = row;
        let EstimateRow { max_moves, soak, elapsed, binding, assumption, .. } = row;
        self.heading("Estimate", "");
        let at_once = text::count(u64::from(*max_moves), "move", "moves");
        let soak = soak.as_ref().map_or_else(String::new, |soak| format!(", {soak} of it watching between waves"));
        let _ = writeln!(self.out, "    about {duration}, with {at_once} at once{soak}");
        if let Some(elapsed) = elapsed {
            let _ = writeln!(self.out, "    about {elapsed} by the clock: moves wait for their windows and days");
        }
        if let Some(binding) = binding {
            self.out.push_str(&prose(self.style, 4, &escape_lines(binding)));
        }
        let which = longest_repository
            .map(|c| format!(" ({})", escape(&words::named(c, longest_path.as_deref().unwrap_or("")))));
        let _ = writeln!(
            self.out,
            "    each repository is read-only while it moves: {frozen} in all, {longest} at most{}",
            which.unwrap_or_default()
        );
        if let (Some(half), Some(nearly_all)) = (half, nearly_all) {
            let _ = writeln!(self.out, "    half of them for at most {half}, 99 of 100 for at most {nearly_all}");
        }
        if !assumption.is_empty() {
            self.out.push_str(&prose(self.style, 4, &format!("assumes {}", escape_lines(assumption))));
        }
    }

    fn basis(&mut self, basis: &Basis, as_of: Timestamp) {
        let Basis { configuration, state, observed, filesystem_ids } = basis;
        self.heading("Made from", "");
        let mut table = Table::new(self.style, &[]);
        // Only here: two plans of an unchanged fleet read the same.
        table.row(["observed at".to_owned(), as_of.to_string()]);
        for (name, digest) in [("configuration", configuration), ("state", state), ("observed facts", observed)] {
            table.row([name.to_owned(), escape(digest).into_owned()]);
        }
        for (storage, id) in filesystem_ids {
            table.row([format!("filesystem of {storage}"), escape(id).into_owned()]);
        }
        self.out.push_str(&table.render(4));
    }
}

/// The plan with what the text derives of it. Fields of the plan stand at the top level, under their own names.
#[derive(Serialize)]
struct Json<'a> {
    format_version: &'static str,
    /// An apply would do something and may begin.
    applyable: bool,
    /// Nothing to do.
    empty: bool,
    #[serde(flatten)]
    plan: &'a Plan,
    overview: Overview,
}

/// A plan as JSON; carries everything the text shows: the plan itself, and `overview` with the text's groups.
pub fn plan_json(plan: &Plan) -> String {
    super::pretty(&Json {
        format_version: "1.0",
        applyable: !plan.is_empty() && !plan.is_blocked(),
        empty: plan.is_empty(),
        plan,
        overview: Overview::of(plan),
    })
}
