//! Accepted KeyPairs whose Secret is deleted or changed.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    expected::{PROFILES, internal_error_code},
    support::{STRICT, Scene, condition, data, text},
    tools::run,
};

/// A generated pair that is Ready, with its Secret.
async fn pair(scene: &Scene, profile: &str) -> (String, Value, Secret) {
    let name = profile.to_lowercase();
    scene.create(&name, &json!({ "profile": profile })).await;
    let object = scene.settled(&name, "True/Generated").await;
    let secret = scene.secrets.get(&name).await.unwrap();
    (name, object, secret)
}

/// Expects an internal error of the profile's cloud with advice, and the accepted values still in the status.
fn check(profile: &str, reason: &str, accepted: &Value, object: &Value) {
    let error = &object["status"]["error"];
    let code = internal_error_code(profile);
    assert_eq!((text(&error["reason"]), text(&error["code"])), (reason, code), "{profile}: {error}");
    assert_eq!(error["httpStatus"], 500, "{profile}");
    let advice = text(&error["message"]).strip_prefix("An internal error has occurred. ");
    assert!(advice.is_some_and(|advice| advice.contains("restore")), "{profile}: {error}");
    for field in ["keyPairID", "fingerprint", "fingerprints", "publicKey", "secretName"] {
        assert_eq!(object["status"][field], accepted["status"][field], "{profile} {field}");
    }
    assert_eq!(condition(object, "Stalled"), Value::Null, "{profile}");
}

/// The operator does not generate a new key unasked.
#[tokio::test]
async fn a_lost_secret_is_reported_until_it_is_restored() {
    let scene = STRICT.scene("loss-deleted").await;
    for profile in *PROFILES {
        let (name, accepted, secret) = pair(&scene, profile).await;
        scene.secrets.delete(&name, &DeleteParams::default()).await.unwrap();
        let object = scene.settled(&name, "False/PrivateKeyLost").await;
        check(profile, "PrivateKeyLost", &accepted, &object);
        assert!(scene.secrets.get_opt(&name).await.unwrap().is_none(), "{profile}: the operator generated another key");
        scene.wait_for_events(&name, &["Warning/PrivateKeyLost"]).await;

        let mut restored = secret.clone();
        restored.metadata.resource_version = None;
        restored.metadata.uid = None;
        let restored = scene.secrets.create(&PostParams::default(), &restored).await.unwrap();
        let object = scene.settled(&name, "True/Generated").await;
        assert_eq!(object["status"]["fingerprint"], accepted["status"]["fingerprint"], "{profile}");
        assert_eq!(scene.secrets.get(&name).await.unwrap().resource_version(), restored.resource_version());
    }
}

/// The operator neither uses nor overwrites the changed key.
#[tokio::test]
async fn a_changed_private_key_is_reported_until_it_is_restored() {
    let scene = STRICT.scene("loss-changed").await;
    for profile in *PROFILES {
        let (name, accepted, secret) = pair(&scene, profile).await;
        let another = String::from_utf8(run("openssl", &["genpkey", "-quiet", "-algorithm", "RSA"], b"")).unwrap();
        for private in [another.as_str(), "no key at all"] {
            let put = async |private: &str| {
                let patch = json!({ "stringData": { "ssh-privatekey": private } });
                scene.secrets.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
            };
            let changed = put(private).await;
            let object = scene.settled(&name, "False/PrivateKeyMismatch").await;
            check(profile, "PrivateKeyMismatch", &accepted, &object);
            assert_eq!(
                scene.secrets.get(&name).await.unwrap(),
                changed,
                "{profile}: the operator overwrote the Secret"
            );
            put(&data(&secret, "ssh-privatekey")).await;
            scene.settled(&name, "True/Generated").await;
        }
    }
}
