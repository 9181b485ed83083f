//! Is everything there? Reads both ends of a move and judges, three-valued: what a move's evidence proves, refutes, or
//! leaves open. (Levels 0 to 2; the verdicts are those of law 4.)

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::port::{GitLab, Gitaly, PortErrorKind, PortResult};
use crate::model::{Container, RefSnapshot, RepositoryRole, StorageName, relative_path};
use crate::state::journal::Side;

/// What the evidence of a move says. From good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The frozen source equals the destination.
    Attested,
    /// The destination went on from there: every frozen tip exists, no reference is gone.
    Advanced,
    /// The frozen read came too late; the read before the POST equals the destination.
    Bracketed,
    /// Could not be proven, nor refuted. Never a pass.
    Unknown,
    /// A reference tip of the frozen source is not on the destination.
    Missing,
}

impl Verdict {
    /// The word in state, events and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attested => "attested",
            Self::Advanced => "advanced",
            Self::Bracketed => "bracketed",
            Self::Unknown => "unknown",
            Self::Missing => "missing",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A verdict with what it stands on, in lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The worst of all repositories of the container.
    pub verdict: Verdict,
    /// Why, where it is not attested: at most a few sample references per repository.
    pub lines: Vec<String>,
}

/// At most this many references are named.
const SAMPLES: usize = 10;

/// What one repository needs before it can be judged: do these objects exist on the destination?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Nothing to ask.
    Settled(Verdict, Vec<String>),
    /// The tips that must exist, and what else differs in a way that no tip can settle.
    Ask(Vec<Tip>, Option<String>),
}

/// A frozen tip whose reference is otherwise on the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) object: String,
    pub(crate) reference: String,
    pub(crate) still_there: bool,
}

/// Compares one repository of a source with the destination's. `frozen` is `None` when the frozen read came too late.
pub(crate) fn compare(
    before: &Side,
    frozen: Option<&Side>,
    destination: &Side,
    disks_differ: bool,
    replicated: bool,
) -> Comparison {
    let name = before.role.as_str();
    let Some(frozen) = frozen else {
        // The weaker evidence: the read before, GitLab's own comparison of checksums, and a copy that was a copy.
        return if before.digest == destination.digest && disks_differ && replicated {
            Comparison::Settled(Verdict::Bracketed, Vec::new())
        } else if before.digest == destination.digest {
            let why = format!("{name}: the frozen read came too late, and GitLab's own comparison cannot be relied on");
            Comparison::Settled(Verdict::Unknown, vec![why])
        } else {
            let why = format!("{name}: the frozen read came too late, and it changed since the read before the move");
            Comparison::Settled(Verdict::Unknown, vec![why])
        };
    };
    if frozen.digest == destination.digest {
        return Comparison::Settled(Verdict::Attested, Vec::new());
    }
    match (&frozen.digest, &frozen.snapshot, &destination.snapshot) {
        // The source had none, the destination has one now: somebody made it since.
        (None, _, _) => Comparison::Settled(Verdict::Advanced, Vec::new()),
        (Some(_), None, _) => Comparison::Settled(
            Verdict::Unknown,
            vec![format!("{name}: it differs, and the frozen references were too many to keep")],
        ),
        (Some(_), Some(source), None) => {
            if source.is_empty() {
                let why = format!("{name}: the source had one without references, the destination has none");
                return Comparison::Settled(Verdict::Unknown, vec![why]);
            }
            let lines =
                source.references().iter().take(SAMPLES).map(|r| {
                    format!("{name}: the destination has no such repository; {} was {}", r.printable(), r.target)
                });
            Comparison::Settled(Verdict::Missing, lines.collect())
        }
        (Some(_), Some(source), Some(there)) => {
            let differences = source.differences(there);
            if source.object_format != there.object_format {
                let why = format!(
                    "{name}: object format {} on the source, {} on the destination",
                    source.object_format.as_deref().unwrap_or("unknown"),
                    there.object_format.as_deref().unwrap_or("unknown"),
                );
                return Comparison::Settled(Verdict::Unknown, vec![why]);
            }
            let head = (source.head != there.head).then(|| {
                let show = |head: &Option<Vec<u8>>| {
                    head.as_ref().map_or("nothing".to_owned(), |h| h.escape_ascii().to_string())
                };
                let (ours, theirs) = (show(&source.head), show(&there.head));
                format!("{name}: HEAD names {ours} on the source and {theirs} on the destination")
            });
            if differences.is_empty() {
                if let Some(why) = head {
                    return Comparison::Settled(Verdict::Unknown, vec![why]);
                }
                // Only more references than before.
                return Comparison::Settled(Verdict::Advanced, Vec::new());
            }
            let tips = differences
                .iter()
                .map(|d| Tip {
                    object: d.reference.target.clone(),
                    reference: d.reference.printable(),
                    still_there: d.now.is_some(),
                })
                .collect();
            Comparison::Ask(tips, head)
        }
    }
}

