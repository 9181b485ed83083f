//! GitLab's version while a run is under way. When it changes, GitLab is being upgraded: its workers restart, and a move whose
//! worker is gone is a dead end. So nothing new is scheduled until the version has been the same for a while. Pure.

use jiff::Timestamp;

/// Between two questions, seconds of the fleet's clock. A rolling upgrade takes minutes; a run asks once for hundreds of moves.
pub(crate) const EVERY: u64 = 60;
/// Seconds of one and the same answer after which workers count as steady: a rolling restart of Sidekiq's pods has ended by
/// then. At a tenth of it the old and the new answer by turns, and the restart is not over.
const STEADY: u64 = 10 * 60;

/// What an answer means for the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing is scheduled from now on: why, in a line.
    Hold(String),
    /// It may go on: why, in a line.
    GoOn(String),
    /// It holds for longer than may be waited.
    TooLong(String),
}

/// The watch over GitLab's version.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    known: String,
    /// Since when the present answer stands, while it holds.
    held: Option<Held>,
    /// Seconds that may be waited at most; `None`: without an end.
    pub(crate) max_wait: Option<u64>,
}

#[derive(Debug)]
struct Held {
    began: Timestamp,
    since: Timestamp,
    why: String,
}

fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

impl Watch {
    /// Begins with what the run began with; empty: it could not be read.
    pub(crate) fn new(version: &str) -> Self {
        Self { known: version.to_owned(), held: None, max_wait: None }
    }

    /// True while nothing is to be scheduled.
    pub(crate) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Holds for another reason: workers that have gone.
    pub(crate) fn unsteady(&mut self, why: String, now: Timestamp) -> Option<Word> {
        let began = self.held.as_ref().map_or(now, |held| held.began);
        let new = self.held.is_none();
        let told = format!("{why}; nothing new is scheduled for {} minutes", STEADY / 60);
        self.held = Some(Held { began, since: now, why });
        new.then_some(Word::Hold(told))
    }

    /// Takes an answer, or that there was none.
    pub(crate) fn answer(&mut self, version: Option<&str>, now: Timestamp) -> Option<Word> {
        if let Some(version) = version.filter(|v| *v != self.known) {
            let before = std::mem::replace(&mut self.known, version.to_owned());
            if !before.is_empty() {
                let began = self.held.as_ref().map_or(now, |held| held.began);
                let why = format!("GitLab's version changed from {before} to {version}, so its workers restart");
                let told =
                    format!("{why}; nothing new is scheduled until it has been steady for {} minutes", STEADY / 60);
                self.held = Some(Held { began, since: now, why });
                return Some(Word::Hold(told));
            }
        }
        let held = self.held.as_ref()?;
        if version.is_some() && between(held.since, now) >= STEADY {
            self.held = None;
            let minutes = STEADY / 60;
            return Some(Word::GoOn(format!(
                "GitLab has been steady at {} for {minutes} minutes; going on",
                self.known
            )));
        }
        let waited = between(held.began, now);
        let too_long = self.max_wait.is_some_and(|most| waited > most);
        too_long.then(|| Word::TooLong(format!("{}; come back when it has been steady for a while", held.why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    #[test]
    fn a_change_holds_until_it_has_been_steady() {
        let mut watch = Watch::new("18.1.0");
        assert_eq!(watch.answer(Some("18.1.0"), at(60)), None);
        assert!(
            matches!(watch.answer(Some("18.2.0"), at(120)), Some(Word::Hold(why)) if why.contains("18.1.0 to 18.2.0"))
        );
        assert_eq!(watch.answer(None, at(1000)), None, "no answer is not steady");
        assert!(watch.holds());
        assert!(matches!(watch.answer(Some("18.1.0"), at(1060)), Some(Word::Hold(_))), "a rolling upgrade");
        assert!(matches!(watch.answer(Some("18.2.0"), at(1120)), Some(Word::Hold(_))));
        assert_eq!(watch.answer(Some("18.2.0"), at(1700)), None);
        assert!(matches!(watch.answer(Some("18.2.0"), at(1720)), Some(Word::GoOn(_))));
        assert!(!watch.holds());
    }

    #[test]
    fn it_is_not_waited_for_longer_than_may_be() {
        let mut watch = Watch { max_wait: Some(300), ..Watch::new("18.1.0") };
        assert!(watch.answer(Some("18.2.0"), at(0)).is_some());
        assert_eq!(watch.answer(Some("18.2.0"), at(300)), None);
        assert!(matches!(watch.answer(Some("18.2.0"), at(360)), Some(Word::TooLong(_))));
    }

    #[test]
    fn an_unknown_beginning_is_no_change() {
        let mut watch = Watch::new("");
        assert_eq!(watch.answer(Some("18.2.0"), at(0)), None);
        assert!(watch.answer(Some("18.3.0"), at(60)).is_some());
        let mut watch = Watch::new("18.2.0");
        assert!(watch.unsteady("the worker of a move is gone".into(), at(0)).is_some());
        assert_eq!(watch.unsteady("another".into(), at(10)), None, "said once");
        assert!(matches!(watch.answer(Some("18.2.0"), at(610)), Some(Word::GoOn(_))));
    }
}
