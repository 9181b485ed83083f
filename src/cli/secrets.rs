//! Turns references to secrets into secrets. Their values are in no message.

use camino::Utf8Path;
use secrecy::{ExposeSecret as _, SecretString};

use super::failure::Failure;
use crate::live::kubernetes::KubeCluster;
use crate::model::SecretRef;

/// Reads a secret; `what` names it for messages (`the GitLab token`). Files are relative to the configuration.
pub(crate) async fn resolve(
    what: &str,
    reference: &SecretRef,
    folder: &Utf8Path,
    cluster: Option<&KubeCluster>,
) -> Result<SecretString, Failure> {
    let text = match reference {
        SecretRef::Env(name) => std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => {
                Failure::new(format!("{what}: {reference} is not set"), format!("Set it: export {name}=…"))
            }
            std::env::VarError::NotUnicode(_) => {
                Failure::new(format!("{what}: {reference} is not UTF-8"), "A token is plain text.")
            }
        })?,
        SecretRef::File(path) => fs_err::read_to_string(folder.join(path)).map_err(|error| {
            // An error of reading names the file, never its content.
            let help = "Put the token alone into that file; a relative path begins at the configuration's folder.";
            Failure::new(format!("{what}: {error}"), help)
        })?,
        SecretRef::Kubernetes { secret, key } => {
            let Some(cluster) = cluster else {
                return Err(Failure::new(
                    format!("{what}: {reference} cannot be read: the configuration names no cluster"),
                    "Add a `kubernetes` block with `namespace`, or use { env = \"NAME\" } or { file = \"path\" }.",
                ));
            };
            let value = cluster.secret(secret, key).await.map_err(|mut error| {
                error.call = format!("{what}: {}", error.call);
                error
            })?;
            return word(what, reference, value.expose_secret());
        }
    };
    word(what, reference, &text)
}

/// Takes the one word that a token is.
fn word(what: &str, reference: &SecretRef, text: &str) -> Result<SecretString, Failure> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::new(format!("{what}: {reference} is empty"), "Put the token there."));
    }
    if let Some(at) = text.chars().position(|c| c.is_control() || c.is_whitespace()) {
        return Err(Failure::new(
            format!("{what}: {reference} has a space or control character inside, as character {}", at + 1),
            "A token is one word; is there more than the token?",
        ));
    }
    Ok(SecretString::from(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::failure::Reason;
    use super::*;

    fn message(failure: &Failure) -> String {
        match &failure.reason {
            Reason::Messages(messages) => format!("{messages:?}"),
            Reason::Diagnostics(_) => String::new(),
        }
    }

    fn sync<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
    }

    #[test]
    fn files_are_trimmed_and_nothing_is_told_of_them() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let read = |content: &str| {
            fs_err::write(path.join("token"), content).expect("written");
            sync(resolve("the GitLab token", &SecretRef::File("token".into()), path, None))
        };
        assert_eq!(read(" canary\n").expect("read").expose_secret(), "canary");
        for bad in ["", " \n", "canary two", "canary\u{7}x"] {
            let failure = read(bad).expect_err("refused");
            assert!(message(&failure).contains("the GitLab token: file token"), "{failure:?}");
            assert!(!message(&failure).contains("canary"), "{failure:?}");
        }
        let absent = SecretRef::File("absent".into());
        let absent = sync(resolve("the GitLab token", &absent, path, None)).expect_err("absent");
        assert!(message(&absent).contains("absent"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_clearly() {
        let folder = Utf8Path::new(".");
        let unset = SecretRef::Env("TRANSHIP_TEST_SURELY_UNSET".into());
        let failure = sync(resolve("the GitLab token", &unset, folder, None)).expect_err("unset");
        assert!(message(&failure).contains("environment variable TRANSHIP_TEST_SURELY_UNSET is not set"));
        let kubernetes = SecretRef::Kubernetes { secret: "s".into(), key: "k".into() };
        let failure = sync(resolve("the GitLab token", &kubernetes, folder, None)).expect_err("no cluster");
        assert!(message(&failure).contains("the configuration names no cluster"));
    }
}
