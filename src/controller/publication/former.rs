//! The former targets of a publication, whose `spec.target` was edited, and all of one that is being deleted.
//!
//! They are deleted once the new target is written. While it cannot be, they are kept up to date: somebody may still read them, and a
//! revoked key must not stay anywhere. The same holds for the targets of a publication whose deletion waits for a finalizer.

use super::{
    MAX_REFUSAL_DELAY, Reconciliation, RequeueAfter,
    error::Error,
    memory::Shape,
    name_of, rendered_for, shape_of,
    target::{Attempt, Found, IfAbsent, is_refusal},
    targets::{TargetName, TargetVersion},
};
use crate::{
    api::publication::PublicationResource,
    client::answer::Answer,
    domain::publication::{Layout, Publication, Resolved, TargetOutcome},
};

impl<K: PublicationResource> Reconciliation<'_, K> {
    /// Deletes the former targets, or keeps them up to date.
    pub(super) async fn follow_up(
        &self,
        publication: &Publication,
        resolved: &[Resolved],
        is_written: bool,
    ) -> Result<RequeueAfter, Error> {
        let is_going = self.object.meta().deletion_timestamp.is_some();
        let current = publication.target.as_ref().map(name_of).filter(|_| !is_going);
        let (mut next, mut failure) = (None, None);
        for (name, version) in self.context.publications.targets.of(&self.reference.namespace, &self.uid) {
            if current.as_ref() == Some(&name) {
                continue;
            }
            // A failure of one must not keep a revoked key in another.
            match self.follow_up_one(publication, resolved, (&name, &version), is_written).await {
                Ok(delay) => next = [next, delay].into_iter().flatten().min(),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(next), Err)
    }

    async fn follow_up_one(
        &self,
        publication: &Publication,
        resolved: &[Resolved],
        (name, version): (&TargetName, &TargetVersion),
        is_written: bool,
    ) -> Result<RequeueAfter, Error> {
        if is_written && self.delete(name, version).await? {
            return Ok(None);
        }
        // Nothing shows when the API server no longer refuses something.
        let retry = Some(MAX_REFUSAL_DELAY);
        Ok(match self.update_former(publication, resolved, name).await? {
            Attempt::Later(delay) => Some(delay),
            Attempt::Done(TargetOutcome::Refused(error)) => {
                self.warn(name, &error, "cannot keep the former target up to date");
                retry
            }
            Attempt::Done(_) => retry.filter(|_| is_written),
        })
    }

    /// Deletes a target that is not wanted as it is. `false`: the API server refuses that.
    pub(super) async fn delete(&self, name: &TargetName, version: &TargetVersion) -> Result<bool, Error> {
        match self.with_deadline(self.requests(name).delete(version)).await? {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(kube::Error::Api(status)) if is_refusal(status.code) => {
                self.warn(name, &Answer::of(&status).to_string(), "cannot delete the target");
                return Ok(false);
            }
            Err(error) => return Err(Error::DeleteTarget(error)),
        }
        self.forget_target(name);
        Ok(true)
    }

    fn warn(&self, target: &TargetName, error: &str, what: &str) {
        let Self { reference, .. } = self;
        tracing::warn!(namespace = reference.namespace, name = reference.name, target = target.name, error, "{what}");
    }

    async fn update_former(
        &self,
        publication: &Publication,
        resolved: &[Resolved],
        name: &TargetName,
    ) -> Result<Attempt, Error> {
        let shape = match self.context.publications.shape(&self.uid, name) {
            Some(shape) => shape,
            None => match self.read(name).await? {
                Found::Own(own) => shape_in(publication, own.data_keys()),
                Found::Absent | Found::Foreign => {
                    self.forget_target(name);
                    return Ok(Attempt::Done(TargetOutcome::Written));
                }
            },
        };
        let rendered = rendered_for(publication, &self.uid, resolved, (name, &shape));
        self.write(name, &rendered.data, &shape, IfAbsent::Leave).await
    }
}

/// The shape of data with these keys. A single entry may be the only key of an `EntryPerKey` layout, too, if its name has a dot, as all of
/// them have: then the spec decides.
fn shape_in<'a>(publication: &Publication, mut keys: impl Iterator<Item = &'a String>) -> Shape {
    match (keys.next(), keys.next()) {
        (Some(key), None) if publication.layout == Layout::File || !key.contains('.') => Shape::File(key.clone()),
        (Some(_), Some(_)) | (None, _) => Shape::EntryPerKey,
        (Some(_), None) => match &publication.target {
            Some(target) => shape_of(publication.layout, target),
            None => Shape::File(publication.kind.default_data_key().to_owned()),
        },
    }
}
