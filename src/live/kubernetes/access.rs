//! From a kubeconfig to a client. Nothing of a kubeconfig but names and paths is in a message: it holds credentials.

use std::io;
use std::path::Path;

use kube::client::AuthError;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use secrecy::SecretString;

use crate::apply::port::{PortError, PortErrorKind, PortResult};
use crate::live::cause::{Cause, cause_of, one_line};
use crate::live::install_tls_provider;

/// Which cluster, and the namespace that all objects live in.
#[derive(Debug, Clone)]
pub struct ClusterTarget {
    /// How it is reached.
    pub access: Access,
    /// The namespace.
    pub namespace: String,
}

/// How a cluster is reached.
#[derive(Debug, Clone)]
pub enum Access {
    /// As kubectl does.
    Kubeconfig {
        /// Its file; `None`: `KUBECONFIG`, then `~/.kube/config`, then the pod's own service account.
        file: Option<String>,
        /// The context; `None`: the file's current one.
        context: Option<String>,
    },
    /// By its address.
    Server {
        /// Like `http://127.0.0.1:6443`.
        url: String,
        /// A bearer token.
        token: Option<SecretString>,
    },
}

/// A client, and what messages say of it.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) client: Client,
    /// For messages: `https://10.0.0.1:6443`.
    pub(super) server: String,
    /// The credential plugin, if the kubeconfig names one.
    plugin: Option<Plugin>,
    /// How to ask the same server by hand.
    by_hand: String,
}

#[derive(Clone)]
struct Plugin {
    command: String,
    hint: Option<String>,
}

const READING: &str = "reading the kubeconfig";

fn refused(call: &str, message: impl Into<String>, help: impl Into<String>) -> PortError {
    PortError { help: Some(help.into()), ..PortError::new(PortErrorKind::Protocol, call, message) }
}

impl Access {
    /// Reads what it names and makes a client. A credential plugin is run; the server is not asked yet.
    pub(super) async fn connect(&self) -> PortResult<Connected> {
        install_tls_provider();
        let (mut config, by_hand) = match self {
            Self::Server { url, token } => {
                let call = "reading the cluster's address";
                let url =
                    url.parse().map_err(|_| refused(call, "it is no URL", "Write it like `https://host:6443`."))?;
                let mut config = Config::new(url);
                config.auth_info.token.clone_from(token);
                (config, String::new())
            }
            Self::Kubeconfig { file, context } => {
                let options = context.as_ref().map_or_else(String::new, |context| format!(" --context {context}"));
                let path = file.as_ref().map_or_else(String::new, |file| format!(" --kubeconfig {file}"));
                (self.config(file.as_deref(), context.as_deref()).await?, format!("kubectl{path}{options} version"))
            }
        };
        // Repeating is ours: what a write did is found by reading back.
        config.default_retry = false;
        // As `kubectl` does: what is on this machine is not behind a proxy.
        if config.cluster_url.host().is_some_and(is_loopback) {
            config.proxy_url = None;
        }
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let plugin = config
            .auth_info
            .exec
            .as_ref()
            .map(|exec| Plugin { command: exec.command.clone().unwrap_or_default(), hint: exec.install_hint.clone() });
        // It runs a credential plugin, which may take its time.
        let made = tokio::task::spawn_blocking(move || Client::try_from(config)).await;
        let made = made.map_err(|_| refused(READING, "a fault while the client was made", "Report it."))?;
        let client = made.map_err(|error| self.unusable(&error, plugin.as_ref()))?;
        Ok(Connected { client, server, plugin, by_hand })
    }

