//! The journal's laws.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use jiff::Timestamp;
use proptest::prelude::*;

use super::file::Payloads;
use super::*;
use crate::model::{Address, Bytes, Container, ContainerKind, RefSnapshot, Reference, RepositoryRole, StorageName};

/// All whole records, and how many bytes of a torn tail were left out.
fn decode(bytes: &[u8]) -> (Vec<Record>, usize) {
    let (mut payloads, mut records) = (Payloads::new(bytes), Vec::new());
    while let Some(payload) = payloads.next().expect("read") {
        records.push(serde_json::from_slice(payload).expect("a record"));
    }
    (records, bytes.len() - usize::try_from(payloads.whole).expect("small"))
}

/// A journal of these records, folded as recovery does.
fn fold(records: &[Record], state_digest: &str) -> Folded {
    let folder = tempfile::tempdir().expect("a folder");
    let file = Utf8PathBuf::try_from(folder.path().join(FILE)).expect("UTF-8");
    let mut bytes = Vec::new();
    encode(records, &mut bytes);
    fs::write(&file, bytes).expect("written");
    Log::read(&file).expect("whole").fold(state_digest).expect("understood")
}

/// The same with all records at hand.
fn folded_whole(records: &[Record], state_digest: &str) -> Folded {
    let checkpoint = |wanted: Option<&str>| {
        records.iter().rposition(|r| matches!(r, Record::Checkpoint { state, .. } if wanted.is_none_or(|w| w == state)))
    };
    let first = records.iter().position(|r| matches!(r, Record::Checkpoint { .. }));
    let saved = match checkpoint(Some(state_digest)) {
        Some(at) => Some(at),
        // Only one checkpoint and the state is none of it: the crash came between the two writes.
        None if checkpoint(None) == first => None,
        None => checkpoint(None),
    };
    let held: BTreeSet<Container> = records
        .iter()
        .take(saved.map_or(0, |at| at + 1))
        .filter_map(|r| if let Record::Checkpoint { holds, .. } = r { Some(holds) } else { None })
        .flatten()
        .copied()
        .collect();
    let mut folded = Folded::default();
    for record in records {
        match record {
            Record::Began { format, environment } => {
                folded = Folded {
                    newer: folded.newer || *format > FORMAT,
                    environment: Some(environment.clone()),
                    doubts: folded.doubts,
                    ..Folded::default()
                };
            }
            Record::Intent { intent } => {
                let doubt = Doubt { intent: (**intent).clone(), move_id: None, frozen: None };
                folded.doubts.insert(intent.container, doubt);
            }
            Record::Accepted { container, move_id } => {
                if let Some(doubt) = folded.doubts.get_mut(container) {
                    doubt.move_id = Some(*move_id);
                }
            }
            Record::Frozen { container, sides } => {
                if let Some(doubt) = folded.doubts.get_mut(container) {
                    doubt.frozen = Some(sides.clone());
                }
            }
            Record::Verified { container, verdict, destination, whole, left } => {
                if let Some(doubt) = folded.doubts.remove(container)
                    && !held.contains(container)
                {
                    let frozen = doubt.frozen.unwrap_or(doubt.intent.before.clone());
                    folded.verified.push((doubt.intent, verdict.clone(), frozen, destination.clone()));
                    folded.beside.push(Beside { whole: whole.clone(), left: *left });
                }
            }
            Record::Quarantined { container, quarantine, loss } => {
                folded.doubts.remove(container);
                if !held.contains(container) {
                    folded.quarantined.push((*container, (**quarantine).clone(), *loss));
                }
            }
            Record::Dropped { container, .. } => {
                folded.doubts.remove(container);
            }
            Record::ObjectIntent { storage, manifest, force } => {
                let fate = ObjectFate::InDoubt { manifest: manifest.clone(), force: *force };
                folded.objects.insert((storage.clone(), manifest.key.to_string()), fate);
            }
            Record::Object { storage, key, digest, uid } => {
                // Whether the state holds it is no matter: recording it once more changes nothing.
                let fate = ObjectFate::Applied { digest: digest.clone(), uid: uid.clone() };
                folded.objects.insert((storage.clone(), key.clone()), fate);
            }
            Record::Probe { container, home, storage, back } => {
                if *back {
                    folded.probes.remove(container);
                } else {
                    folded.probes.insert(*container, (home.clone(), storage.clone()));
                }
            }
            Record::Checkpoint { .. } | Record::Thawed { .. } | Record::Throttled { .. } | Record::Soak { .. } => {}
            Record::Closing { .. } | Record::Tried { .. } | Record::Carried | Record::Answered { .. } => {}
            Record::Ended => folded.ended = true,
        }
    }
    folded
}

