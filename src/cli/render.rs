//! `render`: what GitLab, Helm and Kubernetes must be told, from the same configuration. Offline; changes nothing.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{self, RenderCommand};
use super::context::{self, Context, Project};
use super::exit::Exit;
use super::failure::Failure;
use crate::model::{ClusterSettings, Desired, DesiredStorage, PodSpec, StorageName};
use crate::plan::pods::{declare, wanted};
use crate::ui;

/// Prints what was asked for.
pub(super) fn render(context: &Context, command: &RenderCommand) -> Result<Exit, Failure> {
    let terminal = &context.terminal;
    let text = match command {
        RenderCommand::Helm { only, gitaly_chart } => {
            let project = context::load(terminal, &only.variables)?;
            let chosen = chosen(&project.desired, only)?;
            if *gitaly_chart { gitaly_release(&project, &chosen)? } else { helm(&project.desired, &chosen)? }
        }
        RenderCommand::GitlabRb { only } => {
            let project = context::load(terminal, &only.variables)?;
            gitlab_rb(&project.desired, &chosen(&project.desired, only)?)?
        }
        RenderCommand::Rbac { variables, user } => rbac(&context::load(terminal, variables)?, user.as_deref())?,
        RenderCommand::Manifests { only } => {
            let project = context::load(terminal, &only.variables)?;
            manifests(&project, &chosen(&project.desired, only)?)?
        }
    };
    terminal.data(&text)?;
    Ok(Exit::Done)
}

/// The storages that were asked for: all, if none was named.
fn chosen<'d>(desired: &'d Desired, only: &args::RenderStorages) -> Result<Vec<&'d DesiredStorage>, Failure> {
    if only.storage.is_empty() {
        return Ok(desired.storages.values().collect());
    }
    let named = only.storage.iter().map(|named| context::storage(desired, named, "--storage "));
    let named = named.collect::<Result<Vec<_>, _>>()?;
    Ok(desired.storages.values().filter(|one| named.iter().any(|named| named.name == one.name)).collect())
}

/// Storages with the addresses that GitLab dials.
fn addresses<'d>(storages: &[&'d DesiredStorage]) -> Result<Vec<(&'d StorageName, String)>, Failure> {
    let addressed = |storage: &&'d DesiredStorage| Some((&storage.name, storage.endpoint.as_ref()?.to_string()));
    let found: Vec<_> = storages.iter().filter_map(addressed).collect();
    if found.is_empty() {
        return Err(Failure::new(
            "no storage has an address",
            "On the embedded fleet GitLab is told by itself, or with gitlab_knows = \"manual\" by: tranship sandbox know NAME. \
             With a `gitlab` block, storages have addresses.",
        ));
    }
    Ok(found)
}

/// What must be said where the storage `default` is not among those that are declared.
fn without_default(storages: &[&DesiredStorage]) -> Option<&'static str> {
    let declared = storages.iter().any(|storage| storage.name.as_str() == "default");
    (!declared).then_some("# GitLab needs a storage named `default`, also when it is drained: keep it declared.\n")
}

fn helm(desired: &Desired, storages: &[&DesiredStorage]) -> Result<String, Failure> {
    let (values, without) = declare::chart_values(addresses(storages)?);
    let mut text = String::from(
        "# For the release of GitLab's chart that runs GitLab: the storages outside of it.\n\
         # Helm replaces a list whole: keep all of it in one file. Storages that this release runs itself stay where they\n\
         # are, in global.gitaly.internal.names, and are left out here.\n",
    );
    if storages.len() == desired.storages.len() {
        text.push_str(without_default(storages).unwrap_or_default());
    }
    for storage in without {
        let _ = writeln!(text, "# {storage} is dialled at a socket, for which the chart has no words.");
    }
    text.push_str(&ui::yaml(&[values]));
    Ok(text)
}

fn gitlab_rb(desired: &Desired, storages: &[&DesiredStorage]) -> Result<String, Failure> {
    let mut text = String::from(
        "# /etc/gitlab/gitlab.rb of every machine that runs Rails or Sidekiq; then: gitlab-ctl reconfigure\n\
         # A storage with a token of its own needs it here too: 'gitaly_token' => '…'\n",
    );
    let all = storages.len() == desired.storages.len();
    if all {
        text.push_str(without_default(storages).unwrap_or_default());
        text.push_str("gitlab_rails['repositories_storages'] = {\n");
    } else {
        // A hash that is set anew takes away what it does not name.
        text.push_str(
            "# Lines for the hash gitlab_rails['repositories_storages'] that is there: it keeps its others, `default` among them.\n",
        );
    }
    for (storage, address) in addresses(storages)? {
        let _ = writeln!(text, "  {}", declare::gitlab_rb_entry(storage, &address));
    }
    if all {
        text.push_str("}\n");
    }
    Ok(text)
}