    async fn config(&self, file: Option<&str>, context: Option<&str>) -> PortResult<Config> {
        let read = match file {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        let kubeconfig = match read {
            Ok(kubeconfig) => kubeconfig,
            Err(error) => {
                if file.is_none()
                    && context.is_none()
                    && is_missing(&error)
                    && let Ok(config) = Config::incluster()
                {
                    return Ok(config);
                }
                return Err(kubeconfig_error(&error, file, context, &[]));
            }
        };
        let names: Vec<String> = kubeconfig.contexts.iter().map(|named| named.name.clone()).collect();
        let options = KubeConfigOptions { context: context.map(ToOwned::to_owned), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        config.map_err(|error| kubeconfig_error(&error, file, context, &names))
    }

    /// Why no client could be made.
    fn unusable(&self, error: &kube::Error, plugin: Option<&Plugin>) -> PortError {
        if let Some(error) = auth_error(error) {
            return credentials_error(READING, error, plugin);
        }
        match error {
            kube::Error::InferKubeconfig(error) => {
                let Self::Kubeconfig { file, context } = self else {
                    return refused(READING, "it cannot be used", "Check the cluster's address.");
                };
                kubeconfig_error(error, file.as_deref(), context.as_deref(), &[])
            }
            kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. } => refused(
                READING,
                "its proxy is neither http:// nor https://",
                "Set `proxy-url` of the cluster, or HTTPS_PROXY, to an HTTP proxy; or list the server in NO_PROXY.",
            ),
            _ => refused(
                READING,
                "its client certificate, key or CA cannot be used for TLS",
                "Compare `client-certificate`, `client-key` and `certificate-authority` with a working kubectl's.",
            ),
        }
    }
}

impl Connected {
    /// A client that somebody else made.
    pub(super) fn given(client: Client) -> Self {
        Self { client, server: "the given server".to_owned(), plugin: None, by_hand: String::new() }
    }

    /// What kept a request from being answered. `sent` is false when it surely never reached the server.
    pub(super) fn failure(&self, call: &str, error: &kube::Error) -> (PortError, bool) {
        if let Some(error) = auth_error(error) {
            return (credentials_error(call, error, self.plugin.as_ref()), false);
        }
        let at = |text: &str| format!("{}: {text}", self.server);
        let mut found = PortError::new(PortErrorKind::Transient, call, "");
        let mut sent = true;
        match cause_of(error) {
            Cause::Tls { message, unknown_authority } => {
                found.kind = PortErrorKind::Protocol;
                found.message = at(&message);
                if unknown_authority {
                    found.help = Some("The kubeconfig's `certificate-authority` is not the one of this server.".into());
                }
                sent = false;
            }
            Cause::Dns => {
                found.message = at("its host name is not known");
                sent = false;
            }
            Cause::Unreachable(message) => {
                sent = message.contains("in time");
                found.message = at(&message);
            }
            Cause::Broken(message) | Cause::Other(message) => found.message = at(&one_line(&message, None, 300)),
        }
        if found.help.is_none() && !self.by_hand.is_empty() {
            found.help = Some(format!("Is the cluster up? This asks the same server: {}", self.by_hand));
        }
        (found, sent)
    }

    /// The server did not accept who we are.
    pub(super) fn unauthenticated(&self, call: &str) -> PortError {
        let help = match &self.plugin {
            Some(plugin) => format!("Log in again with {}; then run the command again.", plugin.command),
            None => {
                "The credentials of the kubeconfig's user have expired or were revoked: get new ones (log in again), \
                     then run the command again."
                    .to_owned()
            }
        };
        let message = format!("{} does not accept the kubeconfig's credentials (401)", self.server);
        PortError { help: Some(help), ..PortError::new(PortErrorKind::Unauthenticated, call, message) }
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_missing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::ReadConfig(error, _) => error.kind() == io::ErrorKind::NotFound,
        KubeconfigError::FindPath => true,
        _ => false,
    }
}

/// Why a kubeconfig cannot be used. The parser's own words are left out: they may quote the file.
fn kubeconfig_error(
    error: &KubeconfigError,
    file: Option<&str>,
    context: Option<&str>,
    contexts: &[String],
) -> PortError {
    let name = file.map_or_else(|| "the kubeconfig".to_owned(), |file| format!("the kubeconfig {file}"));
    let io = |path: &Path, error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file {}", path.display()),
        io::ErrorKind::PermissionDenied => format!("{} may not be read by you", path.display()),
        _ => format!("{} cannot be read: {error}", path.display()),
    };
    let there = match contexts {
        [] => "it has none".to_owned(),
        names => format!("it has {}", names.join(", ")),
    };
    let choose = "Set `kubernetes.context` to one of them, or choose it: `kubectl config use-context NAME`.";
    let place = "Set `kubernetes.kubeconfig` or KUBECONFIG to the file that `kubectl` uses for this cluster; \
                 a relative path begins at the configuration's folder.";
    let data = "Compare it with the kubeconfig of a working kubectl.";
    let (message, help) = match error {
        KubeconfigError::ReadConfig(error, path) => (io(path, error), place),
        KubeconfigError::FindPath => {
            ("neither KUBECONFIG nor a home folder tells where the kubeconfig is".to_owned(), place)
        }
        KubeconfigError::CurrentContextNotSet => {
            (format!("{name} chooses no context (`current-context`); {there}"), choose)
        }
        KubeconfigError::LoadContext(wanted) => {
            let wanted = context.unwrap_or(wanted);
            (format!("{name} has no context named `{wanted}`; {there}"), choose)
        }
        KubeconfigError::LoadClusterOfContext(cluster) => {
            (format!("{name} has no cluster named `{cluster}`, which the context names"), data)
        }
        KubeconfigError::Parse(error) => {
            let at = error.location().map_or_else(String::new, |at| format!(", line {}", at.line()));
            (format!("{name} is not the YAML of a kubeconfig{at}"), data)
        }
        KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => {
            (format!("{name}: the cluster has no usable `server`"), data)
        }
        KubeconfigError::LoadCertificateAuthority(error) => {
            (format!("{name}: its CA cannot be read{}", of(error)), data)
        }
        KubeconfigError::LoadClientCertificate(error) => {
            (format!("{name}: its client certificate cannot be read{}", of(error)), data)
        }
        KubeconfigError::LoadClientKey(error) => (format!("{name}: its client key cannot be read{}", of(error)), data),
        KubeconfigError::KindMismatch | KubeconfigError::ApiVersionMismatch => {
            ("the files of KUBECONFIG are of different kinds".to_owned(), data)
        }
        _ => (format!("{name} cannot be used"), data),
    };
    refused(READING, message, help)
}

