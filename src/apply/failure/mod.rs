//! What can go wrong with a move, as one table: how each class is recognised, what is done about it, whom it speaks against,
//! and the words for the operator. Everything that the mover and the loop do about a failure is looked up here.
//!
//! GitLab's words are those of its source, read for 13.0 to 18.x: app/services/concerns/update_repository_storage_methods.rb,
//! app/services/repositories/replicate_service.rb, app/services/projects/update_repository_storage_service.rb,
//! app/models/concerns/repository_storage_movable.rb. A message is cut at 256 characters, and translated where GitLab is:
//! what is not recognised is [`Class::Other`], which is tried again within the budget.

pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod remedy;

/// Attempts per repository. A 149 GB project that is tried again and again drowns its server.
pub(crate) const ATTEMPTS: u32 = 3;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// GitLab or the source's Gitaly could not be asked before anything was begun.
    Unreachable,
    /// The POST's answer was lost.
    LostAnswer,
    /// The token is refused, or GitLab's configuration lacks the storage.
    Forbidden,
    /// GitLab refused the POST for another reason.
    Refused,
    /// Pushes were in progress for half a minute.
    Pushes,
    /// GitLab's checksums of source and copy differ.
    Checksum,
    /// GitLab finds no pool on the destination: equal filesystem ids skip its copy.
    PoolRow,
    /// A record in GitLab's database is not valid.
    Invalid,
    /// The destination's disk is full.
    NoSpace,
    /// A Gitaly could not be reached by GitLab.
    Unavailable,
    /// `failed` without a word, after it had been seen `started`: a worker that was killed and came back.
    Silent,
    /// `failed` without a word and never seen `started`: dead end A is suspected.
    Unstarted,
    /// `failed` with words that none of the above has.
    Other,
    /// Dead end A: the container is read-only, and its newest move is `failed`.
    DeadEndA,
    /// Dead end B: `started` for longer than such moves take, and no bytes arrive.
    DeadEndB,
    /// `scheduled` for good: its job is lost, or there are no workers.
    LostJob,
    /// `initial` for good: GitLab made the record and never queued it.
    Unqueued,
    /// Read-only, and no move has made it so.
    ReadOnly,
    /// `replicated` for good: moved, the source's copy stays.
    StaysReplicated,
    /// `failed` after the storage had been switched: moved, the source's copy stays.
    SwitchedThenFailed,
    /// `cleanup failed`: moved, the source's copy stays.
    CleanupFailed,
    /// A reference tip is missing on the destination.
    Missing,
    /// The source was whole, the destination is not.
    LostObjects,
    /// The destination is not whole, and nobody knows whether the source was.
    CopyNotWhole,
    /// The source lacks objects.
    SourceNotWhole,
    /// Gitaly of the source has no such repository.
    SourceAbsent,
    /// Gitaly of the source cannot read it.
    SourceUnreadable,
    /// Nobody answers about this one, while others are answered.
    Unanswered,
    /// It ended on a storage that nobody planned.
    Elsewhere,
    /// A precondition of the plan does not hold any more.
    Stale,
    /// Deleted meanwhile.
    Deleted,
    /// Somebody else's move is under way.
    Foreign,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Asked again until it answers, with no attempt spent; an outage that does not end closes the wave.
    Wait,
    /// GitLab is asked what became of it; never another POST before that is known.
    Reconcile,
    /// Another attempt after a drawn delay, within the budget.
    Retry,
    /// The same, with one attempt beyond the budget: only that tells whether it is frozen.
    Confirm,
    /// The same; but the same words twice set it aside: nothing has changed, and nothing will.
    RetryUnlessSame,
    /// Another attempt when the project is quiet, within the budget.
    QuietHour,
    /// Another attempt once the destination answers and has room; until then nothing is scheduled there.
    Destination,
    /// Set aside at once, with evidence and remedy.
    SetAside,
    /// Set aside as urgent; the operator's hook may run the remedy, and then it is tried again once.
    DeadEnd,
    /// Set aside, and nothing more is scheduled off its source.
    StopSource,
    /// Nothing of this kind can succeed: the wave ends.
    StopWave,
    /// Counts as moved, with a remark.
    Accept,
    /// Not made, and said so.
    Skip,
}

