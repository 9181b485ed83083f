//! A temporary folder to run `tranship` in, without anything of the machine's own settings. Fleets that were started in
//! it are ended with it.

use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

use super::project;

/// A folder of its own for one test.
pub(crate) struct Home {
    guard: tempfile::TempDir,
    in_memory: bool,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; -1 for a signal.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Home {
    /// An empty home.
    pub(crate) fn new() -> Self {
        let home = Self {
            guard: tempfile::Builder::new().prefix("tranship-it-").tempdir().expect("a temporary folder"),
            in_memory: false,
        };
        fs_err::create_dir_all(home.root().join("bin")).expect("bin");
        fs_err::create_dir_all(home.path()).expect("home");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tranship"), home.root().join("bin/tranship")).expect("tranship");
        // The documentation says `cargo run --release -- …`; here that is the binary under test.
        let shim = home.root().join("bin/cargo");
        fs_err::write(&shim, "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec tranship \"$@\"\n")
            .expect("shim");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&shim, mode).expect("mode");
        home
    }

    /// The same, with fleets within each command's own process.
    pub(crate) fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// A home that is a copy of an example.
    pub(crate) fn of_example(name: &str) -> Self {
        let home = Self::new();
        copy(&project().join("examples").join(name), &home.path());
        home
    }

    /// A home that has all examples below `examples/`, as a clone of the project has.
    pub(crate) fn of_project() -> Self {
        let home = Self::new();
        copy(&project().join("examples"), &home.path().join("examples"));
        home
    }

    /// Where commands run.
    pub(crate) fn path(&self) -> Utf8PathBuf {
        self.root().join("home")
    }

    fn root(&self) -> &Utf8Path {
        Utf8Path::from_path(self.guard.path()).expect("UTF-8")
    }

    /// Writes a file below the home.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs_err::write(path, content).expect("written");
    }

    /// Reads a file below the home.
    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path().join(name)).expect("a file")
    }

    /// Runs a shell command.
    pub(crate) fn sh(&self, script: &str) -> Output {
        finish(self.command("sh").args(["-c", script]))
    }

    /// Runs `tranship`.
    pub(crate) fn tranship(&self, arguments: &[&str]) -> Output {
        finish(self.command(env!("CARGO_BIN_EXE_tranship")).args(arguments))
    }

    /// A command of this home, without terminal.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut path = std::ffi::OsString::from(self.root().join("bin").as_str());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs([("HOME", self.path().as_str()), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("USER", "tester")])
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .envs([("GIT_AUTHOR_NAME", "t"), ("GIT_AUTHOR_EMAIL", "t@example.com")])
            .envs([("GIT_COMMITTER_NAME", "t"), ("GIT_COMMITTER_EMAIL", "t@example.com")])
            .env("PATH", path)
            .current_dir(self.path())
            .stdin(Stdio::null());
        if self.in_memory {
            command.env("TRANSHIP_SANDBOX", "memory");
        }
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.in_memory {
            return;
        }
        let mut folders = vec![self.path()];
        if let Ok(examples) = self.path().join("examples").read_dir_utf8() {
            folders.extend(examples.flatten().map(camino::Utf8DirEntry::into_path));
        }
        for folder in folders.iter().filter(|folder| folder.join(".tranship/sandbox").exists()) {
            let _ =
                finish(self.command(env!("CARGO_BIN_EXE_tranship")).args(["-C", folder.as_str(), "sandbox", "reset"]));
        }
    }
}

fn finish(command: &mut Command) -> Output {
    let output = command.output().expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Copies a folder, but for what runs leave there.
fn copy(from: &Utf8Path, to: &Utf8Path) {
    fs_err::create_dir_all(to).expect("a folder");
    for entry in from.read_dir_utf8().expect("an example") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        if name == ".tranship" || name == "tranship.state.json" {
            continue;
        }
        if entry.file_type().expect("a type").is_dir() {
            copy(entry.path(), &to.join(name));
        } else {
            fs_err::copy(entry.path(), to.join(name)).expect("copied");
        }
    }
}
