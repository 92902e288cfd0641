//! The status of a publication.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};

use super::{PublicationResource, PublicationStatus, TargetStatus};
use crate::{
    api::status::{READY, STALLED, conditions},
    domain::publication::{Layout, Publication, PublicationReport, Rendered, Target, TargetKind, TargetOutcome},
};

impl PublicationStatus {
    /// The status of `object` according to `report`.
    ///
    /// It equals the present status, timestamps included, if nothing has changed: then there is nothing to write. Without a target that
    /// has the text, nothing is counted.
    #[must_use]
    pub fn from_report<T: PublicationResource>(
        object: &T,
        publication: &Publication,
        (rendered, outcome): (&Rendered, &TargetOutcome),
        report: &PublicationReport,
        now: Timestamp,
    ) -> Self {
        let before = object.status().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let generation = object.meta().generation;
        let condition = |type_: &str, status: &str, message: String| {
            conditions::condition(before, (type_, status), report.reason.as_str(), message, generation, now)
        };
        let ready = condition(READY, if report.is_ready { "True" } else { "False" }, report.message.clone());
        let stalled = report.is_stalled.then(|| condition(STALLED, "True", report.message.clone()));
        let is_written = matches!(outcome, TargetOutcome::Written);
        let count = |number: usize| i64::try_from(number).ok().filter(|_| is_written);
        Self {
            observed_generation: generation,
            key_pairs: count(rendered.key_pairs),
            keys: count(rendered.keys),
            target: publication
                .target
                .as_ref()
                .filter(|_| is_written)
                .map(|target| target_status(target, publication.layout)),
            conditions: conditions::merge(before, std::iter::once(ready).chain(stalled).collect(), &[READY, STALLED]),
        }
    }

    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

fn target_status(target: &Target, layout: Layout) -> TargetStatus {
    let Target { kind, name, key } = target.clone();
    TargetStatus {
        kind: match kind {
            TargetKind::ConfigMap => "ConfigMap".to_owned(),
            TargetKind::Secret => "Secret".to_owned(),
        },
        name,
        key: (layout == Layout::File).then_some(key),
    }
}
