//! What the body of a request to the webhook is read as.

use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use serde::Deserialize;

use crate::api::KeyPair;

/// The review in a body; `None`: it is none, or its objects are not of the schema.
#[must_use]
pub fn read(body: &[u8]) -> Option<AdmissionRequest<KeyPair>> {
    serde_json::from_slice::<AdmissionReview<KeyPair>>(body).ok()?.try_into().ok()
}

/// Lets in what is not of the schema, which is for the API server to refuse, or is being mended. `None`: the body is no review.
#[must_use]
pub fn admit_unread(body: &[u8]) -> Option<AdmissionReview<DynamicObject>> {
    #[derive(Deserialize)]
    struct Review {
        request: Request,
    }
    #[derive(Deserialize)]
    struct Request {
        uid: String,
    }
    let Review { request } = serde_json::from_slice(body).ok()?;
    let mut response = AdmissionResponse::invalid("");
    response.allowed = true;
    response.uid = request.uid;
    Some(response.into_review())
}
