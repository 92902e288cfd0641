//! The answer to an admission review of an `AuthorizedKeys` or `KnownHosts`.
//!
//! Whether the key pairs of its entries exist is not checked: they may follow.

use kube::core::{
    admission::{AdmissionRequest, AdmissionResponse, Operation},
    response::StatusCause,
};

use super::{
    review_answer::{MAX_LISTED, ReviewAnswer, failure},
    scopes::Scopes,
};
use crate::{
    api::{publication::PublicationResource, translate},
    cache::ScopeCaches,
    domain::publication::{Mistake, check_in},
};

/// The reason that the condition of a publication with a mistake has.
const INVALID_ENTRY: &str = "InvalidEntry";
/// The HTTP status with which the API server answers mistakes that the rules of the CRD find.
const UNPROCESSABLE: u16 = 422;

/// Answers a review. An update is refused only for new mistakes: the object may be older than a rule.
pub(super) fn review_publication<T: PublicationResource>(
    request: AdmissionRequest<T>,
    caches: &ScopeCaches,
    scopes: &Scopes,
) -> ReviewAnswer {
    let mut response = AdmissionResponse::from(&request);
    let mistakes = mistakes(request, caches, scopes);
    if mistakes.is_empty() {
        return ReviewAnswer { response, refused: None };
    }
    let mut message: Vec<String> =
        mistakes.iter().take(MAX_LISTED).map(|mistake| format!("{}: {}", field(mistake), mistake.detail)).collect();
    if mistakes.len() > MAX_LISTED {
        message.push(format!("and {} more", mistakes.len() - MAX_LISTED));
    }
    let causes = mistakes.iter().map(|mistake| StatusCause {
        reason: INVALID_ENTRY.to_owned(),
        message: mistake.detail.clone(),
        field: field(mistake),
    });
    response.allowed = false;
    response.result = failure(UNPROCESSABLE, INVALID_ENTRY.to_owned(), message.join("; "), causes.collect());
    ReviewAnswer { response, refused: Some(INVALID_ENTRY) }
}

fn field(mistake: &Mistake) -> String {
    format!("spec.{}", mistake.field)
}

/// The mistakes to refuse the request for.
fn mistakes<T: PublicationResource>(
    request: AdmissionRequest<T>,
    caches: &ScopeCaches,
    scopes: &Scopes,
) -> Vec<Mistake> {
    let AdmissionRequest { object, old_object, operation, namespace, sub_resource, .. } = request;
    let namespace = namespace.unwrap_or_default();
    // A deletion has no object. Subresources are written by the operator.
    let Some(object) = object else { return Vec::new() };
    if !scopes.contains(&namespace) || sub_resource.is_some() || object.meta().deletion_timestamp.is_some() {
        return Vec::new();
    }
    let region = caches.for_namespace(&namespace).and_then(|cache| cache.index.region(&namespace));
    let found = |mut object: T| {
        object.meta_mut().namespace = Some(namespace.clone());
        translate::assume_name(object.meta_mut());
        check_in(region.as_ref(), &object.parameters()).mistakes
    };
    match (operation, old_object) {
        (Operation::Create, _) => found(object),
        (Operation::Update, Some(old)) => {
            let known = found(old);
            found(object).into_iter().filter(|mistake| !known.contains(mistake)).collect()
        }
        _ => Vec::new(),
    }
}
