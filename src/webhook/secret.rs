//! The Secret in which the replicas store the certificates of the webhook, and how to distinguish it from a foreign Secret.
//!
//! The webhook serves the certificate in it, and the API server trusts the authority in it. So the Secret must be one that only an
//! operator creates: recognized by its type, which is immutable and which no `KeyPair` can choose, and by its label. Its content must
//! be valid as well.

use std::{collections::BTreeMap, time::SystemTime};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource as _, ResourceExt as _};

use crate::{
    api::KeyPair,
    domain::secret::{KEYPAIR_UID_ANNOTATION, MANAGED_BY_LABEL, OPERATOR},
    webhook::certificate::{CertState, Certificate, authorities},
};

pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
pub(super) const AUTHORITIES: &str = "ca.crt";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";

const TYPE: &str = "kubernetes.io/tls";
const NAME_LABEL: &str = "app.kubernetes.io/name";

/// The maximum size of the data in bytes. What an operator stores is a tenth of this.
const MAX_BYTES: usize = 64 * 1024;

/// A Secret of this name, with type and label, without data.
pub(super) fn empty(name: &str) -> Secret {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(NAME_LABEL.to_owned(), OPERATOR.to_owned())])),
        ..ObjectMeta::default()
    };
    Secret { metadata, type_: Some(TYPE.to_owned()), ..Secret::default() }
}

/// Reads the certificates in a Secret. Omits those that are unusable.
///
/// # Errors
///
/// What shows that no operator created the Secret for this purpose.
pub(super) fn read(secret: &Secret, now: SystemTime) -> Result<CertState, &'static str> {
    if secret.type_.as_deref() != Some(TYPE) {
        return Err("it is not of type kubernetes.io/tls");
    }
    if secret.labels().get(NAME_LABEL).is_none_or(|name| name != OPERATOR) {
        return Err("it lacks the label app.kubernetes.io/name: keypair-operator");
    }
    let belongs_to_key_pair = secret.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager == OPERATOR)
        || secret.annotations().contains_key(KEYPAIR_UID_ANNOTATION)
        || secret.owner_references().iter().any(|owner| owner.kind == KeyPair::kind(&()));
    if belongs_to_key_pair {
        return Err("it is marked as the Secret of a KeyPair");
    }
    let no_data = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&no_data);
    if data.iter().map(|(key, value)| key.len() + value.0.len()).sum::<usize>() > MAX_BYTES {
        return Err("its data is larger than an operator writes");
    }
    let text = |name: &str| {
        let bytes = data.get(name).map(|bytes| bytes.0.as_slice()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    };
    let mut state = CertState {
        current: Certificate::read(text(CERTIFICATE), text(KEY), now),
        next: Certificate::read(text(NEXT_CERTIFICATE), text(NEXT_KEY), now),
        trusted: authorities(text(AUTHORITIES)),
    };
    state.complete();
    Ok(state)
}

/// The data of the Secret for this state.
pub(super) fn data(state: &CertState) -> BTreeMap<String, ByteString> {
    let mut data = BTreeMap::new();
    let mut set = |name: &str, text: &str| data.insert(name.to_owned(), ByteString(text.as_bytes().to_vec()));
    for (certificate, names) in [(&state.current, (CERTIFICATE, KEY)), (&state.next, (NEXT_CERTIFICATE, NEXT_KEY))] {
        if let Some(certificate) = certificate {
            set(names.0, &certificate.chain);
            set(names.1, &certificate.key);
        }
    }
    set(AUTHORITIES, &state.bundle());
    data
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::webhook::certificate::RotationStep;

    fn secret() -> Secret {
        let (mut state, now) = (CertState::default(), SystemTime::now());
        let hosts = ["localhost".to_owned()].into();
        state.take(RotationStep::Issue, &hosts, now, Duration::from_secs(600)).unwrap();
        Secret { data: Some(data(&state)), ..empty("keys-webhook") }
    }

    fn changed(change: impl Fn(&mut Value)) -> Secret {
        let mut value = serde_json::to_value(secret()).unwrap();
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_secret_of_an_operator_is_read() {
        let state = read(&secret(), SystemTime::now()).unwrap();
        assert!(state.current.is_some());
        assert_eq!(state.trusted.len(), 1);
    }

    #[test]
    fn foreign_secrets_are_refused() {
        type Forgery = (&'static str, fn(&mut Value));
        let forgeries: [Forgery; 7] = [
            ("type", |secret| secret["type"] = json!("Opaque")),
            ("no type", |secret| secret["type"] = json!(null)),
            ("label", |secret| secret["metadata"]["labels"] = json!({})),
            ("another's label", |secret| secret["metadata"]["labels"][NAME_LABEL] = json!("cert-manager")),
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

    /// Otherwise the webhook would serve a certificate that its authority did not sign, and the API server trust a foreign authority.
    #[test]
    fn a_certificate_with_another_authority_is_refused() {
        let other = secret().data.unwrap();
        let text = |data: &BTreeMap<String, ByteString>, name: &str| String::from_utf8(data[name].0.clone()).unwrap();
        let own = secret().data.unwrap();
        let leaf = text(&own, CERTIFICATE);
        let leaf = leaf.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        let mixed = Secret {
            data: Some(BTreeMap::from([
                (CERTIFICATE.to_owned(), ByteString(format!("{leaf}{}", text(&other, AUTHORITIES)).into_bytes())),
                (KEY.to_owned(), own[KEY].clone()),
            ])),
            ..empty("keys-webhook")
        };
        let state = read(&mixed, SystemTime::now()).unwrap();
        assert!(state.current.is_none());
        assert_eq!(state.trusted, []);
    }
}
