//! A move that stays in a state for longer than it should: why, and whether GitLab will ever go on with it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{Mover, Step};
use crate::apply::event::Event;
use crate::apply::failure::remedy::{Case, console};
use crate::apply::failure::{Action, Class};
use crate::apply::lock;
use crate::model::{Bytes, HookEvent, MoveRecord, MoveState};
use crate::plan::durations::Fit;
use crate::state::journal::Intent;

/// Finished moves that a fit needs before it counts as a prediction.
const SAMPLES: u64 = 20;
/// Nothing is called stuck in `started` below this, seconds: three waits for pushes and a copy that starts late.
const SHORTEST: u64 = 10 * 60;
/// Without a prediction: half an hour, and twenty times what the bytes would take at 60 MB/s. A giant does not cry wolf.
const UNPREDICTED: u64 = 30 * 60;
const UNPREDICTED_BYTES_PER_SECOND: u64 = 60_000_000 / 20;
/// The destination's bytes are asked for so often, a minute apart: flat for five minutes is dead.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
/// Seconds, for each repository of a container, after which a copy is set aside whose bytes cannot be asked for: GitLab's
/// own call ends after six hours.
const LONGEST: u64 = 7 * 3600;
/// Where other moves bring bytes too, a copy is suspected after so many times what it may take.
const CROWDED: u64 = 3;
/// Seconds that a queue which does not move at all is waited for.
const NO_WORKER: u64 = 60 * 60;

/// What becomes of a move that was called stuck.
pub(super) enum Fate {
    /// It goes on: not called stuck again for that many seconds.
    Goes { pardon: u64 },
    /// It has ended meanwhile, or is gone.
    Ended(Option<MoveRecord>),
    /// GitLab does not leave this by itself. `sure`: nothing speaks against it; else only a person may end it, as its
    /// worker may be alive.
    Dead { class: Class, evidence: Vec<String>, sure: bool },
}

impl Fate {
    fn dead(class: Class, evidence: Vec<String>) -> Self {
        Self::Dead { class, evidence, sure: true }
    }
}

/// What is seen of a copy on its destination.
struct Arrival {
    /// Bytes of the repositories that stand at their paths.
    copy: BTreeMap<String, Bytes>,
    /// Bytes used on the disk, or why they are not known.
    disk: Result<Bytes, String>,
}

/// What has grown between two looks.
enum Grows {
    /// A repository of the copy is there, or larger.
    Copy,
    /// The disk is fuller.
    Disk,
}

impl Arrival {
    fn grows(&self, later: &Self) -> Option<Grows> {
        if later.copy.iter().any(|(path, bytes)| self.copy.get(path).is_none_or(|before| bytes > before)) {
            return Some(Grows::Copy);
        }
        match (&self.disk, &later.disk) {
            (Ok(before), Ok(now)) if now > before => Some(Grows::Disk),
            _ => None,
        }
    }
}

/// Seconds that a move may be `started`: what 999 of 1000 such moves do not exceed. The fit knows what 95 of 100 do not;
/// durations scatter log-normally, so that the distance from the middle grows by 3.09 / 1.645.
pub(super) fn longest(fit: &Fit, bytes: Bytes) -> u64 {
    if fit.samples < SAMPLES {
        return UNPREDICTED + bytes.0 / UNPREDICTED_BYTES_PER_SECOND;
    }
    #[expect(clippy::cast_precision_loss, reason = "a factor, not a count")]
    let p95 = fit.p95_permille.max(1000) as f64 / 1000.0;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of years fit")]
    let seconds = fit.expected_ms(bytes) as f64 / 1000.0 * p95.powf(3.09 / 1.645);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and saturating")]
    let seconds = seconds.ceil() as u64;
    seconds.max(SHORTEST)
}

/// Seconds after which a move in flight has ended or is set aside, as far as that is up to this tool.
pub(crate) fn longest_stuck(fit: &Fit, bytes: Bytes) -> u64 {
    longest(fit, bytes) + u64::from(LOOKS) * BETWEEN_LOOKS.as_secs()
}

impl Mover {
    /// Seconds that a move may be `started` before its bytes are looked at.
    pub(super) fn started_limit(&self, intent: &Intent) -> u64 {
        longest(&self.rules.learned.of(&intent.source, &intent.destination), intent.bytes)
    }

