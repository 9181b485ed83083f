//! Small servers on loopback for the adapters' tests: HTTP answers byte by byte as a test wants them, and a Gitaly.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Request, Response, Status};
use tranship::live::gitlab::Patience;
use tranship::wire;

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `GET`.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Seen {
    /// A query parameter's value.
    pub(crate) fn query(&self, key: &str) -> Option<String> {
        let url = url::Url::parse("http://x").ok()?.join(&self.target).ok()?;
        url.query_pairs().find(|(k, _)| k == key).map(|(_, v)| v.into_owned())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }
}

/// What the fake answers.
pub(crate) enum Reply {
    /// Status, further header lines, body.
    Full(u16, &'static str, String),
    /// A body that is cut: the length is promised, half of it is sent.
    Cut(String),
    /// The connection is closed without an answer.
    Nothing,
}

pub(crate) fn json(body: impl Into<String>) -> Reply {
    Reply::Full(200, "", body.into())
}

pub(crate) fn status(status: u16, body: &str) -> Reply {
    Reply::Full(status, "", body.to_owned())
}

/// A scripted HTTP server. Gone when dropped.
pub(crate) struct Http {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Http {
    /// Serves: the handler gets each request and how many came before it.
    pub(crate) async fn start(handler: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, handler) = (Arc::clone(&seen), Arc::new(handler));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, handler) = (Arc::clone(&log), Arc::clone(&handler));
                tokio::spawn(async move { serve(stream, &log, handler.as_ref()).await });
            }
        });
        Self { url, seen, task }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("unpoisoned").clone()
    }
}

