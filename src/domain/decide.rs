//! The decision what to do about one `KeyPair`: the whole state machine as one pure function.
//!
//! [`decide`] answers with the next step. The controller takes it, adds what it learned to the observation and asks again,
//! until the answer is [`Plan::Report`] or [`Plan::Rest`]. The order of the steps of a generated pair is what makes it safe:
//! the Secret is created before the status says that the pair exists, and a Secret that is already there is adopted rather
//! than made a second time, so a crash between the two loses and doubles nothing.

use super::{
    key::{Fingerprints, KeySpec, PublicKey},
    key_pair_id::KeyPairId,
    ledger::{Ledger, Standing},
    reason::{Parameter, Reason, Refusal},
    request::{self, Parameters, Source},
};

/// What the `KeyPair` asks for.
#[derive(Debug, Clone)]
pub struct Desired {
    /// `metadata.uid`.
    pub uid: String,
    /// Whether the object is being deleted.
    pub deleting: bool,
    /// The request.
    pub parameters: Parameters,
}

impl Desired {
    /// The name of the Secret: an accepted pair stays where `recorded` says it is, a pair to come goes where the spec says.
    #[must_use]
    pub fn secret_name<'a>(&'a self, recorded: Option<&'a Facts>) -> &'a String {
        recorded.and_then(|facts| facts.secret_name.as_ref()).unwrap_or(&self.parameters.secret.name)
    }
}

/// What is known of the world.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The facts that the status records; `Some` once the pair has been accepted.
    pub recorded: Option<Facts>,
    /// Why the status says that the pair is not Ready.
    pub refused: Option<Reason>,
    /// The Secret.
    pub secret: SecretView,
}

/// What is known of the Secret of a generated pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretView {
    /// It has not been read. The watch of metadata shows this, or nothing.
    Unread(Option<CachedSecret>),
    /// It has been looked for just now and is not there.
    Absent,
    /// It has been read, or made, just now.
    Read(ReadSecret),
    /// The API server finds it not valid, and said why.
    Invalid(String),
    /// The API server does not let the operator make or read it, and said why.
    Forbidden(String),
}

/// What the metadata of a Secret tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedSecret {
    /// Whether it belongs to this `KeyPair`, by UID.
    pub owned: bool,
    /// The fingerprint that the operator noted on it.
    pub sha256: Option<String>,
    /// Whether it has changed since its content was found right.
    pub changed: bool,
}

/// What the content of a Secret tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSecret {
    /// Whether it belongs to this `KeyPair`, by UID.
    pub owned: bool,
    /// The public key, derived from the private key in it; `None` where that cannot be read.
    pub public_key: Option<PublicKey>,
}

/// What the status tells of an accepted pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `status.keyPairID`.
    pub id: String,
    /// `status.publicKey`: the normalised OpenSSH line.
    pub public_key: String,
    /// `status.algorithm`.
    pub algorithm: String,
    /// `status.bits`.
    pub bits: u32,
    /// `status.fingerprint`, in the profile's form.
    pub fingerprint: String,
    /// `status.fingerprints`.
    pub fingerprints: Fingerprints,
    /// `status.secretName`; `None` for an imported pair.
    pub secret_name: Option<String>,
}

/// What the status shall say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The facts of the pair, if it has been accepted.
    pub facts: Option<Facts>,
    /// What is wrong, the error that the cloud would have answered with first; empty: the pair is Ready.
    pub refusals: Vec<Refusal>,
    /// Whether the cause may pass without any event that the operator is told of, so that it must look again by itself: it
    /// watches only the Secrets that have its label.
    pub look_again: bool,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing to do, now or before the object changes.
    Rest,
    /// Read the Secret of this name, then decide again.
    ReadSecret(String),
    /// Generate a pair and create the Secret of this name with it, unless there is one; then decide again.
    CreateSecret(String, KeySpec),
    /// Make the status say this, if it does not yet. Nothing more to do then.
    Report(Report),
}

/// Decides the next step for one `KeyPair`.
#[must_use]
pub fn decide(desired: &Desired, observed: &Observed, ledger: &Ledger) -> Plan {
    if desired.deleting {
        // There is no finalizer: the API server frees the name, the garbage collector takes the Secret.
        return Plan::Rest;
    }
    let source = match request::check(&desired.parameters) {
        Ok(source) => source,
        Err(refusals) => return refuse(observed, refusals),
    };
    match ledger.standing(&desired.uid) {
        Standing::Granted => {}
        // The index has not seen this version of the object, or is already past it: its own event brings us back.
        Standing::Unknown => return Plan::Rest,
        Standing::NameTaken => return refuse(observed, vec![name_taken(&desired.parameters)]),
        Standing::NoSlot => return refuse(observed, vec![no_slot()]),
    }
    match source {
        Source::Import(key) => accept(desired, observed, &key, None),
        Source::Generate(spec) => decide_generated(desired, observed, spec),
    }
}

