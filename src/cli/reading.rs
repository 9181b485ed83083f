//! Reads the fleet for a command: GitLab's lists from GitLab, writing the inventory while they come, or from an inventory
//! that exists; and says how far it is when that takes long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::mpsc::UnboundedSender;

use super::args;
use super::context::FOLDER;
use super::failure::Failure;
use super::signals::Signals;
use super::terminal::Terminal;
use crate::apply::event::Event;
use crate::apply::port::Ports;
use crate::live::gitlab::{Tell, Wait};
use crate::live::{self, Lists, Progress, Request};
use crate::model::{Connection, Container, Desired, Observed, StorageName};
use crate::plan;
use crate::state::inventory::{self, Draft};
use crate::state::lock;

/// A reading that ends sooner says nothing; a longer one says so often how far it is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Where lists come from, and what is known beside.
pub(crate) struct Reading {
    /// `None`: GitLab is asked.
    file: Option<Utf8PathBuf>,
    /// The inventory of this environment, that every listing writes.
    own: Utf8PathBuf,
    gitlab: String,
    environment: String,
    /// Moved by this command's own runs: an inventory does not know.
    moved: Mutex<BTreeMap<Container, StorageName>>,
    talk: Talk,
}

impl Reading {
    pub(crate) fn new(desired: &Desired, args: &args::Listing, talk: Talk) -> Self {
        let gitlab = match &desired.connection {
            Connection::Live(connection) => connection.gitlab.url.clone(),
            Connection::Sandbox(spec) => format!("sandbox {:?}", spec.name),
            Connection::None => String::new(),
        };
        let own = inventory::path(Utf8Path::new(FOLDER), &desired.environment);
        let file = args.inventory.clone().or_else(|| (!args.refresh).then(|| own.clone()));
        let environment = desired.environment.clone();
        Self { file, own, gitlab, environment, moved: Mutex::default(), talk }
    }

    /// Reads the fleet with its lists, and measures what must be.
    pub(crate) async fn whole(
        &self,
        ports: &Ports,
        request: &Request,
        desired: &Desired,
        signals: &Signals,
    ) -> Result<Observed, Failure> {
        let mut observed = match &self.file {
            None => return self.listed(ports, request, desired, signals).await,
            // Nothing is asked of any list.
            Some(_) if request.listed.is_empty() && request.draining.is_empty() => {
                self.facts(ports, request, signals).await?
            }
            Some(file) => self.known(file, ports, request, signals).await?,
        };
        self.measure(ports, desired, &mut observed, signals).await?;
        Ok(observed)
    }

    /// Reads all but the lists.
    pub(crate) async fn facts(&self, ports: &Ports, request: &Request, signals: &Signals) -> Result<Observed, Failure> {
        signals.or_stop(live::observe_with(ports, request, Lists::Skip)).await?.map_err(Failure::calls)
    }

    async fn known(
        &self,
        file: &Utf8Path,
        ports: &Ports,
        request: &Request,
        signals: &Signals,
    ) -> Result<Observed, Failure> {
        let mut inventory = inventory::read(file)?;
        let storages: BTreeSet<StorageName> = request.listed.iter().chain(&request.draining).cloned().collect();
        inventory.check(file, &self.gitlab, &self.environment, &storages)?;
        inventory.moved(&self.lock());
        signals.or_stop(live::observe_with(ports, request, Lists::Known(inventory))).await?.map_err(Failure::calls)
    }

    async fn listed(
        &self,
        ports: &Ports,
        request: &Request,
        desired: &Desired,
        signals: &Signals,
    ) -> Result<Observed, Failure> {
        // Ignored by git through the folder's own file.
        let made = lock::own_folder(Utf8Path::new(FOLDER)).is_ok();
        let storages: Vec<StorageName> = request.listed.iter().chain(&request.draining).cloned().collect();
        let draft = (made && !storages.is_empty())
            .then(|| Draft::begin(&self.own, &self.gitlab, &self.environment, storages, ports.clock.now()));
        if let Some(draft) = draft.as_ref().filter(|draft| draft.resumed()) {
            self.talk.say(&format!("Going on with the listing that was interrupted, begun at {}.\n", draft.began()));
        }
        let pace = Mutex::new(Instant::now());
        let talk = &self.talk;
        let tell = move |Progress { repositories, lists, of }: Progress| {
            let mut last = pace.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= SAY_EVERY {
                *last = Instant::now();
                talk.say(&format!(
                    "Listing what GitLab has: {repositories} repositories, {lists} of {of} lists read.\n"
                ));
            }
        };
        let lists = Lists::Read { draft: draft.as_ref(), tell: &tell };
        let read = signals.or_stop(live::observe_with(ports, request, lists)).await?;
        let mut observed = read.map_err(Failure::calls)?;
        self.measure(ports, desired, &mut observed, signals).await?;
        let written = draft.and_then(|d| d.finish(ports.clock.now(), &observed.lists, &observed.repositories));
        if let Some(fault) = written {
            self.talk.say(&format!("Warning: the inventory was not written: {fault}\n"));
        }
        Ok(observed)
    }

    async fn measure(
        &self,
        ports: &Ports,
        desired: &Desired,
        observed: &mut Observed,
        signals: &Signals,
    ) -> Result<(), Failure> {
        let wanted = plan::unmeasured(desired, observed);
        signals.or_stop(live::measure(ports, observed, &wanted)).await?;
        let pools = plan::pools_wanted(desired, observed);
        signals.or_stop(live::ask_pools(ports, observed, pools)).await?;
        let checks = plan::gates_wanted(desired, observed);
        signals.or_stop(live::ask_gates(ports, observed, &checks)).await
    }

    /// Takes note of what a run moved, for later readings of an inventory.
    pub(crate) fn moved(&self, moved: BTreeMap<Container, StorageName>) {
        if let Err(error) = inventory::append_moved(&self.own, &moved) {
            self.talk.say(&format!("Warning: the inventory does not know what was moved: {error}\n"));
        }
        self.lock().extend(moved);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Container, StorageName>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where it is said what is waited for: on standard error, or to a run's view while there is one.
#[derive(Clone)]
pub(crate) struct Talk {
    terminal: Terminal,
    view: Arc<Mutex<Option<UnboundedSender<Event>>>>,
}

impl Talk {
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self { terminal, view: Arc::default() }
    }

    /// From now on a view has the terminal.
    pub(crate) fn to(&self, view: Option<UnboundedSender<Event>>) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }

    fn say(&self, text: &str) {
        self.terminal.talk(text);
    }

    /// For the adapter: tells of waits for GitLab's rate limit.
    pub(crate) fn of_limits(&self) -> Tell {
        let talk = self.clone();
        Arc::new(move |Wait { what, left }: &Wait| {
            let left = crate::ui::eta(left.as_secs());
            let text = format!("for GitLab's rate limit on {what}, {left} left");
            let view = talk.view.lock().unwrap_or_else(PoisonError::into_inner);
            match &*view {
                Some(view) => drop(view.send(Event::Waiting { what: text })),
                None => talk.say(&format!("Waiting {text}.\n")),
            }
        })
    }
}
