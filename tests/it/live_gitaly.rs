//! The adapter to Gitaly against a small Gitaly on loopback.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use tonic::{Code, Status};
use tranship::apply::port::{Gitaly as _, PortError, PortErrorKind as Kind};
use tranship::live::GitalyTarget;
use tranship::live::gitaly::{GrpcGitaly, bearer};
use tranship::model::{Bytes, Endpoint, Scheme, StorageName};

use crate::live_fake::{FakeGitaly, skipped};

const TOKEN: &str = "gitaly-canary-51c0d";

pub(crate) fn storage(name: &str) -> StorageName {
    StorageName::new(name).expect("valid")
}

pub(crate) fn target(scheme: Scheme, authority: &str, token: Option<&str>, ca: Option<&str>) -> GitalyTarget {
    GitalyTarget {
        endpoint: Endpoint { scheme, authority: authority.to_owned() },
        token: token.map(|t| SecretString::from(t.to_owned())),
        ca: ca.map(str::to_owned),
    }
}

fn client(names: &[&str], target: &GitalyTarget) -> GrpcGitaly {
    let targets: BTreeMap<_, _> = names.iter().map(|n| (storage(n), target.clone())).collect();
    GrpcGitaly::new(&targets).expect("valid").with_first_wait(Duration::from_millis(5))
}

fn clean(error: PortError) -> PortError {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(TOKEN), "{shown}");
    error
}

/// A CA and a certificate for 127.0.0.1, made by `openssl`; `None`, said loudly, without it. A server may use it at once.
pub(crate) fn certificate() -> Option<(String, tonic::transport::Identity)> {
    tranship::live::install_tls_provider();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let run = |arguments: &str| {
        let arguments: Vec<String> = arguments.split(' ').map(|a| a.replace('@', &file(""))).collect();
        let output = Command::new("openssl").args(arguments).output().ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(())
    };
    let made = run("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout @ca.key -out @ca.pem");
    if made.is_none() {
        skipped("no openssl on PATH, TLS is not tested");
        return None;
    }
    run("req -newkey rsa:2048 -nodes -subj /CN=test -keyout @key.pem -out @csr.pem")?;
    std::fs::write(file("san"), "subjectAltName=IP:127.0.0.1").expect("written");
    run("x509 -req -in @csr.pem -CA @ca.pem -CAkey @ca.key -CAcreateserial -days 2 -extfile @san -out @cert.pem")?;
    let read = |name| std::fs::read_to_string(file(name)).expect("read");
    Some((read("ca.pem"), tonic::transport::Identity::from_pem(read("cert.pem"), read("key.pem"))))
}

#[tokio::test]
async fn each_call_carries_a_token_of_its_own_time() {
    let fake = FakeGitaly::default();
    let address = fake.serve().await;
    let gitaly = client(&["default"], &target(Scheme::Tcp, &address, Some(TOKEN), None));
    let before = Timestamp::now().as_second();
    gitaly.server(&storage("default")).await.expect("well");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    gitaly.server(&storage("default")).await.expect("well");
    let after = Timestamp::now().as_second();
    let tokens = fake.tokens.lock().expect("unpoisoned").clone();
    let allowed: Vec<_> = (before..=after).map(|time| bearer(&SecretString::from(TOKEN), time)).collect();
    assert_eq!(tokens.len(), 2);
    assert!(tokens.iter().all(|t| allowed.contains(t.as_ref().expect("a token"))), "{tokens:?}");
    assert_ne!(tokens[0], tokens[1]);
    assert!(!format!("{gitaly:?}").contains(TOKEN));
}

