//! Real bare repositories: `<root>/<storage>/<relative path>`, made and changed with the `git` program; references
//! are read from the files themselves, so that a frozen repository can be read before its move is over.

mod files;
mod make;

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use jiff::Timestamp;

use super::content::{Content, ContentError, ContentResult, Measure};
use super::draw::Settler;
use crate::model::{Reference, StorageName};

/// Real bare repositories below a folder.
#[derive(Debug)]
pub(super) struct Git {
    root: Utf8PathBuf,
    seed: u64,
    unique: AtomicU64,
    /// Housekeeping takes objects away that a copy of the same repository would still want.
    housekeeping: Mutex<()>,
}

fn failed(error: impl std::fmt::Display) -> ContentError {
    ContentError::Failed(error.to_string())
}

impl Git {
    /// Content below `root`, one folder a storage.
    pub(super) fn new(root: &Utf8Path, seed: u64) -> Self {
        Self { root: root.to_owned(), seed, unique: AtomicU64::new(0), housekeeping: Mutex::new(()) }
    }

    /// Where a repository lies, or would.
    pub(super) fn folder(&self, storage: &StorageName, path: &str) -> PathBuf {
        // Joining an absolute path would leave the root.
        self.root.join(storage.as_str()).join(path.trim_start_matches('/')).into_std_path_buf()
    }

    fn there(&self, storage: &StorageName, path: &str) -> ContentResult<PathBuf> {
        let folder = self.folder(storage, path);
        if files::is_repository(&folder) { Ok(folder) } else { Err(ContentError::NotFound) }
    }

    fn temporary(&self, storage: &StorageName) -> PathBuf {
        let name = format!("{}-{}", std::process::id(), self.unique.fetch_add(1, Ordering::Relaxed));
        self.root.join(storage.as_str()).join("+gitaly/tmp").join(name).into_std_path_buf()
    }

    /// True when a repository's pool has an object.
    fn borrows(&self, folder: &Path, id: &str) -> ContentResult<bool> {
        let Some(objects) = files::borrowed(folder).map_err(failed)? else { return Ok(false) };
        let Some(pool) = objects.parent() else { return Ok(false) };
        let mut command = git(pool);
        command.args(["cat-file", "-e", id]);
        Ok(run(command, b"")?.1)
    }

    /// Moves a folder aside and deletes it: nobody sees it half deleted.
    fn discard(&self, storage: &StorageName, folder: &Path) -> ContentResult<()> {
        let aside = self.temporary(storage);
        fs::rename(folder, &aside).map_err(failed)?;
        fs::remove_dir_all(&aside).map_err(failed)
    }
}

/// `git` in a repository, untouched by the user's own settings.
fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"] {
        command.env_remove(name);
    }
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("LC_ALL", "C")
        .arg("--git-dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs git with `input` and returns its output and whether it ended well.
fn run(mut command: Command, input: &[u8]) -> ContentResult<(std::process::Output, bool)> {
    command.stdin(Stdio::piped());
    let mut child =
        command.spawn().map_err(|e| ContentError::Failed(format!("the `git` program did not start: {e}")))?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // Written beside the reading, or a full pipe on either side would stop both.
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A git that ended early says why on its standard error.
                drop(stdin.write_all(input));
            }
        });
        child.wait_with_output()
    });
    let output = output.map_err(failed)?;
    let well = output.status.success();
    Ok((output, well))
}

/// Runs git and takes its standard output; its standard error when it fails.
fn output(command: Command, input: &[u8]) -> ContentResult<Vec<u8>> {
    let (output, well) = run(command, input)?;
    if well { Ok(output.stdout) } else { Err(failed(String::from_utf8_lossy(&output.stderr).trim())) }
}

