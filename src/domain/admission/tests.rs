//! What admission refuses, and what it admits.

use super::*;
use crate::domain::{
    key::KeySpec,
    ledger::{Ledger, Seniority},
    profile::Profile,
    request::{self, Generate, Source},
    secret::SecretSettings,
};

fn parameters(name: &str) -> Parameters {
    Parameters {
        profile: Profile::OpenSSH,
        key_pair_name: name.to_owned(),
        is_named: true,
        public_key: None,
        generate: Some(Generate { algorithm: KeySpec::Ed25519.algorithm(), bits: None }),
        description: None,
        project: String::new(),
        tags: Vec::new(),
        client_token: String::new(),
        secret: SecretSettings::named("web".to_owned()),
        rotation: None,
        share_with: Vec::new(),
    }
}

fn candidate(uid: u32, parameters: Parameters, accepted: bool) -> Candidate {
    let region = Region::with_quota(9);
    let uid = format!("uid-{uid}");
    let claim = request::check(&parameters).ok().map(|_: Source| Claim {
        uid: uid.as_str().into(),
        seniority: Seniority { created: 1, object_name: uid.as_str().into() },
        key_pair_name: parameters.key_pair_name.as_str().into(),
        accepted,
        token: parameters.token_use(&region),
    });
    let recorded = accepted.then(|| AcceptedKeyPair {
        id: "kp-1".to_owned(),
        public_key: String::new(),
        algorithm: String::new(),
        bits: 256,
        fingerprint: String::new(),
        fingerprints: crate::domain::key::Fingerprints { md5: String::new(), sha256: String::new() },
        secret_name: Some("web".to_owned()),
        secret_version: None,
        key_pair_name: String::new(),
        request: None,
        rotation: crate::domain::rotation::RotationState::default(),
    });
    Candidate { desired: Desired { uid, deleting: false, parameters, created: Timestamp::UNIX_EPOCH }, recorded, claim }
}

fn ledger(quota: usize, candidates: &[&Candidate]) -> Ledger {
    Ledger::load(Region::with_quota(quota), candidates.iter().filter_map(|candidate| candidate.claim.clone()), None)
}

fn refusals_of(new: &Candidate, old: Option<&Candidate>, ledger: &Ledger) -> Vec<Refusal> {
    review(new, old, ledger.region(), |claim| ledger.preview(claim))
}

fn reasons(refusals: &[Refusal]) -> Vec<Reason> {
    refusals.iter().map(|refusal| refusal.reason).collect()
}

#[test]
fn admission_refuses_what_the_controller_would_refuse() {
    let accepted = candidate(1, parameters("web"), true);
    let review = |quota, new: &Candidate| reasons(&refusals_of(new, None, &ledger(quota, &[&accepted])));
    assert_eq!(review(2, &candidate(2, parameters("db"), false)), []);
    assert_eq!(review(2, &candidate(2, parameters("web"), false)), [Reason::KeyPairNameConflict]);
    assert_eq!(review(1, &candidate(2, parameters("db"), false)), [Reason::QuotaExceeded]);
    let invalid = Parameters { description: Some("1".to_owned()), ..parameters("a b") };
    let invalid = candidate(2, invalid, false);
    assert_eq!(review(2, &invalid), [Reason::InvalidKeyPairName, Reason::InvalidDescription]);
    let deleting = Candidate { desired: Desired { deleting: true, ..invalid.desired.clone() }, ..invalid };
    assert_eq!(review(2, &deleting), []);
}

#[test]
fn a_client_token_gets_the_answer_of_the_ledger() {
    let with_token = |uid, accepted, description: &str| {
        let parameters =
            Parameters { client_token: "t".to_owned(), description: Some(description.to_owned()), ..parameters("web") };
        candidate(uid, parameters, accepted)
    };
    for (accepted, expected) in [(true, vec![]), (false, vec![Reason::IdempotentProcessing])] {
        let ledger = ledger(9, &[&with_token(1, accepted, "same")]);
        assert_eq!(reasons(&refusals_of(&with_token(2, false, "same"), None, &ledger)), expected);
        let other = reasons(&refusals_of(&with_token(2, false, "other"), None, &ledger));
        assert_eq!(other, [Reason::IdempotentParameterMismatch]);
    }
}

#[test]
fn immutable_fields_of_an_accepted_pair_cannot_change() {
    let old = candidate(1, parameters("web"), true);
    let ledger = ledger(1, &[&old]);
    let update = |parameters: Parameters| refusals_of(&candidate(1, parameters, true), Some(&old), &ledger);
    assert_eq!(update(parameters("web")), []);
    assert_eq!(update(Parameters { description: Some("new".to_owned()), ..parameters("web") }), []);
    let renamed = update(parameters("db"));
    assert_eq!(reasons(&renamed), [Reason::InvalidKeyPairName]);
    assert!(renamed[0].to_string().starts_with("spec.keyPairName: keyPairName is immutable"), "{renamed:?}");
    let other = Parameters {
        profile: Profile::Volcengine,
        generate: Some(Generate { algorithm: KeySpec::EcdsaP256.algorithm(), bits: Some(384) }),
        client_token: "t".to_owned(),
        ..parameters("web")
    };
    let fields: Vec<&str> = ["profile", "generate.algorithm", "generate.bits", "clientToken"].into();
    let refusals = update(other);
    assert_eq!(refusals.len(), fields.len());
    for (refusal, field) in refusals.iter().zip(fields) {
        assert!(refusal.detail.starts_with(&format!("{field} is immutable")), "{refusal}");
    }
    let written_out = Generate { algorithm: KeySpec::Ed25519.algorithm(), bits: Some(256) };
    assert_eq!(update(Parameters { generate: Some(written_out), ..parameters("web") }), []);
}

#[test]
fn a_waiting_pair_can_be_corrected_step_by_step() {
    let accepted = candidate(1, parameters("web"), true);
    let waiting = candidate(2, parameters("web"), false);
    let ledger = ledger(1, &[&accepted, &waiting]);
    let update =
        |parameters: Parameters| reasons(&refusals_of(&candidate(2, parameters, false), Some(&waiting), &ledger));
    assert_eq!(update(Parameters { description: Some("new".to_owned()), ..parameters("web") }), []);
    // The name is free, but there is no slot: the pair keeps waiting.
    assert_eq!(update(parameters("db")), []);
    assert_eq!(update(parameters("a b")), [Reason::InvalidKeyPairName]);

    // One mistake may be corrected at a time, but not replaced by another.
    let wrong = |name: &str, description: &str| {
        candidate(3, Parameters { description: Some(description.to_owned()), ..parameters(name) }, false)
    };
    let old = wrong("a b", "1");
    let update = |new: Candidate| reasons(&refusals_of(&new, Some(&old), &ledger));
    assert_eq!(update(wrong("a b", "1")), []);
    assert_eq!(update(wrong("a b", "corrected")), []);
    assert_eq!(update(wrong("a b", "2")), [Reason::InvalidDescription]);
    assert_eq!(update(wrong("a  b", "corrected")), [Reason::InvalidKeyPairName]);
}