#[tokio::test]
async fn the_answers_become_facts() {
    let fake = FakeGitaly::default();
    *fake.walk.lock().expect("unpoisoned") =
        ["@hashed/b.git", "+gitaly/tmp/x", "@hashed/a.git"].map(str::to_owned).to_vec();
    let address = fake.serve().await;
    let gitaly = client(&["default"], &target(Scheme::Tcp, &address, None, None));
    let default = storage("default");
    let server = gitaly.server(&default).await.expect("well");
    assert_eq!(server.filesystem_id, "c62d4392-d2d7-46d1-b222-555ac9971d41");
    assert_eq!((server.version.as_str(), server.replication_factor), ("16.0.0", 1));
    let disk = gitaly.disk(&default).await.expect("well").expect("known");
    assert_eq!(disk.available, Bytes(78_154_301_440));
    let references = gitaly.references(&default, "a.git").await.expect("well");
    let names: Vec<_> = references.iter().map(tranship::model::Reference::printable).collect();
    assert_eq!(names, ["HEAD", "refs/heads/a", r"refs/tags/\xff"]);
    assert_eq!(gitaly.references(&default, "empty.git").await.expect("well"), []);
    assert_eq!(gitaly.head(&default, "a.git").await.expect("well").as_deref(), Some(&b"refs/heads/main"[..]));
    assert_eq!(gitaly.head(&default, "empty.git").await.expect("well"), None);
    assert_eq!(gitaly.object_format(&default, "a.git").await.expect("well").as_deref(), Some("sha256"));
    assert_eq!(gitaly.object_format(&default, "old.git").await.expect("well"), None);
    assert_eq!(gitaly.checksum(&default, "a.git").await.expect("well"), "0".repeat(40));
    assert_eq!(gitaly.size(&default, "a.git").await.expect("well"), Bytes(1144));
    assert!(gitaly.exists(&default, "a.git").await.expect("well"));
    assert!(!gitaly.exists(&default, "absent.git").await.expect("well"));
    assert_eq!(gitaly.walk(&default).await.expect("well"), ["+gitaly/tmp/x", "@hashed/a.git", "@hashed/b.git"]);
    let tokens = fake.tokens.lock().expect("unpoisoned").clone();
    assert!(tokens.iter().all(Option::is_none), "no token is configured: {tokens:?}");
}

#[tokio::test]
async fn objects_are_answered_in_the_order_asked_over_many_messages() {
    let address = FakeGitaly::default().serve().await;
    let gitaly = client(&["default"], &target(Scheme::Tcp, &address, None, None));
    let ids: Vec<String> = (0..1000).map(|n| format!("{}{n:039}", if n % 3 == 0 { 0 } else { 1 })).collect();
    let found = gitaly.objects_exist(&storage("default"), "a.git", &ids).await.expect("well");
    assert!(found.iter().enumerate().all(|(n, exists)| *exists == (n % 3 != 0)));
    assert_eq!(found.len(), 1000);
    assert_eq!(gitaly.objects_exist(&storage("default"), "a.git", &[]).await.expect("well"), Vec::<bool>::new());
}

#[tokio::test]
async fn a_stream_cut_short_is_an_error_and_never_a_short_list() {
    let fake = FakeGitaly::default();
    let address = fake.serve().await;
    let gitaly = client(&["default"], &target(Scheme::Tcp, &address, None, None));
    let error = clean(gitaly.references(&storage("default"), "cut.git").await.expect_err("cut"));
    assert_eq!(error.kind, Kind::Transient);
    assert_eq!(fake.tokens.lock().expect("unpoisoned").len(), 4, "a read is tried four times");
    assert_eq!(error.call, format!("ListRefs of cut.git on storage default at tcp://{address}"));
}

#[tokio::test]
async fn passing_trouble_is_repeated_and_lasting_trouble_is_not() {
    let fake = FakeGitaly::default();
    let address = fake.serve().await;
    let gitaly = client(&["default"], &target(Scheme::Tcp, &address, Some(TOKEN), None));
    for code in [Code::Unavailable, Code::Aborted, Code::ResourceExhausted] {
        *fake.trouble.lock().expect("unpoisoned") = vec![Status::new(code, "wait"); 3];
        assert!(gitaly.server(&storage("default")).await.is_ok(), "{code:?}");
    }
    for (code, kind) in [
        (Code::PermissionDenied, Kind::Unauthenticated),
        (Code::Unauthenticated, Kind::Unauthenticated),
        (Code::FailedPrecondition, Kind::Refused),
        (Code::Internal, Kind::Refused),
        (Code::NotFound, Kind::NotFound),
    ] {
        *fake.trouble.lock().expect("unpoisoned") = vec![Status::new(code, format!("no, {TOKEN}"))];
        let error = clean(gitaly.checksum(&storage("default"), "a.git").await.expect_err("trouble"));
        assert_eq!(error.kind, kind, "{code:?}");
    }
    *fake.trouble.lock().expect("unpoisoned") = vec![Status::permission_denied("permission denied")];
    let error = gitaly.server(&storage("default")).await.expect_err("a wrong token");
    assert_eq!(error.call, format!("ServerInfo of storage default at tcp://{address}"));
    assert!(error.message.contains("clocks") && error.help.expect("help").contains("gitaly.token"));
}

