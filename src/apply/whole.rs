//! Is a repository whole, object by object? Gitaly's Fsck, on sources before they move and on destinations afterwards
//! (level 3): a repository that lacks an object replicates with OK and an equal checksum, and all its references compare equal.

use sha2::{Digest as _, Sha256};

use super::port::{Gitaly, PortErrorKind, PortResult};
use crate::model::{Bytes, Container, SourceFsck, StorageName};
use crate::plan::Verdict;
use crate::state::journal::Side;

/// From this size on each repository is checked. In a heavy-tailed fleet that is one in a thousand, with more than half of
/// the bytes; a tenth of it would be one in a hundred for a tenth of the bytes more, ten times of it would let the
/// repositories through that no backup restores in an hour.
const LARGE: Bytes = Bytes(1 << 30);
/// Checks that run at once in one run: each reads a whole repository, on the disk that others are copied from and to.
pub(crate) const AT_ONCE: usize = 2;
/// Lines of a complaint that are shown.
const LINES: usize = 10;

/// One in a hundred, by the id: the same repositories in every run, so that what a run found can be seen again.
fn is_drawn(container: Container) -> bool {
    let hash = Sha256::digest(format!("whole\0{container}"));
    let number = hash.iter().take(8).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    number.is_multiple_of(100)
}

/// True when a source is checked before its move.
pub(crate) fn is_source_due(how: SourceFsck, container: Container, bytes: Bytes) -> bool {
    match how {
        SourceFsck::None => false,
        SourceFsck::Sample => bytes >= LARGE || is_drawn(container),
        SourceFsck::All => true,
    }
}

/// True when a destination is checked after its move: the large ones, each that could not be compared, one in a hundred.
pub(crate) fn is_destination_due(container: Container, bytes: Bytes, compared: bool) -> bool {
    bytes >= LARGE || !compared || is_drawn(container)
}

/// The word in journal and state.
pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
    }
}

/// What a check says, and why where it is no pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) verdict: Verdict,
    pub(crate) lines: Vec<String>,
}

/// True for a line that says that something is not there or cannot be read. What git finds odd about an object (a date, a
/// mode, a name) is copied as it is and is none of that.
fn is_loss(line: &str) -> bool {
    if line.starts_with("error in ") || line.starts_with("warning in ") {
        return false;
    }
    let begins = ["missing ", "broken link ", "fatal: "].iter().any(|start| line.starts_with(start));
    let says = [
        "object corrupt or missing",
        "invalid sha1 pointer",
        "invalid reflog entry",
        "unable to read",
        "could not read",
        "cannot read",
        "bad object",
        "hash mismatch",
        "hash-path mismatch",
        "sha1 mismatch",
        "does not exist",
        "not a valid object",
        "is corrupt",
    ];
    let line = line.to_lowercase();
    begins || says.iter().any(|words| line.contains(words))
}

/// Judges what Fsck complained of in one repository.
fn judge(name: &str, complaints: &[String]) -> Check {
    let losses: Vec<&String> = complaints.iter().filter(|line| is_loss(line)).collect();
    let mut lines: Vec<String> = losses.iter().take(LINES).map(|line| format!("{name}: {}", line.trim())).collect();
    if losses.len() > LINES {
        lines.push(format!("{name}: and {} more", losses.len() - LINES));
    }
    Check { verdict: if losses.is_empty() { Verdict::Pass } else { Verdict::Fail }, lines }
}

/// Checks those repositories of a container that there are. Fail outweighs unknown outweighs pass.
///
/// # Errors
/// None that is an answer: a server that cannot be asked.
pub(crate) async fn check(gitaly: &dyn Gitaly, storage: &StorageName, sides: &[Side]) -> PortResult<Check> {
    let mut all = Check { verdict: Verdict::Pass, lines: Vec::new() };
    for side in sides.iter().filter(|side| side.digest.is_some()) {
        let name = side.role.as_str();
        let one = match gitaly.fsck(storage, &side.path).await {
            Ok(complaints) => judge(name, &complaints),
            // Deleted since it was read.
            Err(e) if e.kind == PortErrorKind::NotFound => continue,
            Err(e) if e.is_transient() => return Err(e),
            Err(e) => Check { verdict: Verdict::Unknown, lines: vec![format!("{name}: {e}")] },
        };
        all.lines.extend(one.lines);
        all.verdict = match (all.verdict, one.verdict) {
            (Verdict::Fail, _) | (_, Verdict::Fail) => Verdict::Fail,
            (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
            (Verdict::Pass, Verdict::Pass) => Verdict::Pass,
        };
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerKind;

    fn project(id: u64) -> Container {
        Container { kind: ContainerKind::Project, id }
    }

    #[test]
    fn a_sample_is_one_in_a_hundred_and_all_that_are_large() {
        let due = |how, bytes| (0..10_000).filter(|id| is_source_due(how, project(*id), Bytes(bytes))).count();
        assert_eq!(due(SourceFsck::None, 1 << 40), 0);
        assert_eq!(due(SourceFsck::All, 0), 10_000);
        let drawn = due(SourceFsck::Sample, 1 << 20);
        assert!((60..=140).contains(&drawn), "{drawn}");
        assert_eq!(drawn, due(SourceFsck::Sample, 1 << 20), "the same each time");
        assert_eq!(due(SourceFsck::Sample, 1 << 30), 10_000);
        assert!(is_destination_due(project(1), Bytes(0), false), "what could not be compared");
    }

    #[test]
    fn what_is_odd_is_no_loss_and_what_is_missing_is() {
        let of = |lines: &[&str]| judge("repository", &lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>());
        for odd in [
            "",
            "warning in tree 5f0c: zeroPaddedFilemode: contains zero-padded file modes",
            "error in commit 5f0c: missingSpaceBeforeDate: invalid author/committer line - missing space before date",
            "dangling commit 49d414f6686d18fd75ba031fe3f896926a4c366d",
            "notice: HEAD points to an unborn branch (main)",
        ] {
            assert_eq!(of(&[odd]), Check { verdict: Verdict::Pass, lines: vec![] }, "{odd}");
        }
        for loss in [
            "missing commit 49d414f6686d18fd75ba031fe3f896926a4c366d",
            "broken link from  commit bb6dcd7be24f3ecc2b6a7e4d0152c73320ec6df1",
            "error: refs/heads/main: invalid sha1 pointer 49d414f6686d18fd75ba031fe3f896926a4c366d",
            "error: 49d414f6686d18fd75ba031fe3f896926a4c366d: object corrupt or missing: objects/49/d414",
            "fatal: loose object 49d4 (stored in objects/49/d4) is corrupt",
        ] {
            assert_eq!(of(&["dangling blob 1", loss]).verdict, Verdict::Fail, "{loss}");
        }
        let many: Vec<String> = (0..30).map(|n| format!("missing blob {n}")).collect();
        let check = judge("wiki", &many);
        assert_eq!((check.lines.len(), check.lines[10].as_str()), (11, "wiki: and 20 more"));
    }
}