/// Whom a failure speaks against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blames {
    /// The pair of storages: the breaker counts it.
    Pair,
    /// The repository alone.
    Repository,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) class: Class,
    /// How it is recognised, in words.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers; the table's golden shows it"))]
    pub(crate) seen: &'static str,
    /// Parts of GitLab's message, all lower case; any of them.
    pub(crate) words: &'static [&'static str],
    pub(crate) action: Action,
    pub(crate) blames: Blames,
    /// Frozen, or something may be lost.
    pub(crate) urgent: bool,
    /// The short cause.
    pub(crate) cause: &'static str,
    /// What to do; `{container}`, `{source}`, `{destination}`, `{console}` and `{counter}` are filled in.
    pub(crate) remedy: &'static str,
}

use Action::{
    Accept, Confirm, DeadEnd, Destination, QuietHour, Reconcile, Retry, RetryUnlessSame, SetAside, Skip, StopSource,
    StopWave, Wait,
};
use Blames::{Pair, Repository};

const LOOK: &str = "Look at move and repository in GitLab ({container}); `git fsck` on {source} tells whether the source is \
                    whole; then: tranship quarantine release";
const FROZEN: &str = "GitLab does not leave this by itself, and nobody can push until then. Look at Sidekiq first; when no job \
                      of the move runs, in GitLab's Rails console:\n{console}\nThen: tranship quarantine release";
const LEFT: &str = "GitLab left the copy on {source}; remove it there through Gitaly";

macro_rules! row {
    ($class:ident, $seen:literal, [$($words:literal),*], $action:ident, $blames:ident, $urgent:literal, $cause:literal, $remedy:expr) => {
        Row {
            class: Class::$class,
            seen: $seen,
            words: &[$($words),*],
            action: $action,
            blames: $blames,
            urgent: $urgent,
            cause: $cause,
            remedy: $remedy,
        }
    };
}

