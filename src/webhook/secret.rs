//! The Secret in which the replicas keep the webhook's certificates: how it is told from one that somebody else put there.
//!
//! What is in it is served, and the API server is told to trust it. So it must be one that only an operator makes: by its type, which
//! cannot be changed, and which no `KeyPair` can make a Secret of, and by its mark. And what is in it must be what an operator puts
//! there.

use std::{collections::BTreeMap, time::SystemTime};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource as _, ResourceExt as _};

use super::certificate::{Certificate, Kept, authorities};
use crate::{
    api::KeyPair,
    controller::{KEYPAIR_UID_ANNOTATION, OPERATOR},
    domain::secret::MANAGED_BY_LABEL,
};

pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
pub(super) const AUTHORITIES: &str = "ca.crt";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";

const TYPE: &str = "kubernetes.io/tls";
const MARK: &str = "app.kubernetes.io/name";

/// The most bytes that are read. What an operator keeps is a tenth of this.
const MAX_BYTES: usize = 64 * 1024;

/// A Secret of this name, with nothing in it yet.
pub(super) fn marked(name: &str) -> Secret {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(MARK.to_owned(), OPERATOR.to_owned())])),
        ..ObjectMeta::default()
    };
    Secret { metadata, type_: Some(TYPE.to_owned()), ..Secret::default() }
}

/// What is kept in a Secret. What in it cannot be used is not there.
///
/// # Errors
///
/// By what is seen that no operator made it for this.
pub(super) fn read(secret: &Secret, now: SystemTime) -> Result<Kept, &'static str> {
    if secret.type_.as_deref() != Some(TYPE) {
        return Err("it is not of type kubernetes.io/tls");
    }
    if secret.labels().get(MARK).is_none_or(|mark| mark != OPERATOR) {
        return Err("it lacks the label app.kubernetes.io/name: keypair-operator");
    }
    let is_of_a_key_pair = secret.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager == OPERATOR)
        || secret.annotations().contains_key(KEYPAIR_UID_ANNOTATION)
        || secret.owner_references().iter().any(|owner| owner.kind == KeyPair::kind(&()));
    if is_of_a_key_pair {
        return Err("it is marked as the Secret of a KeyPair");
    }
    let nothing = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&nothing);
    if data.iter().map(|(key, value)| key.len() + value.0.len()).sum::<usize>() > MAX_BYTES {
        return Err("there is more in it than an operator keeps there");
    }
    let text = |name: &str| {
        let bytes = data.get(name).map(|bytes| bytes.0.as_slice()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    };
    let mut kept = Kept {
        current: Certificate::read(text(CERTIFICATE), text(KEY), now),
        next: Certificate::read(text(NEXT_CERTIFICATE), text(NEXT_KEY), now),
        trusted: authorities(text(AUTHORITIES)),
    };
    kept.complete();
    Ok(kept)
}

/// The data of the Secret that keeps this.
pub(super) fn data(kept: &Kept) -> BTreeMap<String, ByteString> {
    let mut data = BTreeMap::new();
    let mut set = |name: &str, text: &str| data.insert(name.to_owned(), ByteString(text.as_bytes().to_vec()));
    for (certificate, names) in [(&kept.current, (CERTIFICATE, KEY)), (&kept.next, (NEXT_CERTIFICATE, NEXT_KEY))] {
        if let Some(certificate) = certificate {
            set(names.0, &certificate.chain);
            set(names.1, &certificate.key);
        }
    }
    set(AUTHORITIES, &kept.bundle());
    data
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::webhook::certificate::Step;

    fn made() -> Secret {
        let (mut kept, now) = (Kept::default(), SystemTime::now());
        let hosts = ["localhost".to_owned()].into();
        kept.take(Step::Issue, &hosts, now, Duration::from_secs(600)).unwrap();
        Secret { data: Some(data(&kept)), ..marked("keys-webhook") }
    }

    fn changed(change: impl Fn(&mut Value)) -> Secret {
        let mut value = serde_json::to_value(made()).unwrap();
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_an_operator_made_is_read() {
        let kept = read(&made(), SystemTime::now()).unwrap();
        assert!(kept.current.is_some());
        assert_eq!(kept.trusted.len(), 1);
    }

    #[test]
    fn what_nobody_but_an_operator_makes_is_all_that_is_read() {
        type Forgery = (&'static str, fn(&mut Value));
        let forgeries: [Forgery; 7] = [
            ("type", |secret| secret["type"] = json!("Opaque")),
            ("no type", |secret| secret["type"] = json!(null)),
            ("label", |secret| secret["metadata"]["labels"] = json!({})),
            ("another's label", |secret| secret["metadata"]["labels"][MARK] = json!("cert-manager")),
            ("annotation", |secret| secret["metadata"]["annotations"] = json!({ KEYPAIR_UID_ANNOTATION: "1" })),
            ("owner", |secret| {
                secret["metadata"]["ownerReferences"] =
                    json!([{ "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "name": "web", "uid": "1" }]);
            }),
            ("size", |secret| secret["data"]["more"] = json!(ByteString(vec![0; MAX_BYTES]))),
        ];
        for (what, forge) in forgeries {
            assert!(read(&changed(forge), SystemTime::now()).is_err(), "{what}");
        }
    }

    /// A certificate that its own authority did not sign would be served, and an authority trusted that has nothing to do with it.
    #[test]
    fn what_is_in_it_belongs_together() {
        let other = made().data.unwrap();
        let text = |data: &BTreeMap<String, ByteString>, name: &str| String::from_utf8(data[name].0.clone()).unwrap();
        let own = made().data.unwrap();
        let leaf = text(&own, CERTIFICATE);
        let leaf = leaf.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        let mixed = Secret {
            data: Some(BTreeMap::from([
                (CERTIFICATE.to_owned(), ByteString(format!("{leaf}{}", text(&other, AUTHORITIES)).into_bytes())),
                (KEY.to_owned(), own[KEY].clone()),
            ])),
            ..marked("keys-webhook")
        };
        let kept = read(&mixed, SystemTime::now()).unwrap();
        assert!(kept.current.is_none());
        assert_eq!(kept.trusted, []);
    }
}