async fn serve(mut stream: TcpStream, log: &Mutex<Vec<Seen>>, handler: &(dyn Fn(&Seen, usize) -> Reply + Sync)) {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        if bytes[0] == 0x16 {
            // A TLS handshake: answered as web servers do.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            return;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or("").split(' ');
    let headers: BTreeMap<_, _> =
        lines.filter_map(|l| l.split_once(':')).map(|(k, v)| (k.to_ascii_lowercase(), v.trim().to_owned())).collect();
    let length: usize = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + 4 + length {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let seen = Seen {
        method: first.next().unwrap_or("").to_owned(),
        target: first.next().unwrap_or("").to_owned(),
        headers,
        body: String::from_utf8_lossy(&bytes[head_end + 4..]).into_owned(),
    };
    let number = {
        let mut log = log.lock().expect("unpoisoned");
        log.push(seen.clone());
        log.len() - 1
    };
    let (head, body) = match handler(&seen, number) {
        Reply::Full(status, more, body) => {
            let kind = match body.trim_start().chars().next() {
                Some('<') => "text/html",
                Some('{' | '[') => "application/json",
                _ => "text/plain",
            };
            (format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{more}content-length: {}\r\n", body.len()), body)
        }
        Reply::Cut(body) => {
            let head =
                format!("HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
            (head, body[..body.len() / 2].to_owned())
        }
        Reply::Nothing => return,
    };
    let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Says that a test proves nothing on this machine.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Short waits, so that tests are fast.
pub(crate) fn hasty() -> Patience {
    Patience {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(20),
        total: Duration::from_millis(300),
        asked: Duration::from_secs(2),
        limited: Duration::from_secs(4),
    }
}

/// A Gitaly that serves one storage, `default`, and answers by the name of the repository asked for.
#[derive(Clone, Default)]
pub(crate) struct FakeGitaly {
    /// The `authorization` headers that came.
    pub(crate) tokens: Arc<Mutex<Vec<Option<String>>>>,
    /// Answer this, so many times, before answering well.
    pub(crate) trouble: Arc<Mutex<Vec<Status>>>,
    pub(crate) walk: Arc<Mutex<Vec<String>>>,
}

impl FakeGitaly {
    fn enter<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let token = request.metadata().get("authorization").map(|v| v.to_str().expect("ASCII").to_owned());
        self.tokens.lock().expect("unpoisoned").push(token);
        match self.trouble.lock().expect("unpoisoned").pop() {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }

    /// Serves on a free port; gives `host:port`.
    pub(crate) async fn serve(&self) -> String {
        self.serve_with(tonic::transport::Server::builder()).await
    }

    pub(crate) async fn serve_with(&self, mut server: tonic::transport::Server) -> String {
        use wire::{
            commit_service_server::CommitServiceServer, internal_gitaly_server::InternalGitalyServer,
            ref_service_server::RefServiceServer, repository_service_server::RepositoryServiceServer,
            server_service_server::ServerServiceServer,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let router = server
            .add_service(ServerServiceServer::new(self.clone()))
            .add_service(RefServiceServer::new(self.clone()))
            .add_service(RepositoryServiceServer::new(self.clone()))
            .add_service(CommitServiceServer::new(self.clone()))
            .add_service(InternalGitalyServer::new(self.clone()));
        tokio::spawn(router.serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)));
        address
    }
}

type Out<T> = std::pin::Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

fn out<T: Send + 'static>(items: Vec<Result<T, Status>>) -> Response<Out<T>> {
    Response::new(Box::pin(futures::stream::iter(items)))
}

fn path(repository: Option<wire::Repository>) -> Result<String, Status> {
    let repository = repository.ok_or_else(|| Status::invalid_argument("empty Repository"))?;
    if repository.storage_name != "default" {
        let message = format!("GetStorageByName: no such storage: {:?}", repository.storage_name);
        return Err(Status::invalid_argument(message));
    }
    match repository.relative_path.as_str() {
        "absent.git" => Err(Status::not_found("GetRepoPath: not a git repository")),
        path => Ok(path.to_owned()),
    }
}

#[tonic::async_trait]
impl wire::server_service_server::ServerService for FakeGitaly {
    async fn server_info(
        &self,
        request: Request<wire::ServerInfoRequest>,
    ) -> Result<Response<wire::ServerInfoResponse>, Status> {
        self.enter(&request)?;
        Ok(Response::new(wire::ServerInfoResponse {
            server_version: "16.0.0".to_owned(),
            git_version: "2.39.5".to_owned(),
            storage_statuses: vec![wire::server_info_response::StorageStatus {
                storage_name: "default".to_owned(),
                readable: true,
                writeable: true,
                fs_type: "EXT_2_3_4".to_owned(),
                filesystem_id: "c62d4392-d2d7-46d1-b222-555ac9971d41".to_owned(),
                replication_factor: 1,
            }],
        }))
    }

    async fn disk_statistics(
        &self,
        request: Request<wire::DiskStatisticsRequest>,
    ) -> Result<Response<wire::DiskStatisticsResponse>, Status> {
        self.enter(&request)?;
        Ok(Response::new(wire::DiskStatisticsResponse {
            storage_statuses: vec![wire::disk_statistics_response::StorageStatus {
                storage_name: "default".to_owned(),
                available: 78_154_301_440,
                used: 19_638_992_896,
            }],
        }))
    }

    async fn readiness_check(
        &self,
        _: Request<wire::ReadinessCheckRequest>,
    ) -> Result<Response<wire::ReadinessCheckResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tonic::async_trait]
impl wire::ref_service_server::RefService for FakeGitaly {
    type ListRefsStream = Out<wire::ListRefsResponse>;

    async fn find_default_branch_name(
        &self,
        request: Request<wire::FindDefaultBranchNameRequest>,
    ) -> Result<Response<wire::FindDefaultBranchNameResponse>, Status> {
        self.enter(&request)?;
        let request = request.into_inner();
        assert!(request.head_only, "the default branch must not be guessed");
        let name = match path(request.repository)?.as_str() {
            "empty.git" => Vec::new(),
            _ => b"refs/heads/main".to_vec(),
        };
        Ok(Response::new(wire::FindDefaultBranchNameResponse { name }))
    }

    async fn list_refs(
        &self,
        request: Request<wire::ListRefsRequest>,
    ) -> Result<Response<Out<wire::ListRefsResponse>>, Status> {
        self.enter(&request)?;
        let request = request.into_inner();
        assert!(request.head && request.patterns == [b"refs/".to_vec()], "{request:?}");
        let batch = |names: &[&[u8]]| {
            let references = names
                .iter()
                .map(|name| wire::list_refs_response::Reference {
                    name: name.to_vec(),
                    target: "a".repeat(40),
                    peeled_target: String::new(),
                })
                .collect();
            Ok(wire::ListRefsResponse { references })
        };
        Ok(out(match path(request.repository)?.as_str() {
            "empty.git" => vec![],
            "cut.git" => vec![batch(&[b"HEAD", b"refs/heads/a"]), Err(Status::new(Code::Unavailable, "going away"))],
            _ => vec![batch(&[b"HEAD", b"refs/heads/a"]), batch(&[b"refs/tags/\xff"])],
        }))
    }
}

#[tonic::async_trait]
impl wire::commit_service_server::CommitService for FakeGitaly {
    type CheckObjectsExistStream = Out<wire::CheckObjectsExistResponse>;

    async fn check_objects_exist(
        &self,
        request: Request<tonic::Streaming<wire::CheckObjectsExistRequest>>,
    ) -> Result<Response<Self::CheckObjectsExistStream>, Status> {
        self.enter(&request)?;
        let mut stream = request.into_inner();
        let (mut first, mut answers) = (true, Vec::new());
        while let Some(message) = stream.message().await? {
            assert_eq!(message.repository.is_some(), first, "the repository belongs into the first message only");
            if first {
                path(message.repository)?;
            }
            first = false;
            let revisions = message
                .revisions
                .into_iter()
                .map(|name| wire::check_objects_exist_response::RevisionExistence {
                    exists: !name.starts_with(b"0"),
                    name,
                })
                .collect();
            answers.push(Ok(wire::CheckObjectsExistResponse { revisions }));
        }
        Ok(out(answers))
    }
}

#[tonic::async_trait]
impl wire::internal_gitaly_server::InternalGitaly for FakeGitaly {
    type WalkReposStream = Out<wire::WalkReposResponse>;

    async fn walk_repos(
        &self,
        request: Request<wire::WalkReposRequest>,
    ) -> Result<Response<Self::WalkReposStream>, Status> {
        self.enter(&request)?;
        let storage = request.into_inner().storage_name;
        if storage != "default" {
            return Err(Status::not_found(format!("storage name {storage:?} not found")));
        }
        let paths = self.walk.lock().expect("unpoisoned").clone();
        Ok(out(paths
            .into_iter()
            .map(|relative_path| Ok(wire::WalkReposResponse { relative_path, modification_time: None }))
            .collect()))
    }
}

#[tonic::async_trait]
impl wire::repository_service_server::RepositoryService for FakeGitaly {
    async fn repository_exists(
        &self,
        request: Request<wire::RepositoryExistsRequest>,
    ) -> Result<Response<wire::RepositoryExistsResponse>, Status> {
        self.enter(&request)?;
        let exists = match path(request.into_inner().repository) {
            Ok(_) => true,
            Err(status) if status.code() == Code::NotFound => false,
            Err(status) => return Err(status),
        };
        Ok(Response::new(wire::RepositoryExistsResponse { exists }))
    }

    async fn repository_size(
        &self,
        _: Request<wire::RepositorySizeRequest>,
    ) -> Result<Response<wire::RepositorySizeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn repository_info(
        &self,
        request: Request<wire::RepositoryInfoRequest>,
    ) -> Result<Response<wire::RepositoryInfoResponse>, Status> {
        self.enter(&request)?;
        path(request.into_inner().repository)?;
        Ok(Response::new(wire::RepositoryInfoResponse { size: 1144, ..wire::RepositoryInfoResponse::default() }))
    }

    async fn object_format(
        &self,
        request: Request<wire::ObjectFormatRequest>,
    ) -> Result<Response<wire::ObjectFormatResponse>, Status> {
        self.enter(&request)?;
        match path(request.into_inner().repository)?.as_str() {
            "old.git" => Err(Status::unimplemented("unknown method ObjectFormat")),
            _ => Ok(Response::new(wire::ObjectFormatResponse { format: wire::ObjectFormat::Sha256.into() })),
        }
    }

    async fn calculate_checksum(
        &self,
        request: Request<wire::CalculateChecksumRequest>,
    ) -> Result<Response<wire::CalculateChecksumResponse>, Status> {
        self.enter(&request)?;
        path(request.into_inner().repository)?;
        Ok(Response::new(wire::CalculateChecksumResponse { checksum: "00".repeat(20) }))
    }

    async fn create_repository(
        &self,
        _: Request<wire::CreateRepositoryRequest>,
    ) -> Result<Response<wire::CreateRepositoryResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn remove_repository(
        &self,
        _: Request<wire::RemoveRepositoryRequest>,
    ) -> Result<Response<wire::RemoveRepositoryResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn replicate_repository(
        &self,
        _: Request<wire::ReplicateRepositoryRequest>,
    ) -> Result<Response<wire::ReplicateRepositoryResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn fsck(&self, _: Request<wire::FsckRequest>) -> Result<Response<wire::FsckResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn has_local_branches(
        &self,
        _: Request<wire::HasLocalBranchesRequest>,
    ) -> Result<Response<wire::HasLocalBranchesResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