/// The file that could not be read, without what base64 decoding would quote.
fn of(error: &kube::config::LoadDataError) -> String {
    match error {
        kube::config::LoadDataError::ReadFile(error, path) => format!(": {}: {error}", path.display()),
        kube::config::LoadDataError::DecodeBase64(_) => ": it is not base64".to_owned(),
        kube::config::LoadDataError::NoBase64DataOrFile => ": it is missing".to_owned(),
    }
}

/// The failed getting of credentials in a chain of errors.
fn auth_error(error: &kube::Error) -> Option<&AuthError> {
    if let kube::Error::Auth(error) = error {
        return Some(error);
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<AuthError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What kept us from credentials. A plugin's standard output may hold a token and is never told.
fn credentials_error(call: &str, error: &AuthError, plugin: Option<&Plugin>) -> PortError {
    let command = plugin.map_or("the credential plugin", |plugin| plugin.command.as_str());
    let again = format!("Run `{command}` by hand; log in again where it asks for that. Then run the command again.");
    let (message, help) = match error {
        AuthError::AuthExecStart(error) => {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "there is no such program".to_owned(),
                _ => error.to_string(),
            };
            let hint = plugin.and_then(|plugin| plugin.hint.as_deref()).map(|hint| one_line(hint, None, 300));
            (
                format!("the kubeconfig's credential plugin `{command}` cannot be started: {why}"),
                hint.unwrap_or_else(|| format!("Install `{command}` and put it on PATH, as for kubectl.")),
            )
        }
        AuthError::AuthExecRun { out, .. } => {
            let said = one_line(&String::from_utf8_lossy(&out.stderr), None, 300);
            let said = if said.is_empty() { said } else { format!(": {said}") };
            (format!("the kubeconfig's credential plugin `{command}` failed ({}){said}", out.status), again)
        }
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed | AuthError::MalformedTokenExpirationDate(_) => {
            (format!("the kubeconfig's credential plugin `{command}` gave no usable credentials"), again)
        }
        AuthError::MissingCommand => (
            "the kubeconfig's user has an `exec` without `command`".to_owned(),
            "Compare it with the kubeconfig of a working kubectl.".to_owned(),
        ),
        AuthError::ReadTokenFile(error, path) => (
            format!("the kubeconfig's token file {} cannot be read: {error}", path.display()),
            "Compare `tokenFile` with the kubeconfig of a working kubectl.".to_owned(),
        ),
        AuthError::AuthExec(text) => (
            format!("the kubeconfig's credentials cannot be used: {}", one_line(text, None, 300)),
            "Use a credential plugin (`exec`), a token or a client certificate.".to_owned(),
        ),
        _ => (
            "the kubeconfig's token cannot be sent or refreshed".to_owned(),
            "Log in again, as for kubectl; then run the command again.".to_owned(),
        ),
    };
    PortError { help: Some(help), ..PortError::new(PortErrorKind::Unauthenticated, call, message) }
}