/// The table. The first line whose words a message has is its class.
#[rustfmt::skip]
pub(crate) const TABLE: &[Row] = &[
    row!(Unreachable, "timeout, 5xx, reset, 429 before a POST", [], Wait, Pair, false, "cannot be asked", LOOK),
    row!(LostAnswer, "timeout, 5xx or reset of a POST", [], Reconcile, Repository, false,
        "GitLab did not take the move", LOOK),
    row!(Forbidden, "401, 403; 400 of a storage's name", [], StopWave, Pair, false, "refused", LOOK),
    row!(Refused, "any other 400 of a POST", [], RetryUnlessSame, Pair, false, "GitLab refuses the move", LOOK),
    row!(Pushes, "`failed`, by its message", ["timeout waiting for"], QuietHour, Repository, false, "pushes in progress",
        "GitLab counted a push in progress at each attempt. When nobody pushes, its counter leaks. In GitLab's Rails console, \
         where the first two lines must print the same number:\n{counter}\nThen: tranship quarantine release"),
    row!(Checksum, "`failed`, by its message", ["failed to verify", "checksum"], RetryUnlessSame, Pair, false,
        "copy differs from the source",
        "`git fsck` and `git show-ref` on {source} tell what is odd about the repository (references that name nothing are \
         a usual reason); then: tranship quarantine release"),
    row!(PoolRow, "`failed`, by its message", ["couldn't find poolrepository"], SetAside, Pair, false,
        "its object pool is not on the destination",
        "GitLab holds both storages for one disk and copied no pool: make their filesystem ids differ, or take the project out \
         of its pool (`leave_pool_repository` in the Rails console); then: tranship quarantine release"),
    row!(Invalid, "`failed`, by its message", ["validation failed", "record invalid"], SetAside, Repository, false,
        "GitLab's record of it is not valid",
        "In the Rails console, `{record}.tap(&:valid?).errors.full_messages` names what is wrong: correct it; then: tranship \
         quarantine release"),
    row!(NoSpace, "`failed`, by its message", ["no space left on device", "disk quota exceeded"], Destination, Pair, false,
        "no room on the destination", "Make room on {destination}; then: tranship quarantine release"),
    row!(Unavailable, "`failed`, by its message",
        ["14:", "failed to connect", "connection refused", "connection reset", "unavailable", "deadline exceeded",
         "transport is closing", "resource_exhausted"],
        Destination, Pair, false, "a Gitaly could not be reached", LOOK),
    row!(Silent, "`failed` without a message, after `started`", [], Retry, Pair, false, "failed without a reason", LOOK),
    row!(Unstarted, "`failed` without a message, never seen `started`", [], Confirm, Pair, false,
        "failed without a reason", LOOK),
    row!(Other, "`failed`, by no message above", [], RetryUnlessSame, Pair, false, "move failed", LOOK),
    row!(DeadEndA, "400 `is read-only`, its newest move being `failed`", [], DeadEnd, Pair, true,
        "read-only without an end (its move failed before a worker took it)", FROZEN),
    row!(DeadEndB, "`started` past the predicted p99.9, no bytes for 5 min", [], DeadEnd, Pair, true,
        "read-only without an end (the worker of its move is gone)", FROZEN),
    row!(LostJob, "`scheduled` past its threshold, later moves have started", [], DeadEnd, Pair, true,
        "read-only without an end (no worker takes its move)", FROZEN),
    row!(Unqueued, "`initial` for more than a minute", [], SetAside, Pair, false, "GitLab never queued its move",
        "Nothing was frozen. End the move in GitLab's Rails console:\n{console}\nThen: tranship quarantine release"),
    row!(ReadOnly, "400 `is read-only`, and no move of ours has made it so", [], SetAside, Repository, true,
        "read-only without a move",
        "Somebody or something made it read-only. Find out who; to make it writable, in GitLab's Rails console:\n{console}\n\
         Then: tranship quarantine release"),
    row!(StaysReplicated, "`replicated` for more than ten minutes", [], Accept, Pair, false, "never cleaned up",
        "GitLab's worker is gone before it deleted the copy on {source}. Remove that through Gitaly, and end the move in \
         GitLab's Rails console: {console}"),
    row!(SwitchedThenFailed, "`failed`, and the container is on the destination", [], Accept, Pair, false,
        "failed after the switch", LEFT),
    row!(CleanupFailed, "`cleanup failed`", [], Accept, Pair, false, "cleanup failed", LEFT),
    row!(Missing, "a frozen tip's object is not on the destination", [], StopSource, Pair, true, "missing reference",
        "The source's copy is deleted. Restore the repository from a backup or a snapshot of the source's disk, push what is \
         missing, then: tranship quarantine release"),
    row!(LostObjects, "whole before its move, Fsck complains on the destination", [], StopSource, Pair, true,
        "missing objects",
        "The source was whole, and its copy is deleted. Restore the repository from a backup or a snapshot of the source's \
         disk, push what is missing, then: tranship quarantine release"),
    row!(CopyNotWhole, "Fsck complains on the destination, the source was not checked", [], SetAside, Repository, true,
        "destination not whole",
        "It may have arrived as it was: the source was not checked before (verify.source_fsck). Look in backups for the \
         objects named above and push them; then: tranship quarantine release"),
    row!(SourceNotWhole, "Fsck complains on the source", [], SetAside, Repository, false, "source not whole",
        "It lacks objects already, and would arrive as it is. Nothing was moved. Push what is missing from a clone or a \
         backup, or delete the references that need it; then: tranship quarantine release"),
    row!(SourceAbsent, "not on Gitaly where GitLab says", [], SetAside, Repository, false, "not found on its source",
        "Look for it on the other storages, or restore it from a backup; then: tranship quarantine release"),
    row!(SourceUnreadable, "Gitaly of the source cannot read its references", [], RetryUnlessSame, Repository, false,
        "its source cannot be read",
        "`git fsck` on {source} tells what is broken: repair it, or restore it from a backup; then: tranship quarantine release"),
    row!(Unanswered, "GitLab or Gitaly fails for it alone, 5 times", [], SetAside, Pair, false,
        "nobody answers about it",
        "GitLab and Gitaly answer about others. Look for the exception in GitLab's log, by {container}; then: tranship \
         quarantine release"),
    row!(Elsewhere, "ended on a storage that nobody planned", [], SetAside, Repository, true, "moved elsewhere",
        "Look at it in GitLab's admin area; then: tranship quarantine release"),
    row!(Stale, "on another storage than planned", [], Skip, Repository, false, "stale", ""),
    row!(Deleted, "404", [], Skip, Repository, false, "deleted meanwhile", ""),
    row!(Foreign, "a live move to another destination", [], Retry, Repository, false, "somebody moves it", LOOK),
];

