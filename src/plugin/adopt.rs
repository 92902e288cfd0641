//! `kubectl keypair adopt`.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    args::AdoptArgs,
    cluster::{Cluster, FIELD_MANAGER, request},
    create::create_object,
    error::{Error, Kind},
    output, wait,
};
use crate::{
    api::{
        KeyPair, KeyPairSpec,
        key_pair::{GenerateAlgorithm, GenerateSpec, SecretKeys, SecretSpec},
        secret::{ADOPT_ANNOTATION, KEYPAIR_ANNOTATION, KEYPAIR_UID_ANNOTATION},
        translate,
    },
    domain::{
        key::{Algorithm, KeySpec, PrivateKey},
        profile::Profile,
        reason::Reason,
        request::Generate,
        secret::{DEFAULT_PRIVATE_KEY, DEFAULT_PUBLIC_KEY},
    },
};

/// Hands a Secret over to a KeyPair, and creates the KeyPair if it does not exist.
pub async fn adopt(cluster: &Cluster, args: &AdoptArgs) -> Result<(), Error> {
    let name = args.name.as_deref().unwrap_or(&args.secret);
    let secret = cluster.secret(&args.secret).await?;
    let existing = cluster.find_key_pair(name).await?;
    let pair = match &existing {
        Some(pair) => {
            check_existing(pair, &secret)?;
            None
        }
        None => Some(new_pair(name, &secret)?),
    };
    check_owner(&secret, name, existing.as_ref())?;
    check_adopter(cluster, &secret, name).await?;
    // First the Secret, so that the new KeyPair finds it handed over.
    annotate(cluster, &secret, name).await?;
    output::line(&format!("secret/{} annotated: {ADOPT_ANNOTATION}={name}", args.secret))?;
    if let Some(pair) = &pair {
        output::line(&create_object(cluster, pair).await?)?;
    }
    output::note(&format!(
        "The operator adopts the private key: keypair/{name} gets its public key, and secret/{} gets the public key and annotations. \
         Its other contents stay, and it remains when the KeyPair is deleted, unless spec.secret.deletionPolicy is Delete.",
        args.secret
    ));
    if args.wait.wait {
        // Until the operator has seen the annotation, the Secret is in the way of an existing KeyPair.
        wait::ready(cluster, name, args.wait.timeout, &[Reason::SecretConflict]).await?;
    }
    Ok(())
}

/// Hands over the Secret that was checked, and no other that has taken its place since.
async fn annotate(cluster: &Cluster, secret: &Secret, name: &str) -> Result<(), Error> {
    let edit = json!({ "metadata": {
        "uid": secret.uid(), "resourceVersion": secret.resource_version(), "annotations": { ADOPT_ANNOTATION: name },
    } });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let secrets = cluster.secrets();
    let edit = Patch::Merge(&edit);
    let secret = secret.name_any();
    let patched = secrets.patch_metadata(&secret, &params, &edit);
    request(cluster.subject("patch", Kind::Secret, &secret), patched).await.map(drop)
}

/// Whether this KeyPair can adopt the Secret.
fn check_existing(pair: &KeyPair, secret: &Secret) -> Result<(), Error> {
    let (name, secret_name) = (pair.name_any(), secret.name_any());
    if pair.spec.public_key.is_some() {
        return Err(Error::state(format!(
            "KeyPair {name:?} is an imported public key, which has no private key: give the name of another KeyPair, or of none that exists"
        )));
    }
    let settings = translate::parameters(pair).secret;
    if settings.name != secret_name {
        return Err(Error::state(format!(
            "KeyPair {name:?} keeps its private key in Secret {:?}, not in {secret_name:?}: set spec.secret.name of the KeyPair, or give the name of another KeyPair",
            settings.name
        )));
    }
    let key = private_key(secret, &settings.private_key)?;
    let found = key_spec(&key, &secret_name)?;
    let Generate { algorithm, bits } = translate::parameters(pair).generate.unwrap_or_default();
    let wanted = KeySpec::from_parts(algorithm, bits);
    let is_accepted = pair.status.as_ref().is_some_and(|status| status.key_pair_id.is_some());
    if is_accepted || wanted.is_none_or(|wanted| wanted == found) {
        return Ok(());
    }
    Err(Error::state(format!(
        "Secret {secret_name:?} has a key of {} {}, and KeyPair {name:?} asks for another one: set spec.generate of the KeyPair to match",
        found.algorithm(),
        found.bits()
    )))
}

/// The kind of the key, which must be one that the operator generates.
fn key_spec(key: &PrivateKey, secret_name: &str) -> Result<KeySpec, Error> {
    key.spec().ok_or_else(|| {
        Error::state(format!(
            "Secret {secret_name:?} has an {} key of {} bits, which cannot be adopted: the operator keeps keys of the sizes that it \
             generates; create a KeyPair with a new key, or import the public key",
            key.algorithm(),
            key.bits()
        ))
    })
}

