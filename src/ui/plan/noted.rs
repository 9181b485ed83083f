//! What a plan tells beside what it does: what is set aside, what changed, findings, what was not planned, policies.

use std::fmt::Write as _;

use super::Page;
use crate::plan::{Drift, Finding, Level, PolicyVerdict, Quarantined, Rename, Verdict};
use crate::ui::overview::NotPlannedRow;
use crate::ui::text::{Table, escape, escape_lines, prose, repositories};
use crate::ui::words;

impl Page {
    pub(super) fn quarantined(&mut self, items: &[Quarantined]) {
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

    pub(super) fn drift(&mut self, items: &[Drift]) {
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

    pub(super) fn renames(&mut self, items: &[Rename]) {
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

    pub(super) fn findings<'a>(&mut self, title: &str, items: impl Iterator<Item = &'a Finding>) {
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

    pub(super) fn not_planned(&mut self, rows: &[NotPlannedRow]) {
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

    pub(super) fn policies(&mut self, items: &[PolicyVerdict]) {
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
}