proptest! {
    /// What is decoded only where it matters comes to what all of it says.
    #[test]
    fn a_journal_folds_as_all_its_records_do(
        steps in prop::collection::vec((0..10u8, 1..4u64, 0..3u8), 0..40),
        state in 0..4u8,
    ) {
        let records: Vec<Record> = steps.into_iter().map(|(kind, id, state)| match kind {
            0 | 1 => intent(id),
            2 => Record::Accepted { container: container(id), move_id: id * 10 },
            3 => Record::Frozen { container: container(id), sides: Vec::new() },
            4 => verified(id),
            5 => Record::Dropped { container: container(id), why: "moot".into() },
            7 => Record::Began { format: FORMAT, environment: "e".into() },
            6 => Record::Thawed { container: container(id), path: "p".into(), at: Timestamp::UNIX_EPOCH, frozen_ms: 1 },
            8 => Record::Tried { container: container(id), tried: Tried { attempts: 1, said: vec!["no".into()] } },
            _ => saved(&format!("s{state}"), &[id]),
        }).collect();
        let digest = format!("s{state}");
        prop_assert_eq!(fold(&records, &digest), folded_whole(&records, &digest));
    }
}

fn container(id: u64) -> Container {
    Container { kind: ContainerKind::Project, id }
}

fn intent(id: u64) -> Record {
    Record::Intent {
        intent: Box::new(Intent {
            container: container(id),
            path: format!("web/p{id}"),
            source: StorageName::new("default").expect("valid"),
            destination: StorageName::new("gitaly-01").expect("valid"),
            assignment: Address::new("assignment", "all"),
            wave: "rest".into(),
            bytes: Bytes(10),
            attempt: 1,
            before_id: 0,
            at: Timestamp::UNIX_EPOCH,
            before: vec![Side::new(
                RepositoryRole::Main,
                "@hashed/x.git".into(),
                Some(RefSnapshot::new(
                    vec![Reference { name: b"refs/heads/\xff".to_vec(), target: "ab".into() }],
                    None,
                    None,
                )),
            )],
            before_read: true,
            disks_differ: true,
            whole: None,
        }),
    }
}

fn saved(state: &str, holds: &[u64]) -> Record {
    Record::Checkpoint { state: state.into(), holds: holds.iter().map(|id| container(*id)).collect() }
}

fn verified(id: u64) -> Record {
    Record::Verified {
        container: container(id),
        verdict: "attested".into(),
        destination: "d".into(),
        whole: None,
        left: false,
    }
}

#[test]
fn every_prefix_of_a_journal_reads_as_its_whole_records() {
    let records = [
        Record::Began { format: FORMAT, environment: "e".into() },
        intent(1),
        Record::Accepted { container: container(1), move_id: 7 },
        verified(1),
        Record::Ended,
    ];
    let mut bytes = Vec::new();
    let mut ends = vec![0];
    for record in &records {
        encode(std::slice::from_ref(record), &mut bytes);
        ends.push(bytes.len());
    }
    for cut in 0..=bytes.len() {
        let whole = ends.iter().filter(|e| **e <= cut).count() - 1;
        let (read, torn) = decode(&bytes[..cut]);
        assert_eq!(read, records[..whole], "cut at {cut}");
        assert_eq!(torn, cut - ends[whole]);
    }
}

#[test]
fn a_flipped_bit_ends_the_reading() {
    let mut bytes = Vec::new();
    encode(&[Record::Ended, Record::Ended], &mut bytes);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(decode(&damaged).0.len() < 2, "byte {at}");
    }
}

#[test]
fn damage_in_the_middle_is_an_error_and_nothing_is_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = Utf8Path::from_path(folder.path()).expect("UTF-8");
    let run = runs.join("run");
    JournalFile::create(&run).expect("made").append(&[intent(1), verified(1), intent(2)]).expect("written");
    let whole = fs::read(run.join(FILE)).expect("read");
    let mut first = Vec::new();
    encode(&[intent(1)], &mut first);
    let mut damaged = whole;
    damaged[first.len() + 20] ^= 1;
    fs::write(run.join(FILE), &damaged).expect("written");
    let error = unfinished(runs).expect_err("damaged").to_string();
    assert!(error.contains(&format!("journal is damaged at byte {}", first.len())), "{error}");
    assert!(JournalFile::create(&run).is_err());
    assert_eq!(fs::read(run.join(FILE)).expect("read"), damaged);
}

#[test]
fn an_end_that_overtook_its_checkpoint_is_not_taken_for_saved() {
    let records = [intent(1), intent(2), verified(1), verified(2), saved("s1", &[1])];
    let ids: Vec<u64> = fold(&records, "s1").verified.iter().map(|v| v.0.container.id).collect();
    assert_eq!(ids, [2]);
}

#[test]
fn what_is_appended_after_a_crash_in_the_middle_of_a_write_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Utf8Path::from_path(folder.path()).expect("UTF-8").join("run");
    JournalFile::create(&run).expect("made").append(&[intent(1), verified(1)]).expect("written");
    let bytes = fs::read(run.join(FILE)).expect("read");
    fs::write(run.join(FILE), &bytes[..bytes.len() - 3]).expect("cut");
    JournalFile::create(&run).expect("opened").append(&[Record::Ended]).expect("written");
    let (records, torn) = decode(&fs::read(run.join(FILE)).expect("read"));
    assert_eq!((records.len(), torn), (2, 0));
    assert_eq!(records[1], Record::Ended);
}