/// Concludes from the answers about each tip, and from what differs beside.
pub(crate) fn conclude(
    role: RepositoryRole,
    tips: &[Tip],
    beside: Option<String>,
    exists: &[bool],
) -> (Verdict, Vec<String>) {
    let name = role.as_str();
    let mut missing = Vec::new();
    let mut gone: Vec<String> = beside.into_iter().collect();
    for (at, tip) in tips.iter().enumerate() {
        let Tip { reference, object, still_there } = tip;
        match exists.get(at) {
            Some(false) => missing.push(format!("{name}: {reference} at {object} is missing on the destination")),
            Some(true) if *still_there => {}
            Some(true) => gone.push(format!(
                "{name}: {reference} is gone from the destination; its object {object} is still there but can be pruned"
            )),
            None => gone.push(format!("{name}: the destination did not say whether it has {object} of {reference}")),
        }
    }
    let (verdict, mut lines) = if !missing.is_empty() {
        (Verdict::Missing, missing)
    } else if !gone.is_empty() {
        (Verdict::Unknown, gone)
    } else {
        (Verdict::Advanced, Vec::new())
    };
    let more = lines.len().saturating_sub(SAMPLES);
    lines.truncate(SAMPLES);
    if more > 0 {
        lines.push(format!("{name}: and {more} more"));
    }
    (verdict, lines)
}

