//! Wiring: from what was typed to the configuration, the connections, the observed fleet, the state and the plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use super::args::{Listing, Selection, Variables};
use super::failure::Failure;
use super::reading::{Reading, Talk};
use super::secrets;
use super::signals::Signals;
use super::terminal::Terminal;
use crate::apply;
use crate::apply::port::Ports;
use crate::config::{self, Loaded, VariableInputs};
use crate::diag::{Diagnostic, Diagnostics, SourceMap, nearest};
use crate::live::gitlab::Patience;
use crate::live::kubernetes::{Access, ClusterTarget, KubeCluster};
use crate::live::operator::LiveOperator;
use crate::live::{self, GitalyTarget, PrometheusTarget, Target};
use crate::model::{
    Connection, Desired, DesiredStorage, LiveConnection, Observed, PrometheusConnection, SecretRef, StorageName,
};
use crate::plan::{self, Observations, Plan};
use crate::state::State;
use crate::state::lock::{self, Lock, Owner};
use crate::state::store::{self, FILE_NAME, FileStore};
use crate::ui;

/// The configuration's folder: `-C` has changed into it.
pub(crate) const FOLDER: &str = ".";

/// What every command has at hand.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) terminal: Terminal,
    pub(crate) signals: Signals,
}

/// A configuration without errors.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) desired: Desired,
    pub(crate) sources: SourceMap,
}

/// A configuration whose live systems can be asked.
pub(crate) struct Session {
    pub(crate) project: Project,
    pub(crate) ports: Ports,
    pub(crate) reading: Reading,
    pub(crate) talk: Talk,
    request: live::Request,
    options: plan::Options,
    /// What finished moves taught of durations.
    pub(crate) seen: Observations,
    /// Where the journals of all runs are kept.
    pub(crate) runs: Utf8PathBuf,
    /// Tells the embedded fleet of a real cluster's pods.
    #[cfg(feature = "sandbox")]
    _word: Option<super::fleet::Word>,
    /// Keeps the fleet of this process for the next command.
    #[cfg(feature = "sandbox")]
    _memory: Option<super::fleet::InMemory>,
}

/// Where values of variables come from: the environment and what was typed.
pub(crate) fn inputs(variables: &Variables) -> VariableInputs {
    const PREFIX: &str = "TRANSHIP_VAR_";
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?.strip_prefix(PREFIX)?.to_owned();
        Some((name, value.into_string().ok()?))
    });
    let mut environment: Vec<_> = environment.collect();
    environment.sort();
    VariableInputs { environment, files: variables.var_file.clone(), assignments: variables.var.clone() }
}

/// Reads the configuration with all its diagnostics.
pub(crate) fn read(variables: &Variables) -> Loaded {
    config::load(Utf8Path::new(FOLDER), &inputs(variables))
}

/// Reads the configuration; prints its warnings.
pub(crate) fn load(terminal: &Terminal, variables: &Variables) -> Result<Project, Failure> {
    let Loaded { sources, desired, diagnostics } = read(variables);
    match desired {
        Some(desired) if !diagnostics.has_errors() => {
            if !diagnostics.is_empty() {
                terminal.talk(&ui::diagnostics(&diagnostics, &sources, terminal.err));
            }
            Ok(Project { desired, sources })
        }
        _ if diagnostics.has_errors() => Err(Failure::diagnostics(diagnostics, sources)),
        _ => Err(Failure::new(
            "the configuration could not be read",
            "There must be at least one *.hcl file in the folder; take another with -C.",
        )),
    }
}

impl Project {
    /// Ends with diagnostics about this configuration.
    fn refuse(self, diagnostics: impl Into<Diagnostics>) -> Failure {
        Failure::diagnostics(diagnostics.into(), self.sources)
    }

