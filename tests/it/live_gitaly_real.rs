//! The adapter against a real `gitaly`, when there is one on PATH (with `git`); skipped loudly otherwise.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tranship::apply::port::{Gitaly as _, PortErrorKind as Kind};
use tranship::live::gitaly::GrpcGitaly;
use tranship::model::Scheme;

use crate::live_fake::skipped;
use crate::live_gitaly::{storage, target};

/// Ends the server with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "t")
        .env("GIT_AUTHOR_EMAIL", "t@example.com")
        .env("GIT_COMMITTER_NAME", "t")
        .env("GIT_COMMITTER_EMAIL", "t@example.com")
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[tokio::test]
async fn a_real_gitaly_is_understood() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let Some(version) = run("gitaly", &["--version"], root) else {
        skipped("no gitaly on PATH; the adapter is tested against doubles only");
        return;
    };
    let git = run("sh", &["-c", "command -v git"], root).expect("git is on PATH");
    let gitaly = run("sh", &["-c", "command -v gitaly"], root).expect("just ran");
    let bin = Path::new(&gitaly).parent().expect("a folder").display().to_string();
    for name in ["storage", "runtime", "shell", "work"] {
        std::fs::create_dir(root.join(name)).expect("a folder");
    }
    std::fs::write(root.join("secret"), "x").expect("written");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address").port()
    };
    let at = |name: &str| root.join(name).display().to_string();
    let config = format!(
        "listen_addr = \"127.0.0.1:{port}\"\nbin_dir = \"{bin}\"\nruntime_dir = \"{}\"\n\n[auth]\ntoken = \"the-token\"\n\n\
         [git]\nbin_path = \"{git}\"\n\n[[storage]]\nname = \"default\"\npath = \"{}\"\n\n\
         [gitlab]\nurl = \"http://127.0.0.1:1\"\nsecret_file = \"{}\"\n\n[gitlab-shell]\ndir = \"{}\"\n",
        at("runtime"),
        at("storage"),
        at("secret"),
        at("shell"),
    );
    std::fs::write(root.join("config.toml"), config).expect("written");

    // One commit, a tag, and a name that is not under the usual namespaces.
    let work = root.join("work");
    for arguments in [
        &["init", "--quiet", "--initial-branch=main", "."][..],
        &["commit", "--quiet", "--allow-empty", "-m", "one"],
        &["tag", "v1"],
        &["update-ref", "refs/custom/x", "HEAD"],
    ] {
        run("git", arguments, &work).expect("git works");
    }
    let tip = run("git", &["rev-parse", "HEAD"], &work).expect("a commit");
    std::fs::create_dir_all(root.join("storage/@hashed/aa/bb")).expect("folders");
    let bare = at("storage/@hashed/aa/bb/r.git");
    run("git", &["clone", "--quiet", "--mirror", ".", &bare], &work).expect("git works");

    let _server = Server(
        Command::new("gitaly")
            .arg("serve")
            .arg(root.join("config.toml"))
            .env("GITALY_TESTING_NO_GIT_HOOKS", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gitaly starts"),
    );
    let address = format!("127.0.0.1:{port}");
    let client = |token| {
        let targets = BTreeMap::from([(storage("default"), target(Scheme::Tcp, &address, token, None))]);
        GrpcGitaly::new(&targets).expect("valid")
    };
    let (gitaly, default, path) = (client(Some("the-token\n")), storage("default"), "@hashed/aa/bb/r.git");
    let mut server = gitaly.server(&default).await;
    for _ in 0..10 {
        if server.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        server = gitaly.server(&default).await;
    }
    let server = server.unwrap_or_else(|e| panic!("{version} does not answer: {e}"));
    assert!(server.readable && server.writeable && !server.filesystem_id.is_empty(), "{server:?}");
    assert!(gitaly.disk(&default).await.expect("well").is_some());
    assert!(gitaly.exists(&default, path).await.expect("well"));
    assert!(!gitaly.exists(&default, "@hashed/no.git").await.expect("well"));
    let references = gitaly.references(&default, path).await.expect("well");
    let names: Vec<_> = references.iter().map(tranship::model::Reference::printable).collect();
    assert_eq!(names, ["HEAD", "refs/custom/x", "refs/heads/main", "refs/tags/v1"]);
    assert!(references.iter().all(|r| r.target == tip));
    assert_eq!(gitaly.head(&default, path).await.expect("well").as_deref(), Some(&b"refs/heads/main"[..]));
    assert_eq!(gitaly.object_format(&default, path).await.expect("well").as_deref(), Some("sha1"));
    assert!(!gitaly.checksum(&default, path).await.expect("well").is_empty());
    assert!(gitaly.size(&default, path).await.expect("well").0 > 0);
    assert_eq!(gitaly.walk(&default).await.expect("well"), [path]);
    let ids = [tip, "0".repeat(40)];
    assert_eq!(gitaly.objects_exist(&default, path, &ids).await.expect("well"), [true, false]);
    let absent = gitaly.references(&default, "@hashed/no.git").await.expect_err("absent");
    assert_eq!(absent.kind, Kind::NotFound);
    for token in [None, Some("another")] {
        assert_eq!(client(token).server(&default).await.expect_err("refused").kind, Kind::Unauthenticated);
    }
}
