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

/// What one reading of the moves table showed. What is dead for good counts nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Started or replicated, ours and others'.
    pub(crate) at_work: usize,
    /// Scheduled at the look before too, with none of their family begun that was scheduled after them: a lost job waits
    /// for ever and says nothing of workers.
    pub(crate) waiting: usize,
    /// Those of `waiting` that have waited for long: perhaps their jobs are lost.
    pub(crate) doubtful: usize,
    /// Scheduled since the look before: perhaps they wait.
    pub(crate) fresh: usize,
    /// All of them are others'.
    pub(crate) alone: bool,
    /// All that have not ended.
    pub(crate) outstanding: usize,
    /// Since the look before, more would have been scheduled, had more been known to be taken.
    pub(crate) pressed: bool,
}

impl Look {
    /// All that may be outstanding is, or is on its way: what is read before a move and compared after it has a slot too,
    /// and is not GitLab's. With a quarter of the slots at GitLab, twice as many slots are not much more there than twice
    /// what was taken without waiting.
    fn is_full(&self, slots: usize) -> bool {
        self.outstanding >= slots || (self.pressed && self.outstanding.saturating_mul(4) >= slots)
    }
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
    /// How many there were before the last fall: tried again, once, as soon as nothing waits.
    known: Option<usize>,
    /// How many there were when moves began to wait.
    peak: usize,
    /// Waiting moves that are not held against the workers, so that something later is scheduled: when a worker takes
    /// that, their jobs are lost.
    excused: usize,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            slots: FIRST,
            found: false,
            before: Look::default(),
            quiet: 0,
            try_after: TRY_AFTER,
            known: None,
            peak: FIRST,
            excused: 0,
        }
    }
}

impl Workers {
    /// Others have so many moves under way, some of them at work, and nothing of ours is. Where none waits, one move of ours
    /// tells whether another worker is free; it may wait for as long as theirs take.
    pub(crate) fn begin_beside(&mut self, at_work: usize, others: usize) {
        if !self.found && others > 0 {
            self.slots = (at_work + usize::from(others <= at_work)).max(1);
        }
    }

    /// Moves of all that may be outstanding.
    pub(crate) fn slots(&self) -> usize {
        self.slots.saturating_add(self.excused)
    }

    /// True when they were seen all busy.
    pub(crate) fn found(&self) -> bool {
        self.found
    }

