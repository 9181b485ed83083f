//! When a move is tried again. Pure: what is drawn comes from a seed, the run's name, never from the machine.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::model::Container;

/// The shortest delay, seconds: a push counter falls in seconds, a server restarts in minutes.
pub(crate) const BASE: u64 = 60;
/// The longest. At ten times this a wave would wait for its last repository until the next day.
pub(crate) const CAP: u64 = 3600;
/// A project is taken for quiet that long after its last activity: the hour of the day farthest from the one in which its
/// people work, as far as one time can tell. Nothing better is known of it through the API at no cost.
pub(crate) const QUIET_AFTER: u64 = 12 * 3600;
/// Until a repository that an operator's hook has set free is tried again: a job's lease on its container is held for that
/// long by a worker that is gone (GitLab 16.7 and later).
pub(crate) const LEASE: u64 = 30 * 60;

/// The delay in seconds before the next attempt, `before` being the last one (0: none): decorrelated jitter, drawn between
/// [`BASE`] and three times the last delay, at most [`CAP`]. Repositories that failed together do not come back together.
pub(crate) fn delay(seed: &str, container: Container, attempt: u32, before: u64) -> u64 {
    let high = before.max(BASE).saturating_mul(3).min(CAP);
    BASE + draw(seed, container, attempt) % (high - BASE + 1)
}

/// Until a project is quiet, seconds: [`QUIET_AFTER`] its last activity. `None`: it is quiet, or nothing is known.
pub(crate) fn quiet(last_activity: Option<i64>, now: Timestamp) -> Option<u64> {
    let idle = u64::try_from(now.as_second().saturating_sub(last_activity?)).unwrap_or(0);
    QUIET_AFTER.checked_sub(idle).filter(|left| *left > BASE)
}

fn draw(seed: &str, container: Container, attempt: u32) -> u64 {
    let hash = Sha256::digest(format!("{seed}\0{container}\0{attempt}"));
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerKind;

    fn project(id: u64) -> Container {
        Container { kind: ContainerKind::Project, id }
    }

    #[test]
    fn delays_are_drawn_within_their_bounds_and_grow() {
        let mut sums = [0u64; 3];
        for id in 0..500 {
            let mut before = 0;
            for (at, sum) in sums.iter_mut().enumerate() {
                let next = delay("run", project(id), at as u32 + 1, before);
                assert!((BASE..=(before.max(BASE) * 3).min(CAP)).contains(&next), "{before} -> {next}");
                assert_eq!(next, delay("run", project(id), at as u32 + 1, before), "the same seed, the same delay");
                *sum += next;
                before = next;
            }
        }
        assert!(sums[0] < sums[1] && sums[1] < sums[2], "{sums:?}");
        let of = |seed: &str| (0..50).map(|id| delay(seed, project(id), 1, 0)).collect::<Vec<_>>();
        assert_ne!(of("a"), of("b"));
        let apart: std::collections::BTreeSet<u64> = of("a").into_iter().collect();
        assert!(apart.len() > 25, "they do not come back together: {apart:?}");
        assert_eq!(delay("x", project(1), 9, CAP * 2).max(CAP), CAP);
    }

    #[test]
    fn a_project_that_was_just_worked_on_is_left_until_its_quiet_hour() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        assert_eq!(quiet(None, now), None);
        assert_eq!(quiet(Some(1_000_000), now), Some(QUIET_AFTER));
        assert_eq!(quiet(Some(1_000_000 - 3600), now), Some(QUIET_AFTER - 3600));
        assert_eq!(quiet(Some(1_000_000 - 13 * 3600), now), None);
        assert_eq!(quiet(Some(1_000_500), now), Some(QUIET_AFTER), "a clock that differs");
    }
}
