use super::*;
use crate::model::{Bytes, Unlisted};

fn name(text: &str) -> StorageName {
    StorageName::new(text).expect("name")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_600_000 + second).expect("a time")
}

fn repository(kind: ContainerKind, id: u64, storage: &str) -> Repository {
    let project = kind == ContainerKind::Project;
    Repository {
        container: Container { kind, id },
        path: format!("web/\"p\"\u{202e}{id}").into(),
        storage: name(storage),
        size: id.is_multiple_of(2).then_some(Bytes(id * 1000)),
        archived: project.then_some(id.is_multiple_of(3)),
        empty: project.then_some(false),
        fork_parent: id.is_multiple_of(5).then_some(1),
        last_activity: Some(-5),
        created: None,
    }
}

fn some() -> Inventory {
    let mut repositories: Vec<_> =
        (1..=25_000).map(|id| repository(ContainerKind::Project, id, if id % 2 == 0 { "a" } else { "b" })).collect();
    repositories.extend((1..=3).map(|id| repository(ContainerKind::Snippet, id, "a")));
    let facts = ListFacts {
        unlisted: [(ContainerKind::GroupWiki, Unlisted::Failed("500".into()))].into(),
        unreadable: vec![Unreadable {
            kind: ContainerKind::Project,
            ids: Some((7, 7)),
            place: None,
            cause: "500".into(),
        }],
    };
    let lists = [(name("a"), facts), (name("b"), ListFacts::default())].into();
    let origin = Origin { gitlab: "https://x".into(), environment: "e".into(), began: at(0), ended: at(9) };
    Inventory { origin, lists, repositories }
}

fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().expect("tempdir");
    let file = path(Utf8Path::from_path(folder.path()).expect("UTF-8"), "e");
    fs_err::create_dir_all(file.parent().expect("a folder")).expect("made");
    (folder, file)
}

fn written(file: &Utf8Path, inventory: &Inventory) {
    write(file, &inventory.origin, &inventory.lists, &inventory.repositories).expect("written");
}

fn message(file: &Utf8Path) -> String {
    let error = read(file).expect_err("refused");
    assert!(!error.help.is_empty());
    error.message
}

#[test]
fn an_inventory_comes_back_as_it_was() {
    let (_guard, file) = folder();
    let inventory = some();
    written(&file, &inventory);
    assert_eq!(read(&file).expect("whole"), inventory);
    let text = fs_err::read_to_string(&file).expect("text");
    assert_eq!(text.lines().count(), 25_003 + 4 + 1, "a line each, four blocks, and the head");
    assert!(text.len() < 25_003 * 60, "{}", text.len());
    let before = text;
    written(&file, &inventory);
    assert_eq!(fs_err::read_to_string(&file).expect("text"), before, "the same bytes");
}

#[test]
fn what_was_moved_since_is_known_and_only_in_whole_lines() {
    let (_guard, file) = folder();
    let mut inventory = some();
    written(&file, &inventory);
    let of = |kind, id| Container { kind, id };
    let moved: BTreeMap<_, _> =
        [(of(ContainerKind::Project, 2), name("new")), (of(ContainerKind::Snippet, 3), name("b"))].into();
    append_moved(&file, &moved).expect("appended");
    append_moved(&file, &[(of(ContainerKind::Project, 2), name("b"))].into()).expect("appended");
    append_moved(&file.with_extension("absent"), &moved).expect("none to tell");
    inventory.moved(&moved);
    inventory.moved(&[(of(ContainerKind::Project, 2), name("b"))].into());
    assert_eq!(read(&file).expect("whole"), inventory);
    let text = fs_err::read_to_string(&file).expect("text");
    fs_err::write(&file, &text[..text.len() - 4]).expect("cut");
    assert!(message(&file).contains("line 25010: the file ends in the middle"), "{}", message(&file));
    fs_err::write(&file, text.replace("\"project-2\":\"new\"", "\"project-4\":\"new\"")).expect("changed");
    assert!(message(&file).contains("line 25009") && message(&file).contains("damaged"), "{}", message(&file));
}

#[test]
fn every_damage_is_told_with_its_line() {
    let (_guard, file) = folder();
    written(&file, &some());
    let text = fs_err::read_to_string(&file).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    let with = |text: &str| {
        fs_err::write(&file, text).expect("written");
        message(&file)
    };
    assert!(with("").contains("line 1: the file is empty"));
    assert!(with("hello\n").contains("line 1: this is no inventory"));
    assert!(with("{}\n").contains("no `inventory`"));
    assert!(with(&text.replacen("{\"inventory\":1", "{\"inventory\":2", 1)).contains("newer"));
    assert!(with(&text.replacen("\"environment\":\"e\"", "\"environment\":\"f\"", 1)).contains("the head was changed"));
    assert!(
        with(&format!("{}\n", lines[..500].join("\n")))
            .contains("line 501: the file was cut short: 498 of the 10000 projects announced in line 2")
    );
    assert!(with(&text[..5000]).contains("ends in the middle of this line"));
    // A whole block is missing at the end.
    assert!(
        with(&format!("{}\n", lines[..10_002].join("\n")))
            .contains("10000 of the 25003 repositories announced in line 1")
    );
    let digit = text.replacen("[77,", "[78,", 1);
    assert!(with(&digit).contains("line 2: this block, to line 10002, was changed"), "{}", message(&file));
    assert!(
        with(&text.replacen("\n[77,", "\n[-,", 1)).contains("line 79: this is no repository"),
        "{}",
        message(&file)
    );
    let long = text.replacen("[77,", &format!("[77,{}", " ".repeat(70_000)), 1);
    assert!(with(&long).contains("line 79: the line is too long"));
    let error = read(&file.with_extension("absent")).expect_err("none");
    assert!(error.help.contains("tranship plan"), "{error:?}");
}