impl Class {
    /// Its line of the table.
    pub(crate) fn row(self) -> &'static Row {
        // Every class has a line: a test holds it.
        TABLE.iter().find(|row| row.class == self).unwrap_or(&TABLE[0])
    }

    /// True when something may be lost: exit code 8, and nothing more off its source.
    pub(crate) fn is_loss(self) -> bool {
        self.row().action == Action::StopSource
    }

    /// True of what is set aside and has left its source all the same.
    pub(crate) fn has_left(self) -> bool {
        matches!(self, Self::Missing | Self::LostObjects | Self::CopyNotWhole)
    }

    /// True of moves that GitLab ended as `failed` while the container stayed on its source.
    pub(crate) fn is_failed_move(self) -> bool {
        use Class::{Checksum, Invalid, NoSpace, Other, PoolRow, Pushes, Silent, Unavailable, Unstarted};
        matches!(self, Pushes | Checksum | PoolRow | Invalid | NoSpace | Unavailable | Silent | Unstarted | Other)
    }

    /// True when the breaker of a pair counts it.
    pub(crate) fn counts(self) -> bool {
        self.row().blames == Pair
    }
}

/// The class of a move that ended `failed` on its source.
pub(crate) fn of_failed(message: Option<&str>, seen_started: bool) -> Class {
    let Some(message) = message.filter(|m| !m.trim().is_empty()) else {
        return if seen_started { Class::Silent } else { Class::Unstarted };
    };
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    TABLE.iter().find(|row| has(row.words)).map_or(Class::Other, |row| row.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitlabs_words_are_recognised() {
        for (message, class) in [
            ("Timeout waiting for project repository pushes", Class::Pushes),
            ("Timeout waiting for wiki repository pushes", Class::Pushes),
            ("Timeout waiting for design repository pushes", Class::Pushes),
            ("Failed to verify project repository checksum from 6b86b2 to d4735e", Class::Checksum),
            ("Failed to verify object_pool repository checksum from 6b86b2 to 00", Class::Checksum),
            ("Couldn't find PoolRepository", Class::PoolRow),
            ("Validation failed: Name can contain only letters, digits, emojis", Class::Invalid),
            ("13:fetch: exit status 128: No space left on device.", Class::NoSpace),
            ("14:failed to connect to all addresses.", Class::Unavailable),
            ("4:Deadline Exceeded.", Class::Unavailable),
            ("13:something that nobody has seen before", Class::Other),
        ] {
            assert_eq!(of_failed(Some(message), true), class, "{message}");
        }
        assert_eq!(of_failed(None, true), Class::Silent);
        assert_eq!(of_failed(Some(" "), false), Class::Unstarted);
    }

    #[test]
    fn every_class_has_one_line_and_every_line_its_words() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|before| before.class != row.class), "{:?} twice", row.class);
            assert!(row.words.iter().all(|w| *w == w.to_lowercase()), "{:?}", row.class);
            assert!(!row.cause.is_empty() && !row.seen.is_empty());
            let sets_aside = !matches!(row.action, Skip | Accept);
            assert_eq!(row.remedy.ends_with("tranship quarantine release"), sets_aside, "{:?}", row.class);
            if row.class == Class::Missing {
                assert_eq!(row.cause, crate::plan::MISSING_REFERENCE);
            }
            let failed = row.seen.starts_with("`failed`") && row.action != Accept;
            assert_eq!(row.class.is_failed_move(), failed, "{:?}", row.class);
            assert_eq!(row.class.is_loss(), crate::plan::is_possible_loss(row.cause), "plans look for it");
            let frozen = row.action == DeadEnd || row.class == Class::ReadOnly;
            assert_eq!(frozen, row.remedy.contains("{console}") && row.urgent, "{:?}", row.class);
        }
    }

    #[test]
    fn the_table() {
        let lines: Vec<String> = TABLE
            .iter()
            .map(|row| {
                let urgent = if row.urgent { ", urgent" } else { "" };
                format!("{:?}: {} -> {:?}, {:?}{urgent}: {}", row.class, row.seen, row.action, row.blames, row.cause)
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