    /// Takes one look. Returns what changed, in numbers that may be above anything declared.
    pub(crate) fn look(&mut self, look: Look) -> Option<Turn> {
        let from = self.slots;
        let before = std::mem::replace(&mut self.before, look);
        // Between two jobs a worker counts for none: the better of two looks.
        let busy = look.at_work.max(before.at_work);
        // While all that are known work, long waits are nothing strange.
        let strange = if busy < self.known.unwrap_or(self.slots) { look.doubtful } else { 0 };
        self.excused = if self.excused == 0 { strange } else { self.excused.min(look.doubtful) };
        let waiting = look.waiting.saturating_sub(self.excused);
        let mut why = "no move waits for a worker";
        if waiting > 0 {
            if self.found && busy < self.slots {
                self.try_after = (self.try_after * 2).min(TRY_AFTER_MOST);
                if before.waiting == 0 {
                    self.known = if self.known.is_some() { None } else { Some(self.slots) };
                }
            }
            if before.waiting == 0 {
                self.peak = from;
            }
            // While it may still be a lost job that waits, not below the half: what is scheduled after it tells. Who waits
            // then waits with few others, and where none works nothing is scheduled at all.
            let perhaps_lost = self.found && busy > 0 && look.doubtful < look.waiting;
            let least = if perhaps_lost { self.peak / 2 } else { 0 };
            self.found = busy > 0;
            self.slots = busy.max(least).max(1);
            self.quiet = 0;
            why = if busy > 0 { "GitLab's workers are all busy" } else { "none of GitLab's workers takes a move" };
        } else if look.is_full(self.slots()) {
            self.quiet += 1;
            if let Some(known) = self.known.filter(|known| *known > self.slots) {
                self.slots = self.slots.saturating_mul(2).min(known);
            } else if !self.found {
                // Where many have only just been scheduled, the next look tells whether they wait.
                if look.alone {
                    self.slots += 1;
                } else if look.fresh.saturating_mul(4) <= look.at_work {
                    self.slots = self.slots.saturating_mul(2);
                }
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
            workers.look(Look { at_work: outstanding.min(real), waiting, outstanding, ..Look::default() });
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
    fn beside_others_one_move_tells_and_behind_those_that_wait_none_is_scheduled() {
        let mut workers = Workers::default();
        workers.begin_beside(2, 2);
        assert_eq!(workers.slots(), 3, "two are at work, none waits");
        let look = Look { at_work: 2, fresh: 1, outstanding: 3, pressed: true, ..Look::default() };
        workers.look(look);
        assert_eq!(workers.slots(), 3, "ours may be waiting");
        workers.look(Look { fresh: 0, waiting: 1, ..look });
        assert_eq!((workers.slots(), workers.found()), (2, true));

        let mut workers = Workers::default();
        workers.begin_beside(2, 500);
        assert_eq!(workers.slots(), 2, "some of theirs wait, or are about to be taken");
        let bulk = Look { at_work: 2, waiting: 498, outstanding: 500, pressed: true, alone: true, ..Look::default() };
        (0..50).for_each(|_| drop(workers.look(bulk)));
        assert!(workers.slots() <= 500, "none of ours before theirs are through: {}", workers.slots());

        let mut workers = Workers::default();
        workers.begin_beside(40, 40);
        let busy = Look { at_work: 41, outstanding: 41, pressed: true, alone: true, ..Look::default() };
        workers.look(busy);
        assert_eq!(workers.slots(), 42, "one more at a time while only others tell");
        workers.begin_beside(0, 0);
        assert_eq!(workers.slots(), 42);
    }

    /// Of all slots, half are at GitLab at any moment; the others read and compare.
    #[test]
    fn slots_that_read_and_compare_do_not_hide_that_workers_are_free() {
        let look = |workers: &Workers, pressed| {
            let outstanding = workers.slots() / 2;
            Look { at_work: outstanding, outstanding, pressed, ..Look::default() }
        };
        let mut workers = Workers::default();
        (0..6).for_each(|_| drop(workers.look(look(&workers.clone(), false))));
        assert_eq!(workers.slots(), FIRST, "nobody asked for more");
        (0..6).for_each(|_| drop(workers.look(look(&workers.clone(), true))));
        assert_eq!(workers.slots(), FIRST << 6);
        let few = Look { at_work: 3, outstanding: 3, pressed: true, ..Look::default() };
        assert_eq!(workers.look(few), None, "too few are at GitLab to tell");
    }

    #[test]
    fn dead_workers_leave_one_and_are_found_again_quickly() {
        let mut workers = Workers::default();
        looks(&mut workers, 16, 64, 10);
        let dead = Look { waiting: 16, outstanding: 16, ..Look::default() };
        workers.look(dead);
        workers.look(dead);
        assert_eq!(workers.slots(), 1);
        looks(&mut workers, 16, 64, 8);
        assert_eq!(workers.slots(), 16);
    }

    #[test]
    fn a_job_that_waits_while_others_end_halves_them_at_most_until_it_counts_as_lost() {
        let mut workers = Workers::default();
        looks(&mut workers, 8, 64, 10);
        for at_work in [7, 5, 3, 1] {
            workers.look(Look { at_work, waiting: 1, outstanding: at_work + 1, ..Look::default() });
            assert!(workers.slots() >= 4, "{at_work} work: {}", workers.slots());
        }
    }

    /// So many jobs are lost; what is scheduled later is taken, and tells that they are.
    #[test]
    fn lost_jobs_are_found_by_what_is_scheduled_after_them() {
        for lost in [1, 3] {
            let mut workers = Workers::default();
            looks(&mut workers, 8, 64, 10);
            assert_eq!(workers.slots(), 8);
            let (mut at_work, mut least, mut overtaken) = (8usize - lost, 8, false);
            for look in 0..40 {
                let waiting = if overtaken { 0 } else { lost };
                let doubtful = if look > 10 { waiting } else { 0 };
                workers.look(Look { at_work, waiting, doubtful, outstanding: at_work + lost, ..Look::default() });
                // One ends at each second look, and what may is scheduled and taken.
                at_work = at_work.saturating_sub(usize::from(look % 2 == 0));
                while at_work < 8 && at_work + lost < workers.slots() {
                    at_work += 1;
                    overtaken = true;
                }
                least = least.min(workers.slots());
            }
            assert!(overtaken && workers.slots() >= 8, "{lost} lost: {}, at least {least}", workers.slots());
        }
    }
}