    /// Looks at a move that stays in a state.
    pub(super) async fn stuck(&self, intent: &Intent, id: u64, state: &MoveState, seconds: u64) -> Step<Fate> {
        let kind = intent.container.kind;
        let record = self.patiently(|| self.ports.gitlab.move_record(kind, id)).await?;
        let record = match record {
            Some(record) if !record.state.is_terminal() => record,
            ended => return Ok(Fate::Ended(ended)),
        };
        if record.state != *state {
            self.short(intent, None);
            return Ok(Fate::Goes { pardon: 0 });
        }
        let minutes = seconds / 60;
        let seen = format!("move {id} has been `{state}` for {minutes} minutes");
        match state {
            MoveState::Initial => Ok(Fate::dead(Class::Unqueued, vec![seen])),
            MoveState::Scheduled => {
                if self.poller.is_overtaken(kind, id) {
                    let evidence = vec![seen, "workers have taken moves that were made later: its job is lost".into()];
                    return Ok(Fate::dead(Class::LostJob, evidence));
                }
                if self.poller.is_at_work() {
                    // Long ones keep the workers busy: it is only its turn that has not come.
                    self.short(intent, None);
                    return Ok(Fate::Goes { pardon: 60 });
                }
                if seconds > NO_WORKER {
                    let evidence = vec![seen, "no worker took any later move either".into()];
                    return Ok(Fate::dead(Class::LostJob, evidence));
                }
                // More would only wait read-only behind it.
                let why =
                    format!("{}: {seen}, and no later one was taken: GitLab has no worker for moves", intent.path);
                self.short(intent, Some(why));
                Ok(Fate::Goes { pardon: 60 })
            }
            MoveState::Started => self.by_bytes(intent, id, seconds, seen).await,
            MoveState::Replicated => Ok(Fate::dead(Class::StaysReplicated, vec![seen])),
            _ => {
                let message = format!("{} {}: {seen}", intent.container, intent.path);
                self.tell(Event::Warning { message });
                Ok(Fate::Goes { pardon: 3600 })
            }
        }
    }

    /// Notes that GitLab has no workers, or, without a reason, that this move does not say so any more.
    pub(super) fn short(&self, intent: &Intent, why: Option<String>) {
        let mut short = lock(&self.short);
        let Some(why) = why else {
            short.remove(&intent.container);
            return;
        };
        if short.is_empty() {
            let what = format!("{why}; nothing new is scheduled until one takes it");
            self.tell(Event::Waiting { what });
        }
        short.insert(intent.container, why);
    }

    /// A copy that takes longer than any should: dead when no byte arrives on the destination for five minutes. Never
    /// found out by a POST, which could freeze what has just been freed.
    async fn by_bytes(&self, intent: &Intent, id: u64, seconds: u64, seen: String) -> Step<Fate> {
        let kind = intent.container.kind;
        let first = self.arrival(intent).await;
        let goes = |why: &str| {
            let message = format!("{} {}: {seen}; {why}", intent.container, intent.path);
            self.tell(Event::Warning { message });
            Ok(Fate::Goes { pardon: 300 })
        };
        let mut crowded = false;
        for _ in 0..LOOKS {
            self.ports.clock.sleep(BETWEEN_LOOKS).await;
            let record = self.patiently(|| self.ports.gitlab.move_record(kind, id)).await?;
            match record {
                Some(record) if !record.state.is_terminal() && record.state == MoveState::Started => {}
                Some(record) if !record.state.is_terminal() => return Ok(Fate::Goes { pardon: 0 }),
                ended => return Ok(Fate::Ended(ended)),
            }
            crowded |= self.poller.following() > 1 || self.poller.foreign() > 0;
            let now = self.arrival(intent).await;
            match (first.grows(&now), crowded) {
                (Some(Grows::Copy), _) | (Some(Grows::Disk), false) => return goes("bytes still arrive"),
                (Some(Grows::Disk), true) if seconds < self.started_limit(intent).saturating_mul(CROWDED) => {
                    return goes("bytes still arrive on its destination, which may be those of other moves");
                }
                (Some(Grows::Disk), true) => {
                    let unsure = format!(
                        "whether its bytes arrive is not known: those of other moves do, on {}",
                        intent.destination
                    );
                    return Ok(Fate::Dead { class: Class::DeadEndB, evidence: vec![seen, unsure], sure: false });
                }
                (None, _) => {}
            }
        }
        let minutes = u64::from(LOOKS) * BETWEEN_LOOKS.as_secs() / 60;
        match &first.disk {
            Ok(_) => {
                let flat = format!("no byte arrived on {} within {minutes} minutes", intent.destination);
                Ok(Fate::Dead { class: Class::DeadEndB, evidence: vec![seen, flat], sure: true })
            }
            // GitLab's own calls end after six hours for each repository: then a worker has gone on, or is gone.
            Err(cause) if seconds >= LONGEST.saturating_mul(intent.before.len().max(1) as u64) => {
                let unsure = format!("whether bytes arrive on {} is not known: {cause}", intent.destination);
                Ok(Fate::Dead { class: Class::DeadEndB, evidence: vec![seen, unsure], sure: false })
            }
            Err(cause) => goes(&format!("whether bytes arrive is unknown: {cause}")),
        }
    }