/// Whether the Secret is not that of another KeyPair that exists, whose users would lose their key.
async fn check_adopter(cluster: &Cluster, secret: &Secret, name: &str) -> Result<(), Error> {
    let annotations = secret.annotations();
    let Some(owner) = annotations.get(KEYPAIR_ANNOTATION).filter(|owner| *owner != name) else { return Ok(()) };
    let owner_pair = cluster.find_key_pair(owner).await?;
    // A Secret from a backup names a KeyPair that no longer exists, even if another has its name.
    let is_its = owner_pair.is_some_and(|pair| pair.metadata.uid.as_ref() == annotations.get(KEYPAIR_UID_ANNOTATION));
    if !is_its {
        return Ok(());
    }
    let secret = secret.name_any();
    Err(Error::state(format!(
        "Secret {secret:?} belongs to KeyPair {owner:?}, which would lose its private key: delete that KeyPair first (an adopted Secret \
         remains), or pass the Secret on with `kubectl annotate secret {secret} {ADOPT_ANNOTATION}={name}`"
    )))
}

/// Whether the Secret may be handed over.
fn check_owner(secret: &Secret, name: &str, existing: Option<&KeyPair>) -> Result<(), Error> {
    let secret_name = secret.name_any();
    let annotations = secret.annotations();
    let uid = existing.and_then(|pair| pair.metadata.uid.as_ref());
    if uid.is_some() && annotations.get(KEYPAIR_UID_ANNOTATION) == uid {
        return Err(Error::state(format!("Secret {secret_name:?} belongs to KeyPair {name:?} already: nothing to do")));
    }
    let owners = secret.metadata.owner_references.iter().flatten();
    if let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) {
        return Err(Error::state(format!(
            "Secret {secret_name:?} belongs to {} {:?}, which may write it again: remove it from there first",
            owner.kind, owner.name
        )));
    }
    match annotations.get(ADOPT_ANNOTATION).filter(|other| other.as_str() != name) {
        Some(other) => Err(Error::state(format!(
            "Secret {secret_name:?} is handed over to KeyPair {other:?} already: to change that, remove the annotation with `kubectl annotate secret {secret_name} {ADOPT_ANNOTATION}-`{}",
            annotations
                .get(KEYPAIR_ANNOTATION)
                .map_or(String::new(), |owner| format!("; KeyPair {owner:?} has adopted it"))
        ))),
        None => Ok(()),
    }
}

/// A KeyPair for the private key in the Secret.
fn new_pair(name: &str, secret: &Secret) -> Result<KeyPair, Error> {
    let secret_name = secret.name_any();
    let (data_key, key) = find_private_key(secret)?;
    let kind = key_spec(&key, &secret_name)?;
    let (algorithm, bits) = match kind.algorithm() {
        Algorithm::Ecdsa => (GenerateAlgorithm::ECDSA, i32::try_from(kind.bits()).ok()),
        // There is only one size.
        Algorithm::Ed25519 => (GenerateAlgorithm::Ed25519, None),
        _ => (GenerateAlgorithm::RSA, i32::try_from(kind.bits()).ok()),
    };
    let keys = (data_key != DEFAULT_PRIVATE_KEY).then(|| SecretKeys {
        private_key: Some(data_key.clone()),
        // As ssh-keygen and Flux name it.
        public_key: Some(format!("{data_key}.pub")).filter(|public_key| public_key != DEFAULT_PUBLIC_KEY),
    });
    let secret = SecretSpec { name: (secret_name != name).then_some(secret_name), keys, ..SecretSpec::default() };
    let spec = KeyPairSpec {
        // The neutral profile: Alibaba generates RSA keys only.
        profile: Profile::OpenSSH,
        generate: Some(GenerateSpec { algorithm, bits }),
        secret: (secret != SecretSpec::default()).then_some(secret),
        ..KeyPairSpec::default()
    };
    Ok(KeyPair::new(name, spec))
}

/// The data key of the only private key, and the key.
fn find_private_key(secret: &Secret) -> Result<(String, PrivateKey), Error> {
    if secret.data.as_ref().is_some_and(|data| data.contains_key(DEFAULT_PRIVATE_KEY)) {
        return Ok((DEFAULT_PRIVATE_KEY.to_owned(), private_key(secret, DEFAULT_PRIVATE_KEY)?));
    }
    let data_keys = secret.data.iter().flatten().map(|(data_key, _)| data_key);
    let mut found: Vec<(String, PrivateKey)> =
        data_keys.filter_map(|data_key| Some((data_key.clone(), private_key(secret, data_key).ok()?))).collect();
    let name = secret.name_any();
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Error::state(format!(
            "Secret {name:?} has no entry with an unencrypted RSA, ECDSA or Ed25519 private key: see `kubectl describe secret {name}`"
        ))),
        (Some(_), false) => Err(Error::state(format!(
            "Secret {name:?} has several private keys: create the KeyPair yourself, with the data key in spec.secret.keys.privateKey, then run this command again"
        ))),
    }
}

