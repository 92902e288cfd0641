//! The steps of a reconciliation that are about Secrets: each is a request or two, and what is known afterwards.

use kube::runtime::reflector::ObjectRef;

use super::{
    super::{
        answer::Answer,
        error::Error,
        secrets::{self, Attempt, Content, Created, RequestError},
    },
    Reconciliation, in_time,
};
use crate::domain::{
    decide::{Belongs, Move, Observed, ReadSecret, SecretView},
    key::{KeySpec, PrivateKey},
    reason::Reason,
};

impl Reconciliation<'_> {
    pub(super) async fn in_time<T>(&self, request: impl Future<Output = T>) -> Result<T, Error> {
        in_time(&self.context.leadership, request).await
    }

    /// The same with an answer that may be large, of which only so many are in memory at once.
    pub(super) async fn in_turn<T>(&self, request: impl Future<Output = T>) -> Result<T, Error> {
        let _turn = self.context.reading.take(&self.namespace).await;
        self.in_time(request).await
    }

    pub(super) async fn read_secret(&self, name: &str) -> Result<SecretView, Error> {
        let settings = &self.desired.parameters.secret;
        let overruled = self.overruled(name);
        let read = secrets::read(&self.context.client, self.key_pair, name, settings, &overruled);
        viewed(self.in_turn(read).await?).map_err(Error::ReadSecret)
    }

    pub(super) async fn update_secret(
        &self,
        name: &str,
        version: &str,
        moved_from: Option<&str>,
    ) -> Result<SecretView, Error> {
        let overruled = self.overruled(name);
        let update =
            secrets::update(&self.context.client, self.key_pair, self.attempt(name, version, &overruled), moved_from);
        let view = viewed(self.in_turn(update).await?).map_err(Error::UpdateSecret)?;
        if let SecretView::Read(secret) = &view {
            self.context.made.note(&self.desired.uid, &self.namespace, name);
            self.note_overruled(name, &secret.missing);
        }
        Ok(view)
    }

    pub(super) async fn release_secret(&self, name: &str, observed: &Observed) -> Result<SecretView, Error> {
        let Some(version) = version(observed, name) else { return Ok(SecretView::Unread(None)) };
        let overruled = self.overruled(name);
        let release = secrets::release(&self.context.client, self.key_pair, self.attempt(name, version, &overruled));
        let released = viewed(self.in_turn(release).await?).map_err(Error::UpdateSecret)?;
        self.context.made.forget(&self.desired.uid, &self.namespace, name);
        Ok(released)
    }

    fn attempt<'b>(&'b self, name: &'b str, version: &'b str, overruled: &'b [String]) -> Attempt<'b> {
        Attempt { name, settings: &self.desired.parameters.secret, version, overruled }
    }

    /// What admission has changed lately of what was written to the Secret of this name.
    fn overruled(&self, name: &str) -> Vec<String> {
        self.context.overruled.parts(&self.desired.uid, name, &self.desired.parameters.secret.digest(false))
    }

    fn note_overruled(&self, name: &str, missing: &[String]) {
        let digest = self.desired.parameters.secret.digest(false);
        self.context.overruled.note(&self.desired.uid, name, &digest, missing);
    }

    /// Creates the Secret `to` with the key in the Secret `from`. Answers with the Secret of which something new is known.
    pub(super) async fn copy_secret(&self, from: String, to: String) -> (String, Result<SecretView, Error>) {
        let settings = &self.desired.parameters.secret;
        let key = self.in_turn(secrets::private_key(&self.context.client, self.key_pair, &from, settings)).await;
        match key.and_then(|key| key.map_err(Error::ReadSecret)) {
            Ok(Some(key)) => {
                let view = self.post_key(&to, &key, None, Some(from)).await;
                (to, view)
            }
            Ok(None) => {
                let view = self.read_secret(&from).await;
                (from, view)
            }
            Err(error) => (from, Err(error)),
        }
    }

    pub(super) async fn end_move(&self, name: &str, version: &str, observed: &Observed) -> Result<SecretView, Error> {
        let Some(SecretView::Read(secret)) = observed.secrets.get(name) else { return Ok(SecretView::Unread(None)) };
        let end = secrets::end_move(&self.context.client, self.key_pair, name, version);
        let version = self.in_time(end).await?.map_err(Error::UpdateSecret)?;
        Ok(SecretView::Read(ReadSecret { moved: None, version, ..secret.clone() }))
    }

    pub(super) async fn delete_secret(&self, name: &str, observed: &Observed) -> Result<SecretView, Error> {
        let Some(version) = version(observed, name) else { return Ok(SecretView::Unread(None)) };
        let delete = secrets::delete(&self.context.client, self.key_pair, name, version);
        self.in_time(delete).await?.map_err(Error::DeleteSecret)?;
        self.context.made.forget(&self.desired.uid, &self.namespace, name);
        Ok(SecretView::Absent)
    }

    /// Creates the Secret with a key pair that is generated for it; where there is one of that name already, reads that instead.
    /// `None`: the key is being generated, or the `KeyPair` is no longer what it was, and either brings us back.
    pub(super) async fn create_secret(
        &self,
        name: &str,
        spec: KeySpec,
        replaces: Option<String>,
        observed: &Observed,
    ) -> Result<Option<SecretView>, Error> {
        let keys = &self.context.keys;
        let uid = self.desired.uid.as_str();
        let mut private_key = keys.fetch(uid, spec);
        if private_key.is_none() {
            // What was refused before may be refused again: that is found out before a key is generated for nothing.
            if matches!(observed.refused, Some(Reason::InvalidSecret | Reason::InternalError)) {
                let rehearsal = self.post_secret(name, &Content::placeholder(), true).await?;
                if let Err(instead) = rehearsal {
                    return Ok(Some(instead));
                }
            }
            if !self.context.is_current(self.key_pair) {
                return Ok(None);
            }
            private_key = keys.begin(&ObjectRef::from_obj(self.key_pair), uid, spec);
        }
        let Some(private_key) = private_key else { return Ok(None) };
        self.post_key(name, &private_key?, replaces, None).await.map(Some)
    }

    /// Creates the Secret with this key; where there is one of that name already, reads that instead.
    pub(super) async fn post_key(
        &self,
        name: &str,
        key: &PrivateKey,
        replaces: Option<String>,
        moved_from: Option<String>,
    ) -> Result<SecretView, Error> {
        let public_key = key.public_key(secrets::NO_COMMENT)?;
        let encoding = self.desired.parameters.secret.encoding(None);
        let content = Content::new(key, &public_key, encoding)?.replacing(replaces.clone());
        let content = content.moved_from(moved_from.clone());
        let Created { version, belongs, in_sight, missing } = match self.post_secret(name, &content, false).await? {
            Ok(created) => created,
            Err(instead) => return Ok(instead),
        };
        Ok(SecretView::Read(ReadSecret {
            belongs,
            adopted: false,
            in_sight,
            owner: None,
            moved: moved_from.map(|from| Move { from, to: name.to_owned() }),
            missing,
            obstacle: None,
            public_key: Some(public_key),
            up_to_date: true,
            type_fits: true,
            replaces,
            version,
        }))
    }

    /// Creates the Secret, and says what came back, or what is known instead where it could not be created.
    pub(super) async fn post_secret(
        &self,
        name: &str,
        content: &Content,
        dry_run: bool,
    ) -> Result<Result<Created, SecretView>, Error> {
        let settings = &self.desired.parameters.secret;
        let made = &self.context.made;
        // Where an earlier answer did not come, the Secret may be there.
        let in_doubt = made.is_noted(&self.desired.uid, &self.namespace, name);
        if !dry_run {
            // Noted before: should the answer not come, the next try may want another name.
            made.note(&self.desired.uid, &self.namespace, name);
        }
        let create = secrets::create(&self.context.client, self.key_pair, name, settings, content, dry_run);
        let instead = match self.in_time(create).await? {
            Ok(created) => {
                if !dry_run {
                    self.note_overruled(name, &created.missing);
                }
                return Ok(Ok(created));
            }
            Err(RequestError::Kube(kube::Error::Api(status))) if status.is_already_exists() => {
                if !in_doubt {
                    // It was there before: unless it says that it is this pair's, it is somebody else's.
                    made.forget(&self.desired.uid, &self.namespace, name);
                }
                let found = self.read_secret(name).await?;
                if matches!(&found, SecretView::Read(secret) if secret.belongs == Belongs::Ours) {
                    made.note(&self.desired.uid, &self.namespace, name);
                }
                found
            }
            Err(error) => {
                let refusal = refused(error).map_err(Error::CreateSecret)?;
                let found = if in_doubt { self.read_secret(name).await? } else { SecretView::Absent };
                if found == SecretView::Absent {
                    made.forget(&self.desired.uid, &self.namespace, name);
                    refusal
                } else {
                    found
                }
            }
        };
        if matches!(&instead, SecretView::Read(secret) if secret.belongs != Belongs::Ours) {
            made.forget(&self.desired.uid, &self.namespace, name);
        }
        Ok(Err(instead))
    }
}

/// The version of the Secret of this name that was decided about.
fn version<'a>(observed: &'a Observed, name: &str) -> Option<&'a str> {
    match observed.secrets.get(name)? {
        SecretView::Read(secret) => Some(&secret.version),
        _ => None,
    }
}

/// What a request about a Secret tells of it.
fn viewed(answer: Result<Option<ReadSecret>, RequestError>) -> Result<SecretView, RequestError> {
    match answer {
        Ok(Some(secret)) => Ok(SecretView::Read(secret)),
        Ok(None) => Ok(SecretView::Absent),
        Err(error) => refused(error),
    }
}

/// What an answer of the API server says about the Secret, if it is one that a person has to act on.
fn refused(error: RequestError) -> Result<SecretView, RequestError> {
    match error {
        RequestError::Kube(kube::Error::Api(status)) if status.is_invalid() => {
            Ok(SecretView::Invalid(Answer::of(&status).to_string()))
        }
        // Conflicts, timeouts and overload pass by themselves.
        RequestError::Kube(kube::Error::Api(status))
            if (400..500).contains(&status.code) && ![408, 409, 429].contains(&status.code) =>
        {
            Ok(SecretView::Forbidden(Answer::of(&status).to_string()))
        }
        error => Err(error),
    }
}