#[tokio::test]
async fn a_storage_that_is_not_served_names_those_that_are() {
    let address = FakeGitaly::default().serve().await;
    let gitaly = client(&["default", "gitaly-b"], &target(Scheme::Tcp, &address, None, None));
    let error = clean(gitaly.server(&storage("gitaly-b")).await.expect_err("not served"));
    assert_eq!(error.kind, Kind::Refused);
    assert!(error.message.contains("named `gitaly-b`; it serves `default`"), "{error}");
    assert_eq!(gitaly.disk(&storage("gitaly-b")).await.expect_err("not served").kind, Kind::Refused);
    assert_eq!(gitaly.exists(&storage("gitaly-b"), "a.git").await.expect_err("not served").kind, Kind::Refused);
    assert_eq!(gitaly.walk(&storage("gitaly-b")).await.expect_err("not served").kind, Kind::Refused);
    assert_eq!(gitaly.server(&storage("unknown")).await.expect_err("no address").kind, Kind::Refused);
}

#[tokio::test]
async fn nobody_there_is_transient_and_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let gitaly = client(&["default"], &target(Scheme::Tcp, &address, Some(TOKEN), None));
    let error = clean(gitaly.server(&storage("default")).await.expect_err("nobody"));
    assert_eq!(error.kind, Kind::Transient);
    assert!(error.message.contains("refused"), "{error}");
    let gitaly = client(&["default"], &target(Scheme::Tcp, "gitaly.invalid:8075", None, None));
    let error = clean(gitaly.server(&storage("default")).await.expect_err("no such host"));
    assert!(error.message.contains("host name is not known"), "{error}");
    let gitaly = client(&["default"], &target(Scheme::Unix, "/nonexistent/gitaly.socket", None, None));
    let error = clean(gitaly.server(&storage("default")).await.expect_err("no socket"));
    assert_eq!(error.kind, Kind::Transient);
}

#[tokio::test]
async fn tls_is_spoken_and_an_unknown_authority_told() {
    let Some((ca, identity)) = certificate() else { return };
    let server = tonic::transport::Server::builder()
        .tls_config(tonic::transport::ServerTlsConfig::new().identity(identity))
        .expect("valid");
    let address = FakeGitaly::default().serve_with(server).await;
    let gitaly = client(&["default"], &target(Scheme::Tls, &address, Some(TOKEN), Some(&ca)));
    gitaly.server(&storage("default")).await.expect("well");
    let other = certificate().expect("made before").0;
    let gitaly = client(&["default"], &target(Scheme::Tls, &address, Some(TOKEN), Some(&other)));
    let error = clean(gitaly.server(&storage("default")).await.expect_err("unknown authority"));
    assert_eq!(error.kind, Kind::Protocol, "{error}");
    let plain = FakeGitaly::default().serve().await;
    let gitaly = client(&["default"], &target(Scheme::Tls, &plain, Some(TOKEN), Some(&ca)));
    let error = clean(gitaly.server(&storage("default")).await.expect_err("no TLS there"));
    assert_eq!(error.kind, Kind::Protocol, "{error}");
}

#[test]
fn addresses_and_cas_are_checked_before_anything_is_dialled() {
    let made = |target: GitalyTarget| GrpcGitaly::new(&BTreeMap::from([(storage("default"), target)])).map_err(clean);
    assert!(made(target(Scheme::Tcp, "10.0.0.1:8075", Some(TOKEN), None)).is_ok());
    let error = made(target(Scheme::Tcp, "not a host", Some(TOKEN), None)).expect_err("no address");
    assert!(error.to_string().contains("storage default"), "{error}");
    let error = made(target(Scheme::Tls, "10.0.0.1:8075", Some(TOKEN), Some("no PEM"))).expect_err("no PEM");
    assert!(error.call.contains("gitaly.ca"), "{error}");
}
