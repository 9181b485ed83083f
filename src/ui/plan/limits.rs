//! What a plan keeps to and expects: windows, read-only time, room, how many moves at once, how long.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Page;
use crate::plan::{Basis, PlacementPlan};
use crate::ui::hours::{FreezeRow, WindowRow};
use crate::ui::overview::{ConcurrencyRow, EstimateRow, RoomRow};
use crate::ui::text::{self, Table, escape, escape_lines, percent, prose, repositories};
use crate::ui::words;

impl Page {
    pub(super) fn windows(&mut self, rows: &[WindowRow]) {
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

    pub(super) fn freeze(&mut self, row: Option<&FreezeRow>) {
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

    pub(super) fn rooms(&mut self, rows: &[RoomRow]) {
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
    pub(super) fn placement(&mut self, items: &[PlacementPlan]) {
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

    pub(super) fn concurrency(&mut self, row: Option<&ConcurrencyRow>) {
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

    pub(super) fn estimate(&mut self, row: Option<&EstimateRow>) {
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

    pub(super) fn basis(&mut self, basis: &Basis, as_of: Timestamp) {
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