    /// Resolves secrets, starts the embedded fleet where one is configured, and makes the ports.
    pub(crate) async fn connect(
        mut self,
        context: &Context,
        selection: &Selection,
        listing: &Listing,
    ) -> Result<Session, Failure> {
        let signals = &context.signals;
        if !self.desired.later.is_empty() {
            let later = std::mem::take(&mut self.desired.later);
            return Err(self.refuse(Diagnostics { items: later }));
        }
        #[cfg(feature = "sandbox")]
        if let Connection::Sandbox(spec) = &self.desired.connection
            && let Some(memory) = super::fleet::InMemory::wanted(spec)?
        {
            return self.in_memory(context, selection, listing, memory);
        }
        #[cfg(feature = "sandbox")]
        let mut word = None;
        let target = match &self.desired.connection {
            Connection::Live(connection) => signals.or_stop(live_target(&self.desired, connection)).await??,
            #[cfg(feature = "sandbox")]
            Connection::Sandbox(spec) => {
                let absent = super::fleet::absent_storages(&self.desired, spec);
                if !absent.is_empty() {
                    return Err(self.refuse(Diagnostics { items: absent }));
                }
                let (mut target, told) = super::fleet::target(&self.desired, spec, signals).await?;
                word = told;
                // A real one beside it answers instead of its own.
                let cluster = target.cluster.clone();
                let real = prometheus_target(&self.desired, cluster.as_deref());
                if let Some(real) = signals.or_stop(real).await?? {
                    target.prometheus = Some(real);
                }
                target
            }
            #[cfg(not(feature = "sandbox"))]
            Connection::Sandbox(_) => {
                let _ = signals;
                return Err(Failure::new(
                    "this build has no sandbox",
                    "Use a build with the cargo feature `sandbox`, or configure a real `gitlab`.",
                ));
            }
            Connection::None => {
                return Err(self.refuse(
                    Diagnostic::error("connection/none", "Nothing to connect to")
                        .detail("The configuration has neither a `gitlab` nor a `sandbox` block.")
                        .help("Add a `gitlab` block with url and token, or a `sandbox` block to try things on."),
                ));
            }
        };
        let session = self.session(context, selection, listing, |talk| {
            Ok(live::connect_with(&target, Patience::default(), Some(talk.of_limits()))?)
        })?;
        #[cfg(feature = "sandbox")]
        let session = Session { _word: word, ..session };
        Ok(session)
    }

    /// The session on a fleet within this process.
    #[cfg(feature = "sandbox")]
    fn in_memory(
        self,
        context: &Context,
        selection: &Selection,
        listing: &Listing,
        memory: super::fleet::InMemory,
    ) -> Result<Session, Failure> {
        let session = self.session(context, selection, listing, |_| Ok(memory.ports.clone()))?;
        Ok(Session { _memory: Some(memory), ..session })
    }

    /// A session on ports.
    fn session(
        mut self,
        context: &Context,
        selection: &Selection,
        listing: &Listing,
        connect: impl FnOnce(&Talk) -> Result<Ports, Failure>,
    ) -> Result<Session, Failure> {
        if let Some(most) = selection.parallelism {
            self.desired.max_moves = self.desired.max_moves.min(most);
        }
        let talk = Talk::new(context.terminal);
        let mut ports = connect(&talk)?;
        ports.operator = Some(Arc::new(operator(&self.desired)));
        let reading = Reading::new(&self.desired, listing, talk.clone());
        let mut request = request(&self.desired);
        request.pods.counted = undeclared(&self.desired);
        let seen = seen(&self.desired, context);
        let options = options(selection, &seen);
        Ok(Session {
            project: self,
            ports,
            reading,
            talk,
            request,
            options,
            seen,
            runs: runs(None),
            #[cfg(feature = "sandbox")]
            _word: None,
            #[cfg(feature = "sandbox")]
            _memory: None,
        })
    }
}

/// The operator's own side: programs, approvals, vetoes.
fn operator(desired: &Desired) -> LiveOperator {
    LiveOperator::new(Utf8Path::new(FOLDER), &super::approve::folder(), secret_variables(desired))
}

/// How long moves took in earlier runs; what keeps that from being known is told.
fn seen(desired: &Desired, context: &Context) -> Observations {
    let (seen, warning) = super::durations::load(&durations_file(), &desired.environment);
    if let Some(warning) = warning {
        context.terminal.talk(&format!("{warning}\n"));
    }
    seen
}

fn options(selection: &Selection, seen: &Observations) -> plan::Options {
    plan::Options {
        target: selection.target.clone(),
        exclude: selection.exclude.clone(),
        adopt: selection.adopt,
        durations: seen.durations(),
        ..plan::Options::default()
    }
}

/// A storage by GitLab's name or its block's address; `what` stands before it in the error.
pub(crate) fn storage<'d>(desired: &'d Desired, named: &str, what: &str) -> Result<&'d DesiredStorage, Failure> {
    let is = |one: &&DesiredStorage| one.name.as_str() == named || one.address.to_string() == *named;
    desired.storages.values().find(is).ok_or_else(|| {
        let known: Vec<&str> = desired.storages.values().map(|one| one.name.as_str()).collect();
        let help = match nearest(named, known.iter().copied()) {
            Some(near) => format!("Did you mean {near}?"),
            None => format!("There are {}.", known.join(", ")),
        };
        Failure::new(format!("{what}{named}: the configuration declares no such storage"), help)
    })
}

impl Session {
    /// How many moves are under way to or from a storage.
    pub(crate) async fn moving(&self, storage: &StorageName) -> Result<usize, Failure> {
        let moves = live::moves_under_way(&self.ports).await.map_err(Failure::calls)?;
        Ok(moves
            .iter()
            .filter(|one| [&one.source, &one.destination].iter().any(|name| *name == storage.as_str()))
            .count())
    }