#[test]
fn a_foreign_inventory_is_refused() {
    let (_guard, file) = folder();
    let inventory = some();
    let check = |gitlab: &str, environment: &str, storages: &[&str]| {
        let storages = storages.iter().map(|s| name(s)).collect();
        inventory.check(&file, gitlab, environment, &storages).map_err(|e| e.message)
    };
    assert_eq!(check("https://x", "e", &["a", "b"]), Ok(()));
    assert!(check("https://y", "e", &["a"]).expect_err("another").contains("of GitLab \"https://x\""));
    assert!(check("https://x", "f", &["a"]).expect_err("another").contains("of environment \"e\""));
    assert!(check("https://x", "e", &["a", "c", "d"]).expect_err("too little").contains("lacks what is on c, d"));
}

/// Reads two lists of 250 each as the adapter would, by pages of 100, and stops after so many pages.
fn list(draft: &Draft, most: usize) -> (Vec<Repository>, usize) {
    let (mut all, mut pages) = (Vec::new(), 0);
    for storage in ["a", "b"] {
        let mut at = Some(Cursor::START);
        if let Some(taken) = draft.take(&name(storage), ContainerKind::Project) {
            all.extend(taken.found);
            at = taken.next;
        }
        while let Some(cursor) = at {
            if pages == most {
                return (all, pages);
            }
            pages += 1;
            let found: Vec<_> = (cursor.after + 1..=250.min(cursor.after + 100))
                .map(|n| repository(ContainerKind::Project, n * 2 + u64::from(storage == "b"), storage))
                .collect();
            at = (cursor.after < 200).then_some(Cursor { after: cursor.after + 100, ..cursor });
            draft.page(&name(storage), ContainerKind::Project, &found, &[], at);
            all.extend(found);
        }
    }
    (all, pages)
}

fn begin(file: &Utf8Path, environment: &str, now: Timestamp) -> Draft {
    Draft::begin(file, "https://x", environment, vec![name("b"), name("a"), name("b")], now)
}

#[test]
fn an_interrupted_listing_goes_on_where_it_stopped() {
    for most in 0..=6 {
        let (_guard, file) = folder();
        let (_, pages) = list(&begin(&file, "e", at(0)), most);
        let draft = begin(&file, "e", at(60));
        assert_eq!((pages, draft.resumed()), (most, most > 0));
        assert_eq!(draft.began(), if most == 0 { draft.began() } else { at(0) });
        let (mut all, pages) = list(&draft, 99);
        assert_eq!(pages, 6 - most, "no page is read twice");
        all.sort_by_key(|r| r.container);
        all.dedup_by_key(|r| r.container);
        assert_eq!(all.len(), 500);
        let lists = [(name("a"), ListFacts::default()), (name("b"), ListFacts::default())].into();
        assert_eq!(draft.finish(at(70), &lists, &all), None);
        let read = read(&file).expect("whole");
        assert_eq!((read.repositories, read.origin.ended), (all, at(70)));
        assert!(!Utf8PathBuf::from(format!("{file}.part")).exists());
    }
}

#[test]
fn a_torn_end_costs_its_page_and_no_more() {
    let (_guard, file) = folder();
    list(&begin(&file, "e", at(0)), 4);
    let part = Utf8PathBuf::from(format!("{file}.part"));
    let bytes = fs_err::read(&part).expect("there");
    let head = bytes.iter().position(|b| *b == b'\n').expect("a line") + 1;
    for end in (head..bytes.len()).step_by(997).chain([head, bytes.len() - 1]) {
        fs_err::write(&part, &bytes[..end]).expect("cut");
        let draft = begin(&file, "e", at(60));
        let (mut all, pages) = list(&draft, 99);
        assert!(pages <= 6, "{pages}");
        all.sort_by_key(|r| r.container);
        all.dedup_by_key(|r| r.container);
        assert_eq!(all.len(), 500, "cut at {end}");
    }
    fs_err::write(&part, &bytes[..head - 5]).expect("cut");
    assert!(!begin(&file, "e", at(60)).resumed());
}

#[test]
fn another_or_an_old_listing_is_begun_anew_and_two_do_not_write_one_file() {
    let (_guard, file) = folder();
    list(&begin(&file, "e", at(0)), 3);
    assert!(!begin(&file, "e", at(13 * 3600)).resumed(), "too old");
    list(&begin(&file, "e", at(0)), 3);
    assert!(!begin(&file, "other", at(1)).resumed());
    let first = begin(&file, "e", at(0));
    let second = begin(&file, "e", at(0));
    assert!(!second.resumed());
    list(&second, 99);
    assert_eq!(second.finish(at(1), &BTreeMap::new(), &[]), None);
    assert!(!file.exists(), "who came second writes nothing");
    list(&first, 99);
    assert_eq!(first.finish(at(1), &BTreeMap::new(), &[]), None);
    assert!(file.exists());
    assert!(message(Utf8Path::new("/proc/self/mem")).contains("cannot be read"));
}
