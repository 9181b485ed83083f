//! What a plan does: pods, weights, moves, waves and proofs.

use std::fmt::Write as _;

use super::{FIELDS, MOVES, MOVES_IN_ALL, Page};
use crate::model::Address;
use crate::plan::{Plan, PlannedMove};
use crate::ui::overview::{DrainRow, MoveRef, Route, WaveRow, WeightRow};
use crate::ui::pods::{ChangedField, PodActionRow, PodClass, PodRow};
use crate::ui::text::{self, Table, escape, percent, repositories};
use crate::ui::words;

impl Page {
    pub(super) fn pods(&mut self, rows: &[PodRow]) {
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

    pub(super) fn weights(&mut self, rows: &[WeightRow]) {
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

    pub(super) fn routes(&mut self, plan: &Plan, rows: &[Route]) {
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

    pub(super) fn waves(&mut self, rows: &[WaveRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Waves", ": in this order, each off one storage");
        let shown = self.shown(rows.len());
        let mut table = Table::new(self.style, &[2, 3]);
        for row in rows.iter().take(shown) {
            let WaveRow {
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

    pub(super) fn drains(&mut self, rows: &[DrainRow]) {
        if rows.is_empty() {
            return;
        }
        self.heading("Drains", ": proven empty twice, by GitLab's lists and by Gitaly's walk");
        let shown = self.shown(rows.len());
        let mut table = Table::new(self.style, &[]);
        for DrainRow { address, storage, reason } in rows.iter().take(shown) {
            table.row_with(
                [format!("{} {}", self.paint.warning("-"), self.address(address)), format!("prove {storage} empty")],
                self.reason(reason),
            );
        }
        self.out.push_str(&table.render(2));
        self.more(rows.len() - shown, "drains");
    }
}
