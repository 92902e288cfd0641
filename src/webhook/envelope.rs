//! Parses the AdmissionReview. Accepts only JSON objects where serde would also accept arrays of their fields.

use kube::{
    Resource,
    core::{
        DynamicObject,
        admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
    },
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    api::{AuthorizedKeys, FromObject, KeyPair, KnownHosts},
    domain::publication::PublicationKind,
};

/// A request to review an object of one of the operator's kinds.
#[derive(Debug)]
pub enum ReviewRequest {
    /// A `KeyPair`.
    KeyPair(Box<AdmissionRequest<KeyPair>>),
    /// An `AuthorizedKeys`.
    AuthorizedKeys(Box<AdmissionRequest<AuthorizedKeys>>),
    /// A `KnownHosts`.
    KnownHosts(Box<AdmissionRequest<KnownHosts>>),
}

impl ReviewRequest {
    /// The namespace of the object.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::KeyPair(request) => request.namespace.as_deref(),
            Self::AuthorizedKeys(request) => request.namespace.as_deref(),
            Self::KnownHosts(request) => request.namespace.as_deref(),
        }
    }
}

/// Parses a review; `None` if it is not a review, or an object in it does not match the schema of its kind.
#[must_use]
pub fn read(body: &[u8]) -> Option<ReviewRequest> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Request {
        kind: FromObject<Kind>,
        #[serde(rename = "object", default)]
        _object: Option<FromObject<AnyObject>>,
        #[serde(rename = "oldObject", default)]
        _old_object: Option<FromObject<AnyObject>>,
    }
    // Ignores all fields.
    #[derive(Deserialize)]
    struct AnyObject {}

    let Request { kind: FromObject(Kind { kind }), .. } = read_request(body)?;
    Some(match PublicationKind::ALL.into_iter().find(|publication| publication.as_str() == kind) {
        None => ReviewRequest::KeyPair(parse(body)?),
        Some(PublicationKind::AuthorizedKeys) => ReviewRequest::AuthorizedKeys(parse(body)?),
        Some(PublicationKind::KnownHosts) => ReviewRequest::KnownHosts(parse(body)?),
    })
}

fn parse<T: Resource + DeserializeOwned>(body: &[u8]) -> Option<Box<AdmissionRequest<T>>> {
    serde_json::from_slice::<AdmissionReview<T>>(body).ok()?.try_into().ok().map(Box::new)
}

/// Admits a review whose objects do not match the schema: the API server refuses them, or the update repairs a stored object.
#[must_use]
pub fn admit_unread(body: &[u8]) -> Option<AdmissionReview<DynamicObject>> {
    #[derive(Deserialize)]
    struct Request {
        uid: String,
    }

    let Request { uid } = read_request(body)?;
    let mut response = AdmissionResponse::invalid("");
    response.allowed = true;
    response.uid = uid;
    Some(response.into_review())
}

/// Parses the request of a review as a `T`.
fn read_request<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    #[derive(Deserialize)]
    struct Review<T> {
        request: FromObject<T>,
    }
    let FromObject(Review { request: FromObject(request) }) = serde_json::from_slice(body).ok()?;
    Some(request)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn review() -> Value {
        let gvk = json!({ "group": "keypairs.dev", "version": "v1alpha1", "kind": "KeyPair" });
        let resource = json!({ "group": "keypairs.dev", "version": "v1alpha1", "resource": "keypairs" });
        let object = json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {}, "spec": {} });
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "1", "kind": gvk, "resource": resource, "name": "web", "operation": "UPDATE", "userInfo": {},
                "object": object, "oldObject": object, "dryRun": false,
            },
        })
    }

    #[test]
    fn each_kind_is_read_as_itself() {
        for kind in ["KeyPair", "AuthorizedKeys", "KnownHosts"] {
            let mut review = review();
            review["request"]["kind"]["kind"] = json!(kind);
            let read = read(review.to_string().as_bytes()).unwrap();
            let is_right = match read {
                ReviewRequest::KeyPair(_) => kind == "KeyPair",
                ReviewRequest::AuthorizedKeys(_) => kind == "AuthorizedKeys",
                ReviewRequest::KnownHosts(_) => kind == "KnownHosts",
            };
            assert!(is_right, "{kind}");
        }
    }

    #[test]
    fn arrays_are_rejected() {
        let is_read = |review: &Value| read(review.to_string().as_bytes()).is_some();
        let is_admitted = |review: &Value| admit_unread(review.to_string().as_bytes()).is_some();
        assert!(is_read(&review()) && is_admitted(&review()));
        for place in ["/request/object", "/request/oldObject", "/request/object/spec", "/request/object/metadata"] {
            let mut review = review();
            let fields: Vec<Value> = review.pointer(place).unwrap().as_object().unwrap().values().cloned().collect();
            for array in [json!([]), Value::Array(fields)] {
                *review.pointer_mut(place).unwrap() = array;
                assert!(!is_read(&review) && is_admitted(&review), "{place}");
            }
        }
        let request = review()["request"].as_object().unwrap().values().cloned().collect::<Vec<Value>>();
        for no_review in [json!([["1"]]), json!([]), json!({ "request": ["1"] }), json!({ "request": request })] {
            assert!(!is_read(&no_review) && !is_admitted(&no_review), "{no_review}");
        }
    }
}