/// The cluster, and storages with their pods.
type Deployed<'d> = (&'d ClusterSettings, Vec<(&'d DesiredStorage, &'d PodSpec)>);

/// The cluster and the storages with pods among those that were asked for.
fn pods<'d>(project: &'d Project, storages: &[&'d DesiredStorage]) -> Result<Deployed<'d>, Failure> {
    let pods: Vec<_> = storages.iter().filter_map(|storage| Some((*storage, storage.pod.as_deref()?))).collect();
    match &project.desired.cluster {
        Some(cluster) if !pods.is_empty() => Ok((cluster, pods)),
        _ => Err(Failure::new(
            "no storage with a pod is declared, or none of those that were named has one",
            "Give a storage a pod: pod = pod_spec.NAME",
        )),
    }
}

fn gitaly_release(project: &Project, storages: &[&DesiredStorage]) -> Result<String, Failure> {
    let (cluster, pods) = pods(project, storages)?;
    let [(storage, spec)] = pods.as_slice() else {
        let names: Vec<&str> = pods.iter().map(|(storage, _)| storage.name.as_str()).collect();
        return Err(Failure::new(
            format!("each storage is a release of its own, and there are {}: {}", names.len(), names.join(", ")),
            "Choose one: tranship render helm --gitaly-chart --storage NAME",
        ));
    };
    let others = project.desired.storages.values().filter(|other| other.name != storage.name);
    let others: Vec<_> = others.filter_map(|o| Some((&o.name, o.endpoint.as_ref()?.to_string()))).collect();
    let (name, namespace) = (&storage.name, &cluster.namespace);
    let mut text = format!(
        "# A release of GitLab's chart with one Gitaly and nothing else:\n\
         #   helm upgrade --install {name} gitlab/gitlab --namespace {namespace} --values FILE\n\
         # It is then observed like a machine's, one owner for each object. Declare it so, without `pod`:\n\
         #   storage \"{name}\" {{ address = \"{}\" }}\n",
        declare::chart_address(name, namespace)
    );
    if !others.iter().any(|(other, _)| other.as_str() == "default") && name.as_str() != "default" {
        text.push_str("# The chart wants a storage named `default`: add it to global.gitaly.external.\n");
    }
    if spec.extra.as_object().is_some_and(|extra| !extra.is_empty())
        || spec.config.as_object().is_some_and(|c| !c.is_empty())
    {
        text.push_str(
            "# `config` and `extra` of the pod_spec have no counterpart here: the chart has words of its own.\n",
        );
    }
    text.push_str(&ui::yaml(&[declare::gitaly_release(storage, spec, cluster, others)]));
    Ok(text)
}

fn rbac(project: &Project, user: Option<&str>) -> Result<String, Failure> {
    let Some(cluster) = &project.desired.cluster else {
        return Err(Failure::new(
            "the configuration has no `kubernetes` block",
            "Add: kubernetes { namespace = \"gitaly\" … }",
        ));
    };
    let subject = match user {
        Some(name) => json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }),
        None => json!({ "kind": "ServiceAccount", "name": "tranship", "namespace": cluster.namespace }),
    };
    let mut text = String::from(
        "# All that tranship asks of the cluster, and no more. Somebody who may grants it: kubectl apply -f FILE\n",
    );
    if user.is_none() {
        let _ = writeln!(text, "# For the ServiceAccount tranship; `--user NAME` for a person or a CI job.");
    }
    text.push_str(&ui::yaml(&declare::rights(&project.desired, cluster, &subject)));
    Ok(text)
}

fn manifests(project: &Project, storages: &[&DesiredStorage]) -> Result<String, Failure> {
    let (_, pods) = pods(project, storages)?;
    let wanted = wanted(&project.desired);
    let all = pods.iter().filter_map(|(storage, _)| wanted.storages.get(&storage.name));
    let bodies: Vec<Value> = all.flat_map(|one| &one.manifests).map(|manifest| manifest.body.clone()).collect();
    Ok(ui::yaml(&bodies))
}