    /// Reads the fleet.
    pub(crate) async fn observe(&self, signals: &Signals) -> Result<Observed, Failure> {
        self.reading.whole(&self.ports, &self.request, &self.project.desired, signals).await
    }

    /// Reads all of the fleet but its repositories: what a saved plan relies on beside the moves' own preconditions.
    pub(crate) async fn facts(&self, signals: &Signals) -> Result<Observed, Failure> {
        self.reading.facts(&self.ports, &self.request, signals).await
    }

    /// Plans from what was read.
    pub(crate) fn plan_from(&self, observed: &Observed, state: &State) -> Result<Plan, Failure> {
        let desired = &self.project.desired;
        let mut options = self.options.clone();
        if desired.freeze.per_day.is_some() {
            let timezone = plan::freeze::budget(desired).timezone;
            options.frozen_today = apply::frozen_today(&self.runs, &timezone, observed.as_of).map_err(|error| {
                Failure::new(
                    format!("what was spent of this day's freeze budget cannot be read: {error}"),
                    "Move the journal that is named out of the folder of runs: what it spent is then counted as nothing.",
                )
            })?;
        }
        plan::make(desired, observed, state, &options)
            .map_err(|diagnostics| Failure::diagnostics(diagnostics, self.project.sources.clone()))
    }

    /// Reads the fleet and plans.
    pub(crate) async fn plan(&self, signals: &Signals, state: &State) -> Result<Plan, Failure> {
        self.plan_from(&self.observe(signals).await?, state)
    }

    /// Reads the state of this environment.
    pub(crate) fn state(&self) -> Result<State, Failure> {
        Ok(store::load(Utf8Path::new(FILE_NAME), &self.project.desired.environment)?)
    }
}

/// Where it is kept how long moves took.
pub(crate) fn durations_file() -> Utf8PathBuf {
    Utf8Path::new(FOLDER).join(".tranship/durations.json")
}

/// The state file's store.
pub(crate) fn file_store() -> FileStore {
    FileStore::new(FILE_NAME)
}

/// Takes the lock for a command that writes.
pub(crate) fn lock(command: &str) -> Result<Lock, Failure> {
    let owner = Owner {
        pid: std::process::id(),
        host: host(),
        user: user(),
        command: command.to_owned(),
        since: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default(),
    };
    Ok(lock::acquire(Utf8Path::new(FOLDER), &owner)?)
}

/// Who works here.
pub(super) fn user() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".to_owned())
}

/// The environment variables that hold secrets: no program of the operator's is given them.
fn secret_variables(desired: &Desired) -> BTreeSet<String> {
    let mut references: Vec<&SecretRef> =
        desired.storages.values().filter_map(|storage| storage.token.as_ref()).collect();
    references.extend(desired.prometheus.as_ref().and_then(|prometheus| prometheus.token.as_ref()));
    if let Connection::Live(LiveConnection { gitlab, gitaly_token, .. }) = &desired.connection {
        references.push(&gitlab.token);
        references.extend(gitaly_token);
    }
    let named = |reference: &&SecretRef| match reference {
        SecretRef::Env(name) => Some(name.clone()),
        SecretRef::File(_) | SecretRef::Kubernetes { .. } => None,
    };
    references.iter().filter_map(named).collect()
}

fn host() -> String {
    let file = || fs_err::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = file().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if name.trim().is_empty() { "this machine".to_owned() } else { name.trim().to_owned() }
}

/// Who applies in this folder right now, if anybody does.
pub(crate) fn lock_holder() -> Option<String> {
    crate::state::lock::holder(Utf8Path::new(FOLDER))
}

/// The folder of all runs' journals.
pub(crate) fn runs(run_dir: Option<&Utf8Path>) -> Utf8PathBuf {
    run_dir.map_or_else(|| Utf8Path::new(FOLDER).join(".tranship/runs"), ToOwned::to_owned)
}

/// The runs that were cut short, oldest first.
pub(crate) fn unfinished(runs: &Utf8Path) -> Result<Vec<apply::Unfinished>, Failure> {
    if !runs.exists() {
        return Ok(Vec::new());
    }
    apply::unfinished(runs).map_err(|error| {
        Failure::new(
            format!("the journal of an earlier run cannot be read: {error}"),
            format!(
                "The live systems are the truth: move the run's folder out of {runs} and plan again. Moves that were in \
                 flight are then adopted with the verdict unknown."
            ),
        )
    })
}

/// Where the world of a sandbox lives, as an absolute path: its process outlives this one.
#[cfg(feature = "sandbox")]
pub(crate) fn world(name: &str) -> Result<Utf8PathBuf, Failure> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(Failure::new(
            format!("sandbox {name:?}: the label is the name of its folder"),
            "Use letters, digits, `-` and `_`.",
        ));
    }
    let failed = |error: std::io::Error| {
        Failure::new(format!("the sandbox's folder: {error}"), "The folder's whole path must be readable and UTF-8.")
    };
    let own = lock::own_folder(Utf8Path::new(FOLDER)).map_err(failed)?;
    Ok(own.canonicalize_utf8().map_err(failed)?.join("sandbox").join(name))
}

