//! The former targets of a publication, whose `spec.target` was edited.
//!
//! They are deleted once the new target is written. While it cannot be, they are kept up to date: somebody may still read them, and a
//! revoked key must not stay anywhere.

use super::{
    MAX_REFUSAL_DELAY, Reconciliation,
    error::Error,
    memory::Shape,
    name_of, rendered_for, shape_of,
    target::{Attempt, Found, is_refusal},
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
    ) -> Result<Attempt, Error> {
        let current = publication.target.as_ref().map(name_of);
        let mut next = Attempt::Done(TargetOutcome::Written);
        for (name, version) in self.context.publications.targets.of(&self.reference.namespace, &self.uid) {
            if current.as_ref() == Some(&name) {
                continue;
            }
            if is_written {
                if self.delete(&name, &version).await? {
                    continue;
                }
                // Nothing shows when the API server no longer refuses it.
                next = Attempt::Later(MAX_REFUSAL_DELAY);
            }
            if let Attempt::Later(delay) = self.update_former(publication, resolved, &name).await? {
                return Ok(Attempt::Later(delay));
            }
        }
        Ok(next)
    }

    /// Deletes a former target. `false`: the API server refuses that.
    async fn delete(&self, name: &TargetName, version: &TargetVersion) -> Result<bool, Error> {
        let Self { reference, context, .. } = self;
        match self.with_deadline(self.requests(name).delete(version)).await? {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(kube::Error::Api(status)) if is_refusal(status.code) => {
                let error = Answer::of(&status).to_string();
                tracing::warn!(
                    namespace = reference.namespace,
                    name = reference.name,
                    target = name.name,
                    error,
                    "cannot delete the former target; keeping it up to date"
                );
                return Ok(false);
            }
            Err(error) => return Err(Error::DeleteTarget(error)),
        }
        context.publications.targets.forget(&reference.namespace, name, &self.uid);
        context.publications.forget_verified(&self.uid, name);
        Ok(true)
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
                    self.context.publications.targets.forget(&self.reference.namespace, name, &self.uid);
                    return Ok(Attempt::Done(TargetOutcome::Written));
                }
            },
        };
        let rendered = rendered_for(publication, &self.uid, resolved, (name, &shape));
        self.write(name, &rendered.data, &shape).await
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