    /// What of a move's copy is seen on its destination.
    async fn arrival(&self, intent: &Intent) -> Arrival {
        let mut copy = BTreeMap::new();
        for side in &intent.before {
            // A new repository is put together in a folder of Gitaly's own, and stands at its path only when it is whole.
            if let Ok(bytes) = self.ports.gitaly.size(&intent.destination, &side.path).await {
                copy.insert(side.path.clone(), bytes);
            }
        }
        let disk = match self.ports.gitaly.disk(&intent.destination).await {
            Ok(Some(space)) => Ok(space.used),
            Ok(None) => Err(format!("Gitaly cannot say how full the disk of {} is", intent.destination)),
            Err(e) => Err(e.to_string()),
        };
        Arrival { copy, disk }
    }

    /// Has the operator's hooks run a dead end's remedy, once for each repository. `None`: there is none, or it has had its
    /// turn. `Ok`: all ended with 0, the name of the last; `Err`: what one said.
    pub(super) async fn freed_by_hook(
        &self,
        class: Class,
        case: Case<'_>,
        path: &str,
        evidence: &[String],
    ) -> Option<Result<String, String>> {
        if class.row().action != Action::DeadEnd {
            return None;
        }
        let hooks: Vec<_> = self.rules.hooks.iter().filter(|hook| hook.on.contains(&HookEvent::DeadEnd)).collect();
        let operator = self.ports.operator.as_ref().filter(|_| !hooks.is_empty())?;
        {
            let mut hooked = lock(&self.hooked);
            if !hooked.insert(case.container) {
                return None;
            }
        }
        let input = json!({
            "event": HookEvent::DeadEnd.to_string(),
            "container": case.container.to_string(),
            "path": path,
            "source": case.source,
            "destination": case.destination,
            "move": case.move_id,
            "cause": class.row().cause,
            "evidence": evidence,
            "gitlab_version": self.rules.version,
            "console": console(case),
        });
        let mut last = String::new();
        for hook in hooks {
            match operator.run_hook(hook, &input).await {
                Ok(end) if end.code == Some(0) => last.clone_from(&hook.name),
                Ok(end) => {
                    let code = end.code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
                    let said = end.output.lines().last().unwrap_or_default().to_owned();
                    return Some(Err(format!("hook {} ended with {code}: {said}", hook.name)));
                }
                Err(e) => return Some(Err(format!("hook {} did not run: {e}", hook.name))),
            }
        }
        Some(Ok(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_at_its_path_yet_is_seen_on_the_disk() {
        let at = |copy: &[(&str, u64)], disk: Option<u64>| Arrival {
            copy: copy.iter().map(|(path, bytes)| ((*path).to_owned(), Bytes(*bytes))).collect(),
            disk: disk.map(Bytes).ok_or_else(|| "away".to_owned()),
        };
        let first = at(&[("a.git", 5)], Some(100));
        assert!(matches!(first.grows(&at(&[("a.git", 5)], Some(101))), Some(Grows::Disk)));
        assert!(matches!(first.grows(&at(&[("a.git", 6)], None)), Some(Grows::Copy)));
        assert!(matches!(first.grows(&at(&[("a.git", 5), ("a.wiki.git", 0)], Some(100))), Some(Grows::Copy)));
        assert!(first.grows(&at(&[("a.git", 5)], Some(99))).is_none(), "housekeeping");
        assert!(first.grows(&at(&[], None)).is_none(), "what cannot be asked has not grown");
    }

    #[test]
    fn a_prediction_bounds_a_copy_and_without_one_a_giant_has_time() {
        let assumed = Fit::default();
        assert_eq!(longest(&assumed, Bytes(0)), 30 * 60);
        assert!(longest(&assumed, Bytes(150_000_000_000)) > 13 * 3600);
        let fitted = Fit { fixed_ms: 4000, rate: 60_000_000, samples: 500, ..Fit::default() };
        assert_eq!(longest(&fitted, Bytes(1_000_000)), SHORTEST, "small ones are not called stuck within minutes");
        let giant = longest(&fitted, Bytes(150_000_000_000));
        assert!((9000..9500).contains(&giant), "3.68 times the 42 minutes that it takes in the middle: {giant}");
    }
}