fn decide_generated(desired: &Desired, observed: &Observed, spec: KeySpec) -> Plan {
    let name = desired.secret_name(observed.recorded.as_ref());
    match (&observed.secret, &observed.recorded) {
        (SecretView::Unread(Some(cached)), Some(recorded))
            if observed.refused.is_none()
                && cached.owned
                && !cached.changed
                && cached.sha256.as_ref() == Some(&recorded.fingerprints.sha256)
                && let Ok(key) = PublicKey::parse(&recorded.public_key) =>
        {
            accept(desired, observed, &key, Some(name))
        }
        // Another Secret was in the way: a look is cheaper than a key generated for nothing.
        (SecretView::Unread(None), None)
            if matches!(observed.refused, Some(Reason::SecretConflict | Reason::PrivateKeyMismatch)) =>
        {
            Plan::ReadSecret(name.clone())
        }
        (SecretView::Unread(None) | SecretView::Absent, None) => Plan::CreateSecret(name.clone(), spec),
        (SecretView::Unread(_), _) => Plan::ReadSecret(name.clone()),
        (SecretView::Absent, Some(_)) => refuse_for_now(observed, key_lost(name)),
        (SecretView::Invalid(why), _) => refuse_for_now(observed, secret_invalid(name, why)),
        (SecretView::Forbidden(why), _) => refuse_for_now(observed, secret_forbidden(name, why)),
        (SecretView::Read(secret), recorded) => {
            if !secret.owned {
                return refuse_for_now(observed, secret_conflict(name));
            }
            let Some(key) = &secret.public_key else {
                return refuse_for_now(observed, key_mismatch(name));
            };
            if recorded.as_ref().is_some_and(|facts| facts.fingerprints != key.fingerprints()) {
                return refuse_for_now(observed, key_mismatch(name));
            }
            if (key.algorithm(), key.bits()) != (spec.algorithm(), spec.bits()) {
                return refuse_for_now(observed, key_outdated(name));
            }
            accept(desired, observed, key, Some(name))
        }
    }
}

/// The pair is Ready. `secret_name` says where the private key of a generated pair is.
fn accept(desired: &Desired, observed: &Observed, key: &PublicKey, secret_name: Option<&String>) -> Plan {
    let facts = Some(facts(desired, observed, key, secret_name.cloned()));
    Plan::Report(Report { facts, refusals: Vec::new(), look_again: false })
}

fn refuse(observed: &Observed, refusals: Vec<Refusal>) -> Plan {
    Plan::Report(Report { facts: observed.recorded.clone(), refusals, look_again: false })
}

fn refuse_for_now(observed: &Observed, refusal: Refusal) -> Plan {
    Plan::Report(Report { facts: observed.recorded.clone(), refusals: vec![refusal], look_again: true })
}

fn facts(desired: &Desired, observed: &Observed, key: &PublicKey, secret_name: Option<String>) -> Facts {
    let Parameters { profile, project, public_key, .. } = &desired.parameters;
    let public_line = key.to_openssh();
    let body = public_key.as_ref().unwrap_or(&public_line);
    // Set once: it outlives even a restore that gives the object another UID.
    let recorded = observed.recorded.as_ref().map(|facts| KeyPairId::from_text(&facts.id));
    let id = recorded.unwrap_or_else(|| KeyPairId::from_uid(&desired.uid));
    Facts {
        fingerprint: profile.fingerprint(key, body, project, &id),
        id: id.to_string(),
        public_key: public_line,
        algorithm: key.algorithm().to_string(),
        bits: key.bits(),
        fingerprints: key.fingerprints(),
        secret_name,
    }
}

fn name_taken(parameters: &Parameters) -> Refusal {
    Refusal::new(
        Reason::KeyPairNameConflict,
        Parameter::KeyPairName,
        format!(
            "another KeyPair of this namespace has the key pair name {:?}: choose another, or delete that KeyPair",
            parameters.key_pair_name
        ),
    )
}

fn no_slot() -> Refusal {
    Refusal::new(
        Reason::QuotaExceeded,
        Parameter::Quota,
        "the namespace holds as many key pairs as its quota allows: delete one, and the oldest that waits is accepted",
    )
}

fn secret_conflict(name: &str) -> Refusal {
    Refusal::new(
        Reason::SecretConflict,
        Parameter::Secret,
        format!(
            "Secret {name:?} exists and does not belong to this KeyPair: set spec.secret.name to another name, or delete that Secret"
        ),
    )
}

fn secret_invalid(name: &str, why: &str) -> Refusal {
    let detail = format!("the API server refused Secret {name:?}; change spec.secret as it says: {why}");
    Refusal::new(Reason::InvalidSecret, Parameter::Secret, detail)
}

fn secret_forbidden(name: &str, why: &str) -> Refusal {
    let detail =
        format!("the API server does not let the operator make or read Secret {name:?}, which is tried again: {why}");
    Refusal::new(Reason::InternalError, Parameter::Secret, detail)
}

fn key_lost(name: &str) -> Refusal {
    Refusal::new(
        Reason::PrivateKeyLost,
        Parameter::Secret,
        format!(
            "Secret {name:?} with the private key is gone, and no other key is generated in its place: restore it from a backup, or delete this KeyPair and create it anew"
        ),
    )
}

fn key_outdated(name: &str) -> Refusal {
    Refusal::new(
        Reason::PrivateKeyMismatch,
        Parameter::Secret,
        format!(
            "Secret {name:?} holds a key of another kind, made before spec.generate was changed: delete that Secret, and a new one is made"
        ),
    )
}

fn key_mismatch(name: &str) -> Refusal {
    Refusal::new(
        Reason::PrivateKeyMismatch,
        Parameter::Secret,
        format!(
            "Secret {name:?} does not hold the private key of this KeyPair: restore the key from a backup, or delete the Secret and this KeyPair and create it anew"
        ),
    )
}

#[cfg(test)]
mod tests;
