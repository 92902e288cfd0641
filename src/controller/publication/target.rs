//! Writes the target of a publication.

use std::time::Duration;

use kube::api::PartialObjectMeta;

use super::{
    Reconciliation,
    error::Error,
    memory::Shape,
    object::{Data, OwnTarget, digest, new_target},
    requests::{TargetRequests, Text, parse},
    targets::{Owner, TargetName, owner_of},
};
use crate::{api::publication::PublicationResource, client::answer::Answer, domain::publication::TargetOutcome};

/// A target that changes between reading and writing it is read again at most so often.
const MAX_ATTEMPTS: usize = 3;

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It is done, or cannot be.
    Done(TargetOutcome),
    /// The last write was too recent.
    Later(Duration),
}

/// What to do if a target does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfAbsent {
    Create,
    /// For a target that is no longer wanted: it has to be right only as long as it exists.
    Leave,
}

/// What is known of a target.
#[derive(Debug)]
pub(super) enum Found {
    Absent,
    Foreign,
    Own(OwnTarget),
}

impl<K: PublicationResource> Reconciliation<'_, K> {
    /// Makes a target have exactly this data. Sends no request if the watch shows the version that was last verified to have it.
    pub(super) async fn write(
        &self,
        target: &TargetName,
        data: &Data,
        shape: &Shape,
        if_absent: IfAbsent,
    ) -> Result<Attempt, Error> {
        let memory = &self.context.publications;
        let digest = digest(data);
        let known = memory.targets.of(&self.reference.namespace, &self.uid).remove(target);
        let mut found = match &known {
            Some(version) if memory.is_verified(&self.uid, target, version, Some(&digest)) => {
                return Ok(Attempt::Done(TargetOutcome::Written));
            }
            Some(version) => {
                // It is known to have other data.
                if memory.is_verified(&self.uid, target, version, None)
                    && let Some(delay) = self.delay()
                {
                    return Ok(Attempt::Later(delay));
                }
                self.read(target).await?
            }
            // A foreign object is not worth a request with the whole text each time.
            None if memory.is_in_conflict(&self.uid, target) => self.read_if_own(target).await?,
            None => Found::Absent,
        };
        for _ in 0..MAX_ATTEMPTS {
            let object = match found {
                Found::Foreign => {
                    self.forget_target(target);
                    if if_absent == IfAbsent::Create {
                        memory.set_conflict(&self.uid, target, true);
                    }
                    return Ok(Attempt::Done(TargetOutcome::Conflict));
                }
                Found::Absent if if_absent == IfAbsent::Leave => {
                    self.forget_target(target);
                    return Ok(Attempt::Done(TargetOutcome::Written));
                }
                Found::Own(own) if own.is_right(data) => {
                    self.record(target, own, digest, shape);
                    return Ok(Attempt::Done(TargetOutcome::Written));
                }
                Found::Own(own) => Some(own),
                Found::Absent => None,
            };
            if let Some(delay) = self.delay() {
                return Ok(Attempt::Later(delay));
            }
            self.begin_to_write();
            let requests = self.requests(target);
            // It cannot get other data, and a stale text may let in a key that is revoked.
            if let Some((own, obstacle)) = object.as_ref().and_then(|own| Some((own, own.obstacle()?))) {
                if !self.delete(target, own.version()).await? {
                    return Ok(Attempt::Done(refused(obstacle.words())));
                }
                found = Found::Absent;
                continue;
            }
            let is_new = object.is_none();
            let answer = match object {
                None => {
                    let object = new_target(self.object, target, data);
                    self.with_deadline(requests.create(&object)).await?
                }
                Some(own) => {
                    let patch = own.patch(data);
                    self.with_deadline(requests.patch(&patch)).await?
                }
            };
            found = match answer {
                Ok(text) => {
                    self.context.metrics.record_publication_write(K::KIND);
                    return Ok(Attempt::Done(self.verify(target, &text, data, shape)?));
                }
                Err(kube::Error::Api(status)) if is_new && status.is_already_exists() => {
                    self.read_if_own(target).await?
                }
                Err(kube::Error::Api(status)) if !is_new && status.is_conflict() => self.read(target).await?,
                Err(kube::Error::Api(status)) if !is_new && status.is_not_found() => Found::Absent,
                Err(kube::Error::Api(status)) if is_refusal(status.code) => {
                    return Ok(Attempt::Done(TargetOutcome::Refused(Answer::of(&status).to_string())));
                }
                Err(error) => return Err(Error::WriteTarget(error)),
            };
        }
        Err(Error::Changing)
    }

    /// Checks what admission made of a write.
    fn verify(&self, target: &TargetName, text: &Text, data: &Data, shape: &Shape) -> Result<TargetOutcome, Error> {
        let Found::Own(own) = self.found(target, text)? else {
            return Ok(refused("admission removes the owner reference"));
        };
        if !own.has(data) {
            return Ok(refused("admission changes its data"));
        }
        if !own.is_right(data) {
            return Ok(refused("admission removes the label app.kubernetes.io/managed-by"));
        }
        self.record(target, own, digest(data), shape);
        Ok(TargetOutcome::Written)
    }

    /// Forgets a target that does not exist, or is not ours.
    pub(super) fn forget_target(&self, target: &TargetName) {
        self.context.publications.targets.forget(&self.reference.namespace, target, &self.uid);
        self.context.publications.forget_verified(&self.uid, target);
    }

    fn record(&self, target: &TargetName, own: OwnTarget, digest: [u8; 32], shape: &Shape) {
        let memory = &self.context.publications;
        let version = own.into_version();
        let owner = Owner { publication: self.reference.clone(), uid: self.uid.clone() };
        memory.targets.record(&self.reference.namespace, target.clone(), owner, version.clone());
        memory.record_verified(&self.uid, target, version, digest, shape.clone());
        memory.set_conflict(&self.uid, target, false);
    }

    /// Reads a target that its metadata shows to be ours.
    pub(super) async fn read(&self, target: &TargetName) -> Result<Found, Error> {
        self.hold_permit().await;
        match self.with_deadline(self.requests(target).get()).await? {
            Ok(text) => self.found(target, &text),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Found::Absent),
            Err(error) => Err(Error::ReadTarget(error)),
        }
    }

    /// Reads an object only if its metadata shows that it is ours.
    async fn read_if_own(&self, target: &TargetName) -> Result<Found, Error> {
        match self.with_deadline(self.requests(target).get_metadata()).await? {
            Ok(metadata) if owner_of(&metadata).is_some_and(|owner| owner.uid == self.uid) => self.read(target).await,
            Ok(_) => Ok(Found::Foreign),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Found::Absent),
            Err(error) => Err(Error::ReadTarget(error)),
        }
    }

    /// The object in a response. Of a foreign one, only the metadata is parsed.
    fn found(&self, target: &TargetName, text: &Text) -> Result<Found, Error> {
        let metadata: PartialObjectMeta = parse(text).ok_or(Error::Unreadable)?;
        if owner_of(&metadata).is_none_or(|owner| owner.uid != self.uid) {
            return Ok(Found::Foreign);
        }
        let object = parse(text).ok_or(Error::Unreadable)?;
        Ok(OwnTarget::new(target.kind, object, &self.uid).map_or(Found::Foreign, Found::Own))
    }

    pub(super) fn requests<'b>(&'b self, target: &'b TargetName) -> TargetRequests<'b> {
        TargetRequests { client: &self.context.client, namespace: &self.reference.namespace, target }
    }
}

fn refused(why: &str) -> TargetOutcome {
    TargetOutcome::Refused(why.to_owned())
}

/// Whether only a person can help. Conflicts, timeouts and overload resolve without action.
pub(super) fn is_refusal(code: u16) -> bool {
    (400..500).contains(&code) && ![408, 409, 429].contains(&code)
}