/// Pod storages of the state that the configuration does not declare any more. A state that cannot be read is told where
/// it is needed.
fn undeclared(desired: &Desired) -> BTreeSet<StorageName> {
    let Ok(state) = store::load(Utf8Path::new(FILE_NAME), &desired.environment) else { return BTreeSet::new() };
    plan::pods::undeclared(desired, &state)
}

/// What to read: everything declared; the lists of what assignments take from and of what drains.
fn request(desired: &Desired) -> live::Request {
    let draining = desired.storages.values().filter(|storage| storage.drain).map(|storage| storage.name.clone());
    let draining: BTreeSet<StorageName> = draining.collect();
    let sources = desired.assignments.iter().flat_map(|assignment| assignment.from.iter().cloned());
    let listed: BTreeSet<StorageName> = sources.chain(draining.iter().cloned()).collect();
    live::Request {
        declared: desired.storages.keys().cloned().collect(),
        listed: listed.into_iter().collect(),
        draining: draining.into_iter().collect(),
        probe: desired.rollout.probe.clone(),
        pods: plan::pods::wanted(desired),
    }
}

/// The real cluster, where the configuration names one.
pub(super) fn real_cluster(desired: &Desired) -> Option<Arc<KubeCluster>> {
    let settings = desired.cluster.as_ref().filter(|settings| !settings.embedded)?;
    let file = settings.kubeconfig.as_ref().map(|file| match (file.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => file.clone(),
    });
    let access = Access::Kubeconfig { file, context: settings.context.clone() };
    Some(Arc::new(KubeCluster::new(ClusterTarget { access, namespace: settings.namespace.clone() })))
}

/// Reads a PEM file that a `ca` names.
fn certificate(what: &str, path: &Option<String>) -> Result<Option<String>, Failure> {
    let Some(path) = path else { return Ok(None) };
    fs_err::read_to_string(Utf8Path::new(FOLDER).join(path)).map(Some).map_err(|error| {
        let help = "`ca` names a PEM file; a relative path begins at the configuration's folder.";
        Failure::new(format!("{what}: {error}"), help)
    })
}

/// The real Prometheus, where the configuration names one.
async fn prometheus_target(
    desired: &Desired,
    cluster: Option<&KubeCluster>,
) -> Result<Option<PrometheusTarget>, Failure> {
    let Some(PrometheusConnection { url, token, ca, span: _ }) = &desired.prometheus else { return Ok(None) };
    let token = match token {
        Some(reference) => {
            Some(secrets::resolve("the Prometheus token", reference, Utf8Path::new(FOLDER), cluster).await?)
        }
        None => None,
    };
    Ok(Some(PrometheusTarget { url: url.clone(), token, ca: certificate("the CA of prometheus", ca)? }))
}

/// Resolves what a real fleet needs.
async fn live_target(desired: &Desired, connection: &LiveConnection) -> Result<Target, Failure> {
    let folder = Utf8Path::new(FOLDER);
    let cluster = real_cluster(desired);
    let secret = async |what: &str, reference| secrets::resolve(what, reference, folder, cluster.as_deref()).await;
    let LiveConnection { gitlab, gitaly_token, gitaly_ca } = connection;
    let gitlab_token = secret("the GitLab token", &gitlab.token).await?;
    let mut gitaly = std::collections::BTreeMap::new();
    for (name, storage) in &desired.storages {
        let Some(endpoint) = storage.dial.as_ref().or(storage.endpoint.as_ref()) else {
            return Err(Failure::new(
                format!("{}: it has no address", storage.address),
                "Give it `address = \"tcp://host:port\"`, as GitLab dials it.",
            ));
        };
        let what = format!("the Gitaly token of {}", storage.address);
        let token = storage.token.as_ref().or(gitaly_token.as_ref());
        let token = match token {
            Some(reference) => Some(secret(&what, reference).await?),
            None => None,
        };
        let ca = certificate(
            &format!("the CA of {}", storage.address),
            storage.ca.as_ref().map_or(gitaly_ca, |_| &storage.ca),
        )?;
        gitaly.insert(name.clone(), GitalyTarget { endpoint: endpoint.clone(), token, ca });
    }
    let prometheus = prometheus_target(desired, cluster.as_deref()).await?;
    Ok(Target {
        gitlab_url: gitlab.url.clone(),
        gitlab_token,
        gitlab_ca: certificate("the CA of gitlab", &gitlab.ca)?,
        gitaly,
        cluster,
        prometheus,
        clock: None,
    })
}
