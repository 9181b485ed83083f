//! GitLab's own worker slots, which no API tells: found from the moves table. When moves wait as `scheduled` while others
//! work, all workers are busy, and their number is that of the moves at work.
//!
//! Begins with few and doubles while none waits, so that finding out freezes few repositories for nothing. Once found, one
//! more is tried ever more seldom.

use super::controller::Turn;

/// To begin with. A GitLab whose workers move fewer at once is a small one; ten times that would freeze forty repositories
/// behind one worker before it is noticed.
const FIRST: usize = 4;
/// Looks at which all that may be outstanding is, with nothing waiting, until one more is tried; doubled by each trial that
/// failed, up to the most. A trial that fails freezes one repository for the two looks that it takes to see it.
const TRY_AFTER: u32 = 30;
const TRY_AFTER_MOST: u32 = 300;

/// What one reading of the moves table showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Started or replicated, ours and others'.
    pub(crate) at_work: usize,
    /// Scheduled at the look before too, with none of their family begun that was scheduled after them: a lost job waits
    /// for ever and says nothing of workers.
    pub(crate) waiting: usize,
    /// All that have not ended.
    pub(crate) outstanding: usize,
}

/// What is known of the workers.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    slots: usize,
    /// They were seen all busy.
    found: bool,
    before: Look,
    quiet: u32,
    try_after: u32,
}

impl Default for Workers {
    fn default() -> Self {
        Self { slots: FIRST, found: false, before: Look::default(), quiet: 0, try_after: TRY_AFTER }
    }
}

impl Workers {
    /// Moves of all that may be outstanding.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// True when they were seen all busy.
    pub(crate) fn found(&self) -> bool {
        self.found
    }

    /// Takes one look. Returns what changed, in numbers that may be above anything declared.
    pub(crate) fn look(&mut self, look: Look) -> Option<Turn> {
        let from = self.slots;
        let before = std::mem::replace(&mut self.before, look);
        let mut why = "no move waits for a worker";
        if look.waiting > 0 {
            // Between two jobs a worker counts for none: the better of two looks.
            let busy = look.at_work.max(before.at_work);
            if self.found && busy < self.slots {
                self.try_after = (self.try_after * 2).min(TRY_AFTER_MOST);
            }
            self.found = busy > 0;
            self.slots = busy.max(1);
            self.quiet = 0;
            why = if busy > 0 { "GitLab's workers are all busy" } else { "none of GitLab's workers takes a move" };
        } else if look.outstanding >= self.slots {
            self.quiet += 1;
            if !self.found {
                self.slots = self.slots.saturating_mul(2);
            } else if self.quiet >= self.try_after {
                self.slots += 1;
                self.quiet = 0;
            }
        }
        let number = |slots: usize| u32::try_from(slots).unwrap_or(u32::MAX);
        (from != self.slots).then(|| Turn { from: number(from), to: number(self.slots), why: why.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A GitLab with so many workers, all that may be outstanding being so.
    fn looks(workers: &mut Workers, real: usize, wanted: usize, times: u32) -> usize {
        let mut waited = 0;
        for _ in 0..times {
            let outstanding = workers.slots().min(wanted);
            let waiting = outstanding.saturating_sub(real);
            waited += waiting;
            workers.look(Look { at_work: outstanding.min(real), waiting, outstanding });
        }
        waited
    }

    #[test]
    fn they_are_found_with_few_waiting_and_tried_seldom() {
        let mut workers = Workers::default();
        looks(&mut workers, 10, 64, 6);
        assert_eq!((workers.slots(), workers.found()), (10, true));
        let waited = looks(&mut workers, 10, 64, 1000);
        assert!(waited <= 8, "{waited} looks of one waiting");
        looks(&mut workers, 20, 64, 4000);
        assert!(workers.slots() >= 18, "more workers are found in time: {}", workers.slots());
    }

    #[test]
    fn a_gitlab_with_more_than_wanted_never_binds() {
        let mut workers = Workers::default();
        assert_eq!(looks(&mut workers, 100, 64, 20), 0);
        assert!(workers.slots() >= 64 && !workers.found());
    }

    #[test]
    fn dead_workers_leave_one_and_are_found_again_quickly() {
        let mut workers = Workers::default();
        looks(&mut workers, 16, 64, 10);
        workers.look(Look { at_work: 0, waiting: 16, outstanding: 16 });
        workers.look(Look { at_work: 0, waiting: 16, outstanding: 16 });
        assert_eq!(workers.slots(), 1);
        looks(&mut workers, 16, 64, 8);
        assert_eq!(workers.slots(), 16);
    }
}