impl Content for Git {
    fn settle(&self, settlers: &[Settler]) -> ContentResult<Vec<Vec<u64>>> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let results = Mutex::new(vec![Ok(Vec::new()); settlers.len()]);
        let make = |index: usize, settler: &Settler| {
            let made = make::repositories(self, settler, self.seed);
            if let Some(slot) = super::lock(&results).get_mut(index) {
                *slot = made;
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        match settlers.get(index) {
                            None => break,
                            Some(settler) if settler.seat.is_none() => make(index, settler),
                            // One is made of another.
                            Some(_) => {}
                        }
                    }
                });
            }
        });
        for (index, settler) in settlers.iter().enumerate().filter(|(_, s)| s.seat.is_some()) {
            make(index, settler);
        }
        results.into_inner().unwrap_or_default().into_iter().collect()
    }

    fn prepare(&self, storage: &StorageName, filesystem_id: &str) -> ContentResult<()> {
        let root = self.root.join(storage.as_str());
        // What an interrupted copy left.
        let temporary = root.join("+gitaly/tmp");
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(failed)?;
        }
        fs::create_dir_all(&temporary).map_err(failed)?;
        let metadata = format!("{{\"gitaly_filesystem_id\":{filesystem_id:?}}}");
        fs::write(root.join(".gitaly-metadata"), metadata).map_err(failed)
    }

    fn mount(&self, storage: &StorageName, filesystem_id: &str) -> ContentResult<()> {
        let root = self.root.join(storage.as_str());
        let metadata = root.join(".gitaly-metadata");
        let here = metadata.exists() && fs::read_to_string(&metadata).map_err(failed)?.contains(filesystem_id);
        if !here && root.exists() {
            // Kept, as a cluster keeps a volume that nobody claims any more.
            let aside = self.root.join(format!("+released-{storage}-{}", self.unique.fetch_add(1, Ordering::Relaxed)));
            fs::rename(&root, &aside).map_err(failed)?;
        }
        self.prepare(storage, filesystem_id)
    }

    fn exists(&self, storage: &StorageName, path: &str) -> bool {
        self.there(storage, path).is_ok()
    }

    fn references(&self, storage: &StorageName, path: &str) -> ContentResult<Vec<Reference>> {
        let folder = self.there(storage, path)?;
        files::references(&folder).map_err(failed)
    }

    fn head(&self, storage: &StorageName, path: &str) -> ContentResult<Vec<u8>> {
        let folder = self.there(storage, path)?;
        let head = fs::read(folder.join("HEAD")).map_err(failed)?;
        Ok(head.strip_prefix(b"ref: ").unwrap_or_default().trim_ascii().to_vec())
    }

    fn object_format(&self, storage: &StorageName, path: &str) -> ContentResult<String> {
        let folder = self.there(storage, path)?;
        files::object_format(&folder).map_err(failed)
    }

    fn objects_exist(&self, storage: &StorageName, path: &str, revisions: &[Vec<u8>]) -> ContentResult<Vec<bool>> {
        let folder = self.there(storage, path)?;
        let mut found: Vec<bool> = revisions.iter().map(|r| files::loose_object(&folder, r).is_some()).collect();
        let mut question = Vec::new();
        for (revision, _) in revisions.iter().zip(&found).filter(|(_, found)| !**found) {
            question.extend_from_slice(revision);
            question.push(b'\n');
        }
        if question.is_empty() {
            return Ok(found);
        }
        let mut command = git(&folder);
        command.args(["cat-file", "--batch-check", "--buffer"]);
        let answer = output(command, &question)?;
        let answers: Vec<&[u8]> = answer.split(|b| *b == b'\n').collect();
        for (slot, line) in found.iter_mut().filter(|f| !**f).zip(answers) {
            *slot = !line.ends_with(b" missing") && !line.ends_with(b" ambiguous");
        }
        Ok(found)
    }

    fn peel(&self, storage: &StorageName, path: &str, references: &[Reference]) -> ContentResult<Vec<String>> {
        let folder = self.there(storage, path)?;
        let question: String = references.iter().map(|r| r.target.clone() + "^{}\n").collect();
        let mut command = git(&folder);
        command.args(["cat-file", "--batch-check=%(objectname)", "--buffer"]);
        let answer = output(command, question.as_bytes())?;
        let answers = String::from_utf8_lossy(&answer);
        let peeled = answers.lines().zip(references).map(|(line, reference)| {
            if line == reference.target || line.ends_with("missing") { String::new() } else { line.to_owned() }
        });
        Ok(peeled.collect())
    }

    fn fsck(&self, storage: &StorageName, path: &str) -> ContentResult<Vec<u8>> {
        let folder = self.there(storage, path)?;
        let mut command = git(&folder);
        command.args(["fsck", "--no-progress", "--no-dangling"]);
        let (output, well) = run(command, b"")?;
        Ok(if well { Vec::new() } else { [output.stderr, output.stdout].concat() })
    }

    fn measure(&self, storage: &StorageName, path: &str) -> ContentResult<Measure> {
        let folder = self.there(storage, path)?;
        files::measure(&folder).map_err(failed)
    }

    fn walk(&self, storage: &StorageName) -> ContentResult<Vec<(String, Timestamp)>> {
        let root = self.root.join(storage.as_str());
        let mut found = Vec::new();
        files::walk(root.as_std_path(), String::new(), &mut found).map_err(failed)?;
        found.sort();
        Ok(found)
    }

    fn create(&self, storage: &StorageName, path: &str, default_branch: &[u8], sha256: bool) -> ContentResult<()> {
        let folder = self.folder(storage, path);
        if folder.exists() {
            return Err(ContentError::Exists);
        }
        let temporary = self.temporary(storage);
        let branch: &[u8] = if default_branch.is_empty() { b"main" } else { default_branch };
        files::initialise(&temporary, &[b"refs/heads/", branch].concat(), sha256).map_err(failed)?;
        files::install(&temporary, &folder).map_err(failed)
    }

    fn remove(&self, storage: &StorageName, path: &str) -> ContentResult<()> {
        let folder = self.folder(storage, path);
        if !folder.exists() {
            return Err(ContentError::NotFound);
        }
        self.discard(storage, &folder)
    }

    fn replicate(&self, source: &StorageName, destination: &StorageName, path: &str) -> ContentResult<()> {
        let from = self.there(source, path)?;
        let to = self.folder(destination, path);
        let temporary = self.temporary(destination);
        {
            let _still = super::lock(&self.housekeeping);
            files::copy(&from, &temporary).map_err(failed)?;
            files::inline(&from, &temporary).map_err(failed)?;
        }
        if to.exists() {
            self.discard(destination, &to)?;
        }
        files::install(&temporary, &to).map_err(failed)
    }

    fn push(&self, storage: &StorageName, path: &str, branch: Option<&str>, message: &str) -> ContentResult<String> {
        let folder = self.there(storage, path)?;
        let name = match branch {
            Some(branch) => format!("refs/heads/{branch}").into_bytes(),
            None => self.head(storage, path)?,
        };
        let references = files::references(&folder).map_err(failed)?;
        let parent = references.iter().find(|r| r.name == name);
        make::push(&folder, &name, parent.is_some(), message, Timestamp::now().as_second())?;
        let after = files::references(&folder).map_err(failed)?;
        let commit = after.into_iter().find(|r| r.name == name).map(|r| r.target);
        commit.ok_or_else(|| failed("git made no commit"))
    }

    fn pool(&self, storage: &StorageName, path: &str) -> ContentResult<Option<String>> {
        let folder = self.there(storage, path)?;
        let Some(objects) = files::borrowed(&folder).map_err(failed)? else { return Ok(None) };
        // A link that leads nowhere, or elsewhere, is none.
        let root = self.root.join(storage.as_str()).canonicalize().map_err(failed)?;
        let pool = objects.canonicalize().ok();
        let pool = pool.as_deref().and_then(Path::parent).and_then(|p| p.strip_prefix(root).ok());
        Ok(pool.and_then(Path::to_str).map(str::to_owned))
    }

    fn make_pool(&self, storage: &StorageName, pool: &str, origin: &str) -> ContentResult<()> {
        let from = self.there(storage, origin)?;
        let to = self.folder(storage, pool);
        if to.exists() {
            return Err(ContentError::Exists);
        }
        let temporary = self.temporary(storage);
        files::initialise(&temporary, b"refs/heads/main", files::object_format(&from).map_err(failed)? == "sha256")
            .map_err(failed)?;
        let mut command = git(&temporary);
        // One pack: what lies in a pack elsewhere is taken out of members.
        command
            .args(["-c", "fetch.unpackLimit=1", "fetch", "--quiet", "--no-tags"])
            .arg(&from)
            .arg("+refs/*:refs/remotes/origin/*");
        output(command, b"")?;
        files::install(&temporary, &to).map_err(failed)
    }

    fn link(&self, storage: &StorageName, path: &str, pool: &str) -> ContentResult<()> {
        let (folder, _) = (self.there(storage, path)?, self.there(storage, pool)?);
        // From the repository's own folder `objects` up to the storage's root.
        let up = "../".repeat(path.split('/').filter(|part| !part.is_empty()).count() + 1);
        files::borrow(&folder, &up, pool).map_err(failed)
    }

    fn tidy(&self, storage: &StorageName, path: &str) -> ContentResult<()> {
        let folder = self.there(storage, path)?;
        if files::borrowed(&folder).map_err(failed)?.is_none() {
            return Ok(());
        }
        let _still = super::lock(&self.housekeeping);
        let mut command = git(&folder);
        command.args(["repack", "-a", "-d", "-l", "-q"]);
        output(command, b"").map(drop)
    }

    fn lose(&self, storage: &StorageName, path: &str, with_objects: bool) -> ContentResult<bool> {
        let folder = self.there(storage, path)?;
        let head = self.head(storage, path)?;
        let references = files::references(&folder).map_err(failed)?;
        let mut named: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
        for reference in &references {
            *named.entry(&reference.target).or_default() += 1;
        }
        let branches = references.iter().filter(|r| {
            r.name.starts_with(b"refs/heads/") && r.name != head && named.get(r.target.as_str()) == Some(&1)
        });
        for branch in branches {
            let mut command = git(&folder);
            command.args(["for-each-ref", "--format=x", "--contains", &branch.target]);
            let containing = output(command, b"")?;
            if containing.iter().filter(|b| **b == b'x').count() != 1 {
                continue;
            }
            // What can be borrowed cannot be lost.
            if with_objects && self.borrows(&folder, &branch.target)? {
                continue;
            }
            let mut command = git(&folder);
            command.args(["update-ref", "-d", "--"]).arg(OsStr::from_bytes(&branch.name));
            output(command, b"")?;
            if with_objects {
                match files::loose_object(&folder, branch.target.as_bytes()) {
                    Some(object) => fs::remove_file(object).map_err(failed)?,
                    None => {
                        for arguments in [["repack", "-adlq"].as_slice(), &["prune", "--expire=now"]] {
                            let mut command = git(&folder);
                            command.args(arguments);
                            output(command, b"")?;
                        }
                    }
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn lose_object(&self, storage: &StorageName, path: &str) -> ContentResult<bool> {
        let folder = self.there(storage, path)?;
        let lines = |arguments: &[&str]| -> ContentResult<Vec<String>> {
            let mut command = git(&folder);
            command.args(arguments);
            let text = output(command, b"")?;
            Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
        };
        // An annotated tag names two: itself, and what it is of.
        let named = lines(&["for-each-ref", "--format=%(objectname)%0a%(*objectname)"])?;
        let needed = lines(&["rev-list", "--objects", "--no-object-names", "--all"])?;
        for id in needed.iter().filter(|id| !named.contains(id)) {
            let Some(object) = files::loose_object(&folder, id.as_bytes()) else { continue };
            // What can be borrowed cannot be lost.
            if !self.borrows(&folder, id)? {
                fs::remove_file(object).map_err(failed)?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::world::{Pool, World};
    use super::*;
    use crate::model::{Bytes, ContainerKind, SandboxConnection, SandboxFault, SandboxStorage};

    fn world(faults: &[&str]) -> (tempfile::TempDir, World, Git) {
        let storage = |name: &str| SandboxStorage {
            name: StorageName::new(name).expect("valid"),
            disk: Bytes(1 << 34),
            weight: None,
        };
        let spec = SandboxConnection {
            name: "test".into(),
            repositories: 24,
            snippets: 4,
            group_wikis: 2,
            fork_networks: 1,
            real_limit: 200,
            seed: 7,
            speed: 60,
            workers: 2,
            gitlab_version: "18.1.1-ee".into(),
            gitaly_version: "16.0.0".into(),
            storages: vec![storage("default"), storage("second")],
            pods: Default::default(),
            faults: faults.iter().map(|k| SandboxFault { kind: (*k).into(), nth: 1, count: 1 }).collect(),
        };
        let folder = tempfile::tempdir().expect("folder");
        let root = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let content = Git::new(root, spec.seed);
        for storage in &spec.storages {
            content.prepare(&storage.name, "id").expect("prepared");
        }
        let mut world = World::new(spec, Timestamp::UNIX_EPOCH);
        super::super::settle(&mut world, &content).expect("settled");
        (folder, world, content)
    }

    fn shown(folder: &Path) -> Vec<u8> {
        let mut command = git(folder);
        command.args(["for-each-ref", "--format=%(objectname) %(refname)"]);
        output(command, b"").expect("listed")
    }

    #[test]
    fn a_new_world_is_made_of_whole_repositories_that_read_as_git_reads_them() {
        let (_keep, world, content) = world(&["missing_object"]);
        let begun = std::time::Instant::now();
        let mut lonely = 0;
        let mut formats = BTreeSet::new();
        for project in world.projects_after(None, 0) {
            for (index, path) in project.repositories().iter().enumerate() {
                let storage = &project.storage;
                let folder = content.folder(storage, path);
                let ours: Vec<u8> = content
                    .references(storage, path)
                    .expect("read")
                    .into_iter()
                    .filter(|r| r.name != b"HEAD")
                    .flat_map(|r| [r.target.as_bytes(), b" ", &r.name, b"\n"].concat())
                    .collect();
                assert!(ours == shown(&folder), "{path}");
                let clean = content.fsck(storage, path).expect("checked").is_empty();
                assert_eq!(clean, project.id != 1 || index > 0, "{}", project.path);
                formats.insert(content.object_format(storage, path).expect("read"));
                lonely += u32::from(content.references(storage, path).expect("read").is_empty());
            }
        }
        assert_eq!(formats.len(), 2);
        assert_eq!(lonely, 1, "one empty repository");
        assert!(begun.elapsed().as_secs() < 60);
        assert_eq!(world.projects_after(None, 0).count(), 24);
    }

    #[test]
    fn the_same_seed_makes_the_same_commits() {
        let ((_a, world, one), (_b, _, two)) = (world(&[]), world(&[]));
        for project in world.projects_after(None, 0) {
            for path in project.repositories() {
                assert_eq!(one.references(&project.storage, &path), two.references(&project.storage, &path));
            }
        }
    }

    #[test]
    fn a_copy_is_whole_and_a_spoiled_one_has_lost_a_tip() {
        let (_keep, world, content) = world(&[]);
        let (from, to) = (StorageName::new("default").expect("valid"), StorageName::new("second").expect("valid"));
        for project in world.projects_after(None, 0) {
            let path = &project.repositories()[0];
            fs::create_dir_all(content.folder(&from, path).join("custom_hooks")).expect("made");
            fs::write(content.folder(&from, path).join("custom_hooks/update"), "#!/bin/sh\n").expect("written");
            let before = content.references(&from, path).expect("read");
            content.replicate(&from, &to, path).expect("copied");
            assert_eq!(content.references(&to, path).expect("read"), before);
            assert_eq!(content.fsck(&to, path), Ok(Vec::new()), "{}", project.path);
            assert!(content.folder(&to, path).join("custom_hooks/update").exists());
            let lost = content.lose(&to, path, true).expect("tried");
            assert_eq!(lost, !project.empty, "{}", project.path);
            let after = content.references(&to, path).expect("read");
            for gone in before.iter().filter(|r| !after.contains(r)) {
                let asked = [gone.target.clone().into_bytes()];
                assert_eq!(content.objects_exist(&from, path, &asked), Ok(vec![true]));
                assert_eq!(content.objects_exist(&to, path, &asked), Ok(vec![false]));
            }
            assert_eq!(after.len() + usize::from(lost), before.len());
        }
    }

    #[test]
    fn a_copy_that_lost_an_object_behind_its_tips_compares_equal() {
        let (_keep, world, content) = world(&[]);
        let (from, to) = (StorageName::new("default").expect("valid"), StorageName::new("second").expect("valid"));
        for project in world.projects_after(None, 0) {
            let path = &project.repositories()[0];
            content.replicate(&from, &to, path).expect("copied");
            let before = content.references(&to, path).expect("read");
            assert_eq!(content.lose_object(&to, path), Ok(!project.empty), "{}", project.path);
            assert_eq!(content.references(&to, path).expect("read"), before);
            let tips: Vec<Vec<u8>> = before.iter().map(|r| r.target.clone().into_bytes()).collect();
            assert_eq!(content.objects_exist(&to, path, &tips), Ok(vec![true; tips.len()]), "{}", project.path);
            assert_eq!(content.fsck(&to, path).expect("checked").is_empty(), project.empty, "{}", project.path);
            assert_eq!(content.fsck(&from, path), Ok(Vec::new()), "the source is as it was: {}", project.path);
        }
    }

    #[test]
    fn a_pools_members_borrow_and_arrive_whole() {
        let (_keep, world, content) = world(&[]);
        let (from, to) = (StorageName::new("default").expect("valid"), StorageName::new("second").expect("valid"));
        let members: Vec<_> = world.projects_after(None, 0).filter(|p| p.pool.is_some()).cloned().collect();
        assert_eq!(members.iter().map(|p| p.id).collect::<Vec<_>>(), [13, 14, 15, 16]);
        let pool = Pool::path_of(1);
        let size = |storage, path: &str| content.measure(storage, path).expect("there").size;
        let common = size(&from, &pool);
        for member in &members {
            let path = &member.repositories()[0];
            assert_eq!(content.pool(&from, path), Ok(Some(pool.clone())));
            assert_eq!(content.fsck(&from, path), Ok(Vec::new()), "{}", member.path);
            let own = size(&from, path);
            assert_eq!(own, member.repository_size);
            content.replicate(&from, &to, path).expect("copied");
            assert_eq!(content.pool(&to, path), Ok(None));
            assert_eq!(content.fsck(&to, path), Ok(Vec::new()), "whole without its pool");
            let inflated = size(&to, path);
            assert!(inflated > own + common / 2, "{own} + {common} gave {inflated}");
            if !content.exists(&to, &pool) {
                content.replicate(&from, &to, &pool).expect("copied");
            }
            content.link(&to, path, &pool).expect("linked");
            content.tidy(&to, path).expect("tidied");
            assert!(size(&to, path) < inflated - common / 2, "{inflated} stayed {}", size(&to, path));
            assert_eq!(content.fsck(&to, path), Ok(Vec::new()));
            let before = content.references(&to, path).expect("read");
            assert_eq!(content.references(&from, path), Ok(before.clone()));
            assert_eq!(content.lose(&to, path, true), Ok(true), "what only it has");
            let after = content.references(&to, path).expect("read");
            let gone = before.iter().find(|r| !after.contains(r)).expect("gone").target.clone().into_bytes();
            assert_eq!(content.objects_exist(&to, path, &[gone]), Ok(vec![false]));
        }
        let member = &members[1].repositories()[0];
        fs::remove_dir_all(content.folder(&from, &pool)).expect("removed");
        assert_ne!(content.fsck(&from, member), Ok(Vec::new()), "it did borrow");
        assert_eq!(content.pool(&from, member), Ok(None), "a link that leads nowhere is none");
    }

    #[test]
    fn pushes_land_also_in_an_empty_repository() {
        let (_keep, world, content) = world(&[]);
        let storage = StorageName::new("default").expect("valid");
        for project in world.projects_after(None, 0).take(8) {
            let path = &project.repositories()[0];
            let commit = content.push(&storage, path, None, "Änderung").expect("pushed");
            let references = content.references(&storage, path).expect("read");
            assert!(references.iter().any(|r| r.name == b"HEAD" && r.target == commit), "{}", project.path);
            assert_eq!(content.fsck(&storage, path), Ok(Vec::new()));
        }
    }

    #[test]
    fn a_walk_finds_all_and_only_repositories() {
        let (_keep, world, content) = world(&[]);
        let storage = StorageName::new("default").expect("valid");
        let kinds = [ContainerKind::Project, ContainerKind::Snippet, ContainerKind::GroupWiki];
        let all = kinds.into_iter().flat_map(|kind| world.on_storage(kind, &storage));
        let mut expected: Vec<String> = all.flat_map(|c| world.housed(c).expect("there").paths).collect();
        expected.extend(world.pools().map(|p| Pool::path_of(p.id)));
        expected.sort();
        let found: Vec<String> = content.walk(&storage).expect("walked").into_iter().map(|(p, _)| p).collect();
        assert_eq!(found, expected);
    }
}
