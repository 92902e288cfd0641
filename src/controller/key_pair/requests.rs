//! The steps of a reconciliation that concern Secrets: each sends a request or two, and returns what is known afterwards.

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{
    Reconciliation,
    error::Error,
    secrets::{self, Content, Created, HeldPrivateKeys, RequestError, RotationKeys, SecretUpdate},
    with_deadline,
};
use crate::{
    client::answer::Answer,
    domain::{
        decide::{Move, Observed, ObservedSecret, Ownership, ReadSecret},
        key::{KeySpec, PrivateKey},
        reason::Reason,
    },
};

impl Reconciliation<'_> {
    pub(super) async fn with_deadline<T>(&self, request: impl Future<Output = T>) -> Result<T, Error> {
        with_deadline(&self.context.leadership, request).await
    }

    /// The same for a response that may be large: only a limited number of them is in memory at once.
    pub(super) async fn with_read_permit<T>(&self, request: impl Future<Output = T>) -> Result<T, Error> {
        let _permit = self.context.large_response_permits.acquire(&self.namespace).await;
        self.with_deadline(request).await
    }

    pub(super) async fn read_secret(&self, name: &str) -> Result<ObservedSecret, Error> {
        let settings = &self.desired.parameters.secret;
        let admission_changes = self.admission_changes(name);
        let read = secrets::read(&self.context.client, self.key_pair, name, settings, &admission_changes);
        to_observed(self.with_read_permit(read).await?).map_err(Error::ReadSecret)
    }

    pub(super) async fn update_secret(
        &self,
        name: &str,
        version: &str,
        moved_from: Option<&str>,
    ) -> Result<ObservedSecret, Error> {
        let admission_changes = self.admission_changes(name);
        let update = secrets::update(
            &self.context.client,
            self.key_pair,
            self.secret_update(name, version, &admission_changes),
            moved_from,
        );
        let updated = to_observed(self.with_read_permit(update).await?).map_err(Error::UpdateSecret)?;
        if let ObservedSecret::Read(secret) = &updated {
            self.context.created_secrets.record(&self.desired.uid, &self.namespace, name);
            self.record_admission_changes(name, &secret.admission_changes);
        }
        Ok(updated)
    }

    pub(super) async fn release_secret(&self, name: &str, observed: &Observed) -> Result<ObservedSecret, Error> {
        let Some(version) = version(observed, name) else { return Ok(ObservedSecret::Unread(None)) };
        let admission_changes = self.admission_changes(name);
        let release = secrets::release(
            &self.context.client,
            self.key_pair,
            self.secret_update(name, version, &admission_changes),
        );
        let released = to_observed(self.with_read_permit(release).await?).map_err(Error::UpdateSecret)?;
        self.context.created_secrets.forget(&self.desired.uid, &self.namespace, name);
        Ok(released)
    }

    pub(super) fn secret_update<'b>(
        &'b self,
        name: &'b str,
        version: &'b str,
        admission_changes: &'b [String],
    ) -> SecretUpdate<'b> {
        SecretUpdate { name, settings: &self.desired.parameters.secret, version, admission_changes }
    }

    /// What admission recently changed in the Secret of this name.
    pub(super) fn admission_changes(&self, name: &str) -> Vec<String> {
        self.context.admission_changes.parts(&self.desired.uid, name, &self.desired.parameters.secret.digest(false))
    }

    pub(super) fn record_admission_changes(&self, name: &str, changes: &[String]) {
        let digest = self.desired.parameters.secret.digest(false);
        self.context.admission_changes.record(&self.desired.uid, name, &digest, changes);
    }

    /// Creates the Secret `to` with the key in the Secret `from`. Returns the name of the Secret that was observed, and the observation.
    pub(super) async fn copy_secret(&self, from: String, to: String) -> (String, Result<ObservedSecret, Error>) {
        let settings = &self.desired.parameters.secret;
        let keys =
            self.with_read_permit(secrets::private_keys(&self.context.client, self.key_pair, &from, settings)).await;
        match keys.and_then(|keys| keys.map_err(Error::ReadSecret)) {
            Ok(Some(HeldPrivateKeys { current, rotation })) => {
                let observed = self.post_key(&to, &current, None, Some(from), rotation).await;
                (to, observed)
            }
            Ok(None) => {
                let observed = self.read_secret(&from).await;
                (from, observed)
            }
            Err(error) => (from, Err(error)),
        }
    }

    pub(super) async fn end_move(
        &self,
        name: &str,
        version: &str,
        observed: &Observed,
    ) -> Result<ObservedSecret, Error> {
        let Some(ObservedSecret::Read(secret)) = observed.secrets.get(name) else {
            return Ok(ObservedSecret::Unread(None));
        };
        let end = secrets::end_move(&self.context.client, self.key_pair, name, version);
        let version = self.with_deadline(end).await?.map_err(Error::UpdateSecret)?;
        Ok(ObservedSecret::Read(ReadSecret { moved: None, version, ..secret.clone() }))
    }

    pub(super) async fn delete_secret(&self, name: &str, observed: &Observed) -> Result<ObservedSecret, Error> {
        let Some(version) = version(observed, name) else { return Ok(ObservedSecret::Unread(None)) };
        let delete = secrets::delete(&self.context.client, self.key_pair, name, version);
        self.with_deadline(delete).await?.map_err(Error::DeleteSecret)?;
        self.context.created_secrets.forget(&self.desired.uid, &self.namespace, name);
        Ok(ObservedSecret::Absent)
    }

    /// Creates the Secret with a generated key pair; if a Secret of that name exists, reads that instead. `None`: the key is being
    /// generated, or the `KeyPair` has changed, and either triggers another reconciliation.
    pub(super) async fn create_secret(
        &self,
        name: &str,
        spec: KeySpec,
        replaces: Option<String>,
        observed: &Observed,
    ) -> Result<Option<ObservedSecret>, Error> {
        if !self.is_latest_if_accepted().await? {
            return Ok(None);
        }
        let keys = &self.context.pending_keys;
        let uid = self.desired.uid.as_str();
        let mut private_key = keys.take_ready(uid, spec);
        if private_key.is_none() {
            // The API server may refuse the Secret again: a dry run finds out before a key is generated for nothing.
            if matches!(observed.refused, Some(Reason::InvalidSecret | Reason::InternalError)) {
                let dry_run = self.post_secret(name, &Content::placeholder(), true).await?;
                if let Err(fallback) = dry_run {
                    return Ok(Some(fallback));
                }
            }
            if !self.context.is_current(self.key_pair) {
                return Ok(None);
            }
            private_key = keys.get_or_start(&ObjectRef::from_obj(self.key_pair), uid, spec);
        }
        let Some(private_key) = private_key else { return Ok(None) };
        self.post_key(name, &private_key?, replaces, None, RotationKeys::default()).await.map(Some)
    }

    /// Whether the API server still stores this version of the `KeyPair`. Asks only if an acceptance of this version got no response: the
    /// status may then record a key that this version does not show, and its Secret may have been deleted since.
    async fn is_latest_if_accepted(&self) -> Result<bool, Error> {
        let version = self.key_pair.resource_version().unwrap_or_default();
        if !self.context.cache.index.is_acceptance_pending(&self.namespace, &self.desired.uid, &version) {
            return Ok(true);
        }
        let _permit = self.context.large_response_permits.acquire(&self.namespace).await;
        let stored = super::read(&ObjectRef::from_obj(self.key_pair), self.context).await?;
        Ok(stored.is_some_and(|stored| stored.resource_version().as_ref() == Some(&version)))
    }

    /// Creates the Secret with this key; if a Secret of that name exists, reads that instead.
    pub(super) async fn post_key(
        &self,
        name: &str,
        key: &PrivateKey,
        replaces: Option<String>,
        moved_from: Option<String>,
        rotation: RotationKeys,
    ) -> Result<ObservedSecret, Error> {
        let entries = rotation.entries();
        let public_key = key.public_key(secrets::NO_COMMENT)?;
        let encoding = self.desired.parameters.secret.encoding(None);
        let content = Content::new(key, &public_key, encoding)?.replacing(replaces.clone());
        let content = content.moved_from(moved_from.clone()).with_rotation(rotation);
        let Created { version, ownership, is_selected, admission_changes } =
            match self.post_secret(name, &content, false).await? {
                Ok(created) => created,
                Err(fallback) => return Ok(fallback),
            };
        Ok(ObservedSecret::Read(ReadSecret {
            ownership,
            adopted: false,
            is_selected,
            owner: None,
            moved: moved_from.map(|from| Move { from, to: name.to_owned() }),
            admission_changes,
            incompatibility: None,
            public_key: Some(public_key),
            up_to_date: true,
            is_type_allowed: true,
            replaces,
            rotation: Box::new(entries),
            version,
        }))
    }

    /// Creates the Secret. Returns what was created or, if that failed, what is known about the Secret instead.
    pub(super) async fn post_secret(
        &self,
        name: &str,
        content: &Content,
        dry_run: bool,
    ) -> Result<Result<Created, ObservedSecret>, Error> {
        let settings = &self.desired.parameters.secret;
        let created_secrets = &self.context.created_secrets;
        // If an earlier create request got no response, the Secret may exist.
        let in_doubt = created_secrets.contains(&self.desired.uid, &self.namespace, name);
        if !dry_run {
            // Recorded before the request: if no response arrives, the next attempt may use another name.
            created_secrets.record(&self.desired.uid, &self.namespace, name);
        }
        let create = secrets::create(&self.context.client, self.key_pair, name, settings, content, dry_run);
        let fallback = match self.with_deadline(create).await? {
            Ok(created) => {
                if !dry_run {
                    self.record_admission_changes(name, &created.admission_changes);
                }
                return Ok(Ok(created));
            }
            Err(RequestError::Kube(kube::Error::Api(status))) if status.is_already_exists() => {
                if !in_doubt {
                    // It existed before: unless its metadata names this pair as the owner, it is foreign.
                    created_secrets.forget(&self.desired.uid, &self.namespace, name);
                }
                let found = self.read_secret(name).await?;
                if matches!(&found, ObservedSecret::Read(secret) if secret.ownership == Ownership::Ours) {
                    created_secrets.record(&self.desired.uid, &self.namespace, name);
                }
                found
            }
            Err(error) => {
                let refusal = observe_refusal(error).map_err(Error::CreateSecret)?;
                let found = if in_doubt { self.read_secret(name).await? } else { ObservedSecret::Absent };
                if found == ObservedSecret::Absent {
                    created_secrets.forget(&self.desired.uid, &self.namespace, name);
                    refusal
                } else {
                    found
                }
            }
        };
        if matches!(&fallback, ObservedSecret::Read(secret) if secret.ownership != Ownership::Ours) {
            created_secrets.forget(&self.desired.uid, &self.namespace, name);
        }
        Ok(Err(fallback))
    }
}