#[test]
fn the_clock_of_a_hold_outlives_its_run_and_ends_when_it_was_passed() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = Utf8Path::from_path(folder.path()).expect("UTF-8");
    let at = |second| Timestamp::from_second(second).expect("a time");
    let soak = |key: &str, since: Option<i64>| Record::Soak {
        hold: Address::new("hold", "wave").with_key(key),
        since: since.map(at),
    };
    let write = |run: &str, records: &[Record]| {
        JournalFile::create(&runs.join(run)).expect("made").append(records).expect("written");
    };
    let tried = |id, attempts| {
        let said = vec!["no".to_owned(); attempts as usize];
        Record::Tried { container: container(id), tried: Tried { attempts, said } }
    };
    assert_eq!(Carried::read(&runs.join("none")), Carried::default());
    write("1", &[soak("old", Some(1)), tried(9, 1), Record::Ended]);
    write(
        "2",
        &[
            Record::Carried,
            soak("a", Some(10)),
            intent(1),
            soak("b", Some(20)),
            tried(1, 1),
            tried(2, 1),
            Record::Ended,
        ],
    );
    pack(runs, "2", 5, Timestamp::MIN).expect("packed");
    write("3", &[soak("b", None), soak("c", Some(30)), tried(1, 2), tried(2, 0)]);
    let found = Carried::read(runs);
    let soaks: Vec<_> = found.soaks.iter().map(|(a, t)| (a.key.as_deref().expect("keyed"), *t)).collect();
    assert_eq!(soaks, [("a", at(10)), ("c", at(30))], "what stands before the mark of all is old");
    assert_eq!(found.tries.iter().map(|(c, t)| (c.id, t.attempts)).collect::<Vec<_>>(), [(1, 2)]);
    write("4", &found.records().collect::<Vec<_>>());
    fs::remove_dir_all(runs.join("3")).expect("removed");
    assert_eq!(Carried::read(runs), found, "the next run has all of it");
}

#[test]
fn what_the_state_holds_is_not_folded_again() {
    let records = [intent(1), verified(1), saved("s1", &[1]), intent(2), verified(2), intent(3)];
    let ids = |digest: &str| fold(&records, digest).verified.iter().map(|v| v.0.container.id).collect::<Vec<_>>();
    assert_eq!(ids("s1"), [2], "the checkpoint's state is on the disk");
    assert_eq!(ids("s0"), [1, 2], "the crash came before the state was replaced");
    let folded = fold(&records, "s1");
    assert_eq!(folded.doubts.keys().copied().collect::<Vec<_>>(), [container(3)]);
}

#[test]
fn a_run_that_froze_anything_in_two_days_is_kept_whatever_the_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = Utf8Path::from_path(folder.path()).expect("UTF-8");
    let at = |second| Timestamp::from_second(second).expect("a time");
    let thawed = |second| Record::Thawed { container: container(1), path: "p".into(), at: at(second), frozen_ms: 1 };
    let runs_of = [("1", vec![thawed(10)]), ("2", vec![thawed(10), thawed(100)]), ("3", vec![]), ("4", vec![])];
    for (run, mut records) in runs_of {
        records.push(Record::Ended);
        JournalFile::create(&runs.join(run)).expect("made").append(&records).expect("written");
        pack(runs, run, 1, at(100)).expect("packed");
    }
    let kept: Vec<String> =
        super::folders(runs).expect("read").iter().filter_map(|f| f.file_name().map(ToOwned::to_owned)).collect();
    assert_eq!(kept, ["2", "4"]);
}

#[test]
fn what_was_taken_up_before_is_not_folded_again_but_what_stays_in_doubt_is() {
    let began = || Record::Began { format: FORMAT, environment: "e".into() };
    let probe = Record::Probe {
        container: container(9),
        home: StorageName::new("home").expect("valid"),
        storage: StorageName::new("away").expect("valid"),
        back: false,
    };
    let closing = Record::Closing {
        wave: "w".into(),
        source: StorageName::new("old").expect("valid"),
        assignments: BTreeSet::new(),
        flying: BTreeSet::from([container(1), container(2)]),
    };
    let records = [began(), intent(1), intent(2), closing, probe, verified(1), began()];
    let folded = fold(&records, "s");
    assert_eq!((folded.verified.len(), folded.probes.len()), (0, 0));
    assert_eq!(folded.doubts.keys().copied().collect::<Vec<_>>(), [container(2)]);
    let flying: Vec<_> = folded.closing.values().map(|(_, flying)| flying.clone()).collect();
    assert_eq!(flying, [BTreeSet::from([container(2)])], "its wave waits for that one");
}