/// Reads one repository; `None` when there is none.
pub(crate) async fn read(gitaly: &dyn Gitaly, storage: &StorageName, path: &str) -> PortResult<Option<RefSnapshot>> {
    let references = match gitaly.references(storage, path).await {
        Ok(references) => references,
        Err(e) if e.kind == PortErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let (head, format) = tokio::join!(gitaly.head(storage, path), gitaly.object_format(storage, path));
    let absent = |e: &super::port::PortError| e.kind == PortErrorKind::NotFound;
    match (head, format) {
        (Err(e), _) | (_, Err(e)) if absent(&e) => Ok(None),
        (Ok(head), Ok(format)) => Ok(Some(RefSnapshot::new(references, head, format))),
        (Err(e), _) | (_, Err(e)) => Err(e),
    }
}

/// Reads all repositories of a container at known paths.
pub(crate) async fn read_sides(gitaly: &dyn Gitaly, storage: &StorageName, at: &[Side]) -> PortResult<Vec<Side>> {
    let reads = at.iter().map(|side| async move {
        let snapshot = read(gitaly, storage, &side.path).await?;
        Ok(Side::new(side.role, side.path.clone(), snapshot))
    });
    futures::future::try_join_all(reads).await
}

/// The repositories of a container where its id says they are, not read yet.
pub(crate) fn paths(container: Container) -> Vec<Side> {
    RepositoryRole::of(container.kind)
        .iter()
        .map(|role| Side { role: *role, path: relative_path(container, *role), digest: None, snapshot: None })
        .collect()
}

/// Reads a container's source before a move. Looks where GitLab says when the main repository is not where its id says.
/// Returns `None` when it is nowhere although it is not known to be empty.
pub(crate) async fn read_source(
    gitlab: &dyn GitLab,
    gitaly: &dyn Gitaly,
    storage: &StorageName,
    container: Container,
    empty: bool,
) -> PortResult<Option<Vec<Side>>> {
    let sides = read_sides(gitaly, storage, &paths(container)).await?;
    if sides.iter().any(|s| s.role == RepositoryRole::Main && s.digest.is_some()) {
        return Ok(Some(sides));
    }
    // What was empty when it was planned may have been pushed to since, wherever GitLab keeps it.
    let Some(disk_path) = gitlab.disk_path(container).await? else { return Ok(empty.then_some(sides)) };
    if sides.iter().any(|s| s.role == RepositoryRole::Main && s.path == format!("{disk_path}.git")) {
        return Ok(empty.then_some(sides));
    }
    let moved: Vec<Side> = paths(container)
        .into_iter()
        .map(|side| {
            let suffix = match side.role {
                RepositoryRole::Main => ".git",
                RepositoryRole::Wiki => ".wiki.git",
                RepositoryRole::Design => ".design.git",
            };
            Side { path: format!("{disk_path}{suffix}"), ..side }
        })
        .collect();
    let sides = read_sides(gitaly, storage, &moved).await?;
    let is_there = sides.iter().any(|s| s.role == RepositoryRole::Main && s.digest.is_some());
    Ok((is_there || empty).then_some(sides))
}

/// Reads the source of an accepted move. `None`: too late, or cut short, and so no evidence. `before_read` is false when
/// `before` only names the paths: an absence then may be a removal.
pub(crate) async fn read_frozen(
    gitaly: &dyn Gitaly,
    storage: &StorageName,
    before: &[Side],
    before_read: bool,
) -> Option<Vec<Side>> {
    let sides = read_sides(gitaly, storage, before).await.ok()?;
    let mut stands = Vec::with_capacity(sides.len());
    for (side, earlier) in sides.iter().zip(before) {
        let settled = side.digest.is_none() || (before_read && side.digest == earlier.digest);
        stands.push(!settled && gitaly.exists(storage, &side.path).await.unwrap_or(false));
    }
    is_whole(&sides, before, before_read, &stands).then_some(sides)
}

/// True when a frozen read shows each repository as it was frozen: equal to the whole read before it, or still standing
/// after the reading, or the removal may have cut the list. Without a read before, what is absent was absent all along
/// only if the main repository, the first to be removed, still stands.
fn is_whole(sides: &[Side], before: &[Side], before_read: bool, stands: &[bool]) -> bool {
    let main = sides.iter().zip(stands).any(|(side, stands)| side.role == RepositoryRole::Main && *stands);
    sides.iter().zip(before).zip(stands).all(|((side, earlier), stands)| {
        let equal = before_read && side.digest == earlier.digest;
        equal || *stands || (!before_read && side.digest.is_none() && main)
    })
}

/// Reads the destination and judges. Also returns the digest over the destination's repositories.
///
/// # Errors
/// A destination that cannot be read.
pub(crate) async fn judge(
    gitaly: &dyn Gitaly,
    destination: &StorageName,
    before: &[Side],
    frozen: Option<&[Side]>,
    disks_differ: bool,
    replicated: bool,
) -> PortResult<(Judgement, String)> {
    let there = read_sides(gitaly, destination, before).await?;
    let mut worst = Verdict::Attested;
    let mut lines = Vec::new();
    for (at, (side, now)) in before.iter().zip(&there).enumerate() {
        let frozen = frozen.and_then(|f| f.get(at));
        let (verdict, why) = match compare(side, frozen, now, disks_differ, replicated) {
            Comparison::Settled(verdict, why) => (verdict, why),
            Comparison::Ask(tips, beside) => {
                let ids: Vec<String> = tips.iter().map(|t| t.object.clone()).collect();
                let exists = gitaly.objects_exist(destination, &now.path, &ids).await?;
                conclude(side.role, &tips, beside, &exists)
            }
        };
        worst = worst.max(verdict);
        lines.extend(why);
    }
    Ok((Judgement { verdict: worst, lines }, digest_of(&there)))
}

/// One digest over all repositories of a container, hex.
pub(crate) fn digest_of(sides: &[Side]) -> String {
    let mut hash = Sha256::new();
    for side in sides {
        hash.update(side.role.as_str());
        hash.update([0, u8::from(side.digest.is_some())]);
        hash.update(side.digest.map_or([0; 32], |d| d.0));
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reference;

    fn side(references: Option<&[(&str, &str)]>) -> Side {
        let snapshot = references.map(|refs| {
            let refs = refs.iter().map(|(n, t)| Reference { name: n.as_bytes().into(), target: (*t).into() });
            RefSnapshot::new(refs.collect(), Some(b"refs/heads/main".to_vec()), Some("sha1".into()))
        });
        Side::new(RepositoryRole::Main, "@hashed/x.git".into(), snapshot)
    }

    /// What law 4 says of every pair: frozen, destination, objects that the destination has.
    fn verdict(frozen: &Side, there: &Side, objects: &[&str]) -> Verdict {
        match compare(frozen, Some(frozen), there, true, true) {
            Comparison::Settled(verdict, _) => verdict,
            Comparison::Ask(tips, beside) => {
                let exists: Vec<bool> = tips.iter().map(|t| objects.contains(&t.object.as_str())).collect();
                conclude(RepositoryRole::Main, &tips, beside, &exists).0
            }
        }
    }

    #[test]
    fn law_4_equal_is_attested_and_a_missing_tip_never_passes() {
        let a = side(Some(&[("refs/heads/main", "1"), ("refs/heads/x", "2")]));
        assert_eq!(verdict(&a, &a, &[]), Verdict::Attested);
        let advanced = side(Some(&[("refs/heads/main", "3"), ("refs/heads/x", "2")]));
        assert_eq!(verdict(&a, &advanced, &["1"]), Verdict::Advanced);
        assert_eq!(verdict(&a, &advanced, &[]), Verdict::Missing, "forced over, and its object is gone");
        let gone = side(Some(&[("refs/heads/main", "1")]));
        assert_eq!(verdict(&a, &gone, &["2"]), Verdict::Unknown, "the object can be pruned");
        assert_eq!(verdict(&a, &gone, &[]), Verdict::Missing);
        let more = side(Some(&[("refs/heads/main", "1"), ("refs/heads/x", "2"), ("refs/heads/y", "9")]));
        assert_eq!(verdict(&a, &more, &[]), Verdict::Advanced);
    }

    #[test]
    fn absence_is_compared_too() {
        let a = side(Some(&[("refs/heads/main", "1")]));
        let (none, empty) = (side(None), side(Some(&[])));
        assert_eq!(verdict(&a, &none, &["1"]), Verdict::Missing);
        assert_eq!(verdict(&none, &none, &[]), Verdict::Attested);
        assert_eq!(verdict(&none, &a, &[]), Verdict::Advanced, "a wiki that was made since");
        assert_eq!(verdict(&empty, &none, &[]), Verdict::Unknown);
    }

    #[test]
    fn too_late_a_read_passes_only_as_bracketed_and_only_when_nothing_changed() {
        let a = side(Some(&[("refs/heads/main", "1")]));
        let b = side(Some(&[("refs/heads/main", "2")]));
        let late = |before, there, differ, replicated| match compare(before, None, there, differ, replicated) {
            Comparison::Settled(verdict, _) => verdict,
            Comparison::Ask(..) => panic!("nothing to ask without a frozen read"),
        };
        assert_eq!(late(&a, &a, true, true), Verdict::Bracketed);
        assert_eq!(late(&a, &a, false, true), Verdict::Unknown);
        assert_eq!(late(&a, &a, true, false), Verdict::Unknown);
        assert_eq!(late(&a, &b, true, true), Verdict::Unknown);
    }

    #[test]
    fn head_alone_is_no_pass() {
        let a = side(Some(&[("refs/heads/main", "1")]));
        let mut b = a.clone();
        if let Some(snapshot) = &mut b.snapshot {
            snapshot.head = Some(b"refs/heads/other".to_vec());
            b.digest = Some(snapshot.digest());
        }
        assert_eq!(verdict(&a, &b, &[]), Verdict::Unknown);
        let mut c = side(Some(&[("refs/heads/main", "2")]));
        if let Some(snapshot) = &mut c.snapshot {
            snapshot.head = Some(b"refs/heads/other".to_vec());
            c.digest = Some(snapshot.digest());
        }
        assert_eq!(verdict(&a, &c, &["1"]), Verdict::Unknown, "also when a reference moved on");
    }

    #[test]
    fn law_4_a_source_that_was_never_read_and_is_gone_is_no_evidence() {
        let (some, none) = (side(Some(&[("refs/heads/main", "1")])), side(None));
        let wiki = Side { role: RepositoryRole::Wiki, ..none.clone() };
        let gone = [none.clone(), wiki.clone()];
        assert!(!is_whole(&gone, &gone, false, &[false, false]), "removed, or never there: nobody knows");
        assert!(is_whole(&gone, &gone, true, &[false, false]), "known to be absent before");
        assert!(is_whole(&[some.clone(), wiki.clone()], &gone, false, &[true, false]));
        assert!(!is_whole(&[some.clone(), wiki.clone()], &gone, false, &[false, false]), "removed while it was read");
        assert!(!is_whole(&gone, &[some, wiki], true, &[false, false]), "it was there before");
    }

    #[test]
    fn law_10_an_answer_that_did_not_come_is_neither_a_pass_nor_a_loss() {
        let tip = Tip { object: "1".into(), reference: "refs/heads/main".into(), still_there: true };
        assert_eq!(conclude(RepositoryRole::Main, &[tip], None, &[]).0, Verdict::Unknown);
    }
}