/// The observed version of the Secret of this name.
fn version<'a>(observed: &'a Observed, name: &str) -> Option<&'a str> {
    match observed.secrets.get(name)? {
        ObservedSecret::Read(secret) => Some(&secret.version),
        _ => None,
    }
}

/// Turns the response to a request for a Secret into an observation.
pub(super) fn to_observed(answer: Result<Option<ReadSecret>, RequestError>) -> Result<ObservedSecret, RequestError> {
    match answer {
        Ok(Some(secret)) => Ok(ObservedSecret::Read(secret)),
        Ok(None) => Ok(ObservedSecret::Absent),
        Err(error) => observe_refusal(error),
    }
}

/// Turns an error that needs action by a person into an observation of the Secret.
fn observe_refusal(error: RequestError) -> Result<ObservedSecret, RequestError> {
    match error {
        RequestError::Kube(kube::Error::Api(status)) if status.is_invalid() => {
            Ok(ObservedSecret::Invalid(Answer::of(&status).to_string()))
        }
        // Conflicts, timeouts and overload resolve without action.
        RequestError::Kube(kube::Error::Api(status))
            if (400..500).contains(&status.code) && ![408, 409, 429].contains(&status.code) =>
        {
            Ok(ObservedSecret::Forbidden(Answer::of(&status).to_string()))
        }
        error => Err(error),
    }
}
