//! A measured restart of a pod storage.

use serde::Serialize;

use super::text::{Paint, Table};
use super::{Style, pretty};
use crate::apply::rotate::{How, Rotation};

/// How long the storage was away, what that is held against, and the phases.
pub fn rotation(rotation: &Rotation, budget_seconds: Option<u32>, style: Style) -> String {
    let Rotation { storage, how, outage_seconds, missed, phases, total_seconds } = rotation;
    let paint = Paint::new(style);
    let budget = match budget_seconds {
        Some(budget) if over(rotation, budget_seconds) => {
            format!(" {}", paint.danger(&format!("above its rotation_budget of {budget} s")))
        }
        Some(budget) => format!(" (rotation_budget {budget} s)"),
        None => String::new(),
    };
    let how = match how {
        How::Evicted => "evicted",
        How::Deleted => "deleted",
    };
    let away = if *missed {
        format!("{storage} was away for {}", paint.bold(&outage_seconds.to_string()))
    } else {
        format!(
            "{storage} answered every question while its pod restarted: it was away for less than could be seen, or its \
             address leads elsewhere"
        )
    };
    let mut out = format!("{away}{budget}.\n\nFrom when the pod was {how} until it was back: {total_seconds}\n");
    let mut table = Table::new(style, &[]);
    for (name, tenths, until) in phases.named() {
        table.row([name.to_owned(), paint.dim(until), tenths.to_string()]);
    }
    out.push_str(&table.render(2));
    out
}

/// True when it took longer than allowed.
pub fn over(rotation: &Rotation, budget_seconds: Option<u32>) -> bool {
    budget_seconds.is_some_and(|budget| u64::from(rotation.outage_seconds.0) > u64::from(budget) * 10)
}

#[derive(Serialize)]
struct Measured<'a> {
    #[serde(flatten)]
    rotation: &'a Rotation,
    budget_seconds: Option<u32>,
    within_budget: bool,
}

/// The same as JSON.
pub fn rotation_json(rotation: &Rotation, budget_seconds: Option<u32>) -> String {
    pretty(&Measured { rotation, budget_seconds, within_budget: !over(rotation, budget_seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::rotate::Phases;
    use crate::model::StorageName;
    use crate::state::Tenths;

    const PLAIN: Style = Style { color: false, width: 100, tty: false };

    fn measured(outage: u32, missed: bool) -> Rotation {
        let phases = Phases {
            terminating: Tenths(13),
            detach: Tenths(110),
            attach: Tenths(24),
            start: Tenths(7),
            ready: Tenths(12),
        };
        Rotation {
            storage: StorageName::new("gitaly-a").expect("a name"),
            how: How::Evicted,
            outage_seconds: Tenths(outage),
            missed,
            phases,
            total_seconds: Tenths(166),
        }
    }

    #[test]
    fn an_outage_is_told_with_its_phases() {
        insta::assert_snapshot!(rotation(&measured(159, true), Some(30), PLAIN), @r"
        gitaly-a was away for 15.9 s (rotation_budget 30 s).

        From when the pod was evicted until it was back: 16.6 s
          terminating  until the old pod had stopped                          1.3 s
          detach       until the new one had a node, and the volume was free  11.0 s
          attach       until the volume was attached and mounted              2.4 s
          start        until Gitaly's container ran                           0.7 s
          ready        until the pod was ready and Gitaly answered            1.2 s
        ");
    }

    #[test]
    fn above_the_budget_is_more_than_it_and_not_as_much() {
        assert!(!over(&measured(300, true), Some(30)) && over(&measured(301, true), Some(30)));
        assert!(!over(&measured(9_999, true), None));
        let told = rotation(&measured(301, true), Some(30), PLAIN);
        assert!(told.starts_with("gitaly-a was away for 30.1 s above its rotation_budget of 30 s.\n"), "{told}");
        assert!(rotation(&measured(0, false), None, PLAIN).contains("answered every question"));
    }

    #[test]
    fn json_has_all_that_the_text_shows() {
        insta::assert_snapshot!(rotation_json(&measured(301, true), Some(30)), @r#"
        {
          "storage": "gitaly-a",
          "how": "evicted",
          "outage_seconds": 30.1,
          "missed": true,
          "phases": {
            "terminating": 1.3,
            "detach": 11.0,
            "attach": 2.4,
            "start": 0.7,
            "ready": 1.2
          },
          "total_seconds": 16.6,
          "budget_seconds": 30,
          "within_budget": false
        }
        "#);
    }
}