/// The private key in this entry.
fn private_key(secret: &Secret, data_key: &str) -> Result<PrivateKey, Error> {
    let name = secret.name_any();
    let entry = secret.data.as_ref().and_then(|data| data.get(data_key));
    let entry = entry.ok_or_else(|| {
        Error::state(format!("Secret {name:?} has no entry {data_key:?}: see `kubectl describe secret {name}`"))
    })?;
    let text = std::str::from_utf8(&entry.0).map_err(|_| "it is not text".to_owned());
    // No error of a private key contains a byte of it.
    text.and_then(|text| PrivateKey::parse(text).map_err(|error| error.to_string()))
        .map_err(|error| Error::state(format!("entry {data_key:?} of Secret {name:?} cannot be adopted: {error}")))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    use super::*;
    use crate::{domain::key::Encoding, keygen};

    fn text(spec: KeySpec, encoding: Encoding) -> String {
        keygen::generate(spec).unwrap().encode(encoding, "").unwrap().to_string()
    }

    fn secret(name: &str, entries: &[(&str, &str)]) -> Secret {
        let data =
            entries.iter().map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.metadata.name = Some(name.to_owned());
        secret
    }

    fn spec_for(name: &str, secret: &Secret) -> Value {
        serde_json::to_value(new_pair(name, secret).unwrap().spec).unwrap()
    }

    #[test]
    fn a_new_pair_asks_for_what_the_secret_holds() {
        let ecdsa = text(KeySpec::EcdsaP384, Encoding::Sec1);
        assert_eq!(
            spec_for("web", &secret("web", &[("ssh-privatekey", &ecdsa), ("other", "x")])),
            json!({ "profile": "OpenSSH", "generate": { "algorithm": "ECDSA", "bits": 384 } })
        );
        let ed25519 = text(KeySpec::Ed25519, Encoding::OpenSsh);
        assert_eq!(
            spec_for("web", &secret("deploy", &[("identity", &ed25519), ("known_hosts", "x")])),
            json!({
                "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" },
                "secret": {
                    "name": "deploy", "keys": { "privateKey": "identity", "publicKey": "identity.pub" }, "onLoss": "Report",
                },
            })
        );
    }

    #[test]
    fn a_secret_without_exactly_one_private_key_is_an_error() {
        let key = text(KeySpec::EcdsaP256, Encoding::Pkcs8);
        let said = |entries: &[(&str, &str)]| new_pair("web", &secret("web", entries)).unwrap_err().to_string();
        assert!(said(&[("a", "x")]).contains("has no entry with an unencrypted"));
        assert!(said(&[("a", &key), ("b", &key)]).contains("several private keys"));
        let broken = said(&[("ssh-privatekey", &key[..60]), ("b", &key)]);
        assert!(broken.contains("cannot be adopted") && !broken.contains(&key[30..60]), "{broken}");
    }

    #[test]
    fn an_existing_pair_must_use_this_secret() {
        let pair = |spec: Value| -> KeyPair {
            serde_json::from_value(json!({
                "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": "web" }, "spec": spec,
            }))
            .unwrap()
        };
        let key = text(KeySpec::Rsa2048, Encoding::Pkcs8);
        let found = secret("deploy", &[("ssh-privatekey", &key)]);
        assert!(check_existing(&pair(json!({ "secret": { "name": "deploy" } })), &found).is_ok());
        for (spec, words) in [
            (json!({}), "set spec.secret.name"),
            (json!({ "publicKey": "ssh-rsa A" }), "imported public key"),
            (json!({ "secret": { "name": "deploy" }, "generate": { "bits": 4096 } }), "set spec.generate"),
            (json!({ "secret": { "name": "deploy", "keys": { "privateKey": "id" } } }), "has no entry \"id\""),
        ] {
            let said = check_existing(&pair(spec), &found).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_secret_of_others_is_not_handed_over() {
        let metadata = |metadata: Value| -> Secret {
            serde_json::from_value(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata })).unwrap()
        };
        let said = |secret: &Secret| check_owner(secret, "web", None).unwrap_err().to_string();
        assert!(check_owner(&metadata(json!({ "name": "a" })), "web", None).is_ok());
        assert!(
            check_owner(&metadata(json!({ "name": "a", "annotations": { ADOPT_ANNOTATION: "web" } })), "web", None)
                .is_ok()
        );
        let other = metadata(json!({ "name": "a", "annotations": { ADOPT_ANNOTATION: "other" } }));
        assert!(said(&other).contains("handed over to KeyPair \"other\""));
        let owner = json!({ "apiVersion": "v1", "kind": "SealedSecret", "name": "s", "uid": "1", "controller": true });
        assert!(
            said(&metadata(json!({ "name": "a", "ownerReferences": [owner] }))).contains("belongs to SealedSecret")
        );
    }
}
