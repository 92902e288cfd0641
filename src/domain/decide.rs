//! The decision what to do about one `KeyPair`: the whole state machine as one pure function.
//!
//! [`decide`] answers with the next step. The controller takes it, adds what it learned to the observation and asks again,
//! until the answer is [`Plan::Report`] or [`Plan::Rest`]. The order of the steps of a generated pair is what makes it safe:
//! the Secret is created before the status says that the pair exists, and a Secret that is already there is adopted rather
//! than made a second time, so a crash between the two loses and doubles nothing. A Secret that is to move is copied first, the
//! status is told then, and the old one deleted only when the copy has been read: the Secret that the status names always holds
//! the key.

mod generated;
mod immutability;
mod moves;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    digest,
    key::{Fingerprints, KeySpec, PublicKey},
    key_pair_id::KeyPairId,
    ledger::{Ledger, Standing},
    reason::{Reason, Refusal},
    region::Region,
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
    /// The name of the Secret: that of an accepted pair is where `recorded` says; a pair to come, or one whose status does not
    /// say it any more, has it where one is `noted`, or where the spec says.
    #[must_use]
    pub fn secret_name<'a>(&'a self, recorded: Option<&'a Facts>, noted: &'a BTreeSet<String>) -> &'a String {
        let wanted = &self.parameters.secret.name;
        let recorded = recorded.and_then(|facts| facts.secret_name.as_ref());
        recorded.or_else(|| noted.iter().find(|name| *name != wanted)).unwrap_or(wanted)
    }
}

/// What is known of the world.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The facts that the status records; `Some` once the pair has been accepted.
    pub recorded: Option<Facts>,
    /// What is known of the pair that this one repeats, where the ledger says that it does.
    pub original: Option<Original>,
    /// The names of the Secrets that were made for this pair, as far as that is known. Whoever edits a name again and again, or a
    /// crash, may have left several.
    pub noted: BTreeSet<String>,
    /// Why the status says that the pair is not Ready.
    pub refused: Option<Reason>,
    /// What is known of each Secret that this may be about, by its name.
    pub secrets: BTreeMap<String, SecretView>,
}

impl Observed {
    /// What is known of the Secret of this name.
    fn secret(&self, name: &str) -> &SecretView {
        const NOTHING: &SecretView = &SecretView::Unread(None);
        self.secrets.get(name).unwrap_or(NOTHING)
    }
}

/// What is known of a pair that another repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// The facts that its status records.
    pub facts: Facts,
    /// Why its status says that it is not Ready, and the sentence that says so.
    pub refused: Option<(Reason, String)>,
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
    /// The API server does not let the operator make, read or change it, and said why.
    Forbidden(String),
    /// Requests about it go on failing, with this: another tool may be away that admission asks.
    Failing(String),
}

/// What the metadata of a Secret tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedSecret {
    /// Whether it belongs to this `KeyPair`, by UID.
    pub owned: bool,
    /// The fingerprint that the operator noted on it.
    pub sha256: Option<String>,
    /// Whether the operator noted that it was handed over.
    pub adopted: bool,
    /// The digest of the settings that the operator noted on it.
    pub settings: Option<String>,
    /// The move that it is part of.
    pub moved: Option<Move>,
    /// Its resource version.
    pub version: String,
}

/// A move of a key from one Secret to another that has begun: noted on the copy until the Secret that it came from is gone.
///
/// It says under which name the copy was made. So a copy that somebody makes of it, annotations and all, is none of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The name of the Secret that the key came from.
    pub from: String,
    /// The name of the Secret that it was put into.
    pub to: String,
}

/// Whose a Secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// It was made for this very `KeyPair`, by UID.
    Ours,
    /// It is somebody else's, who hands it over to this `KeyPair`.
    Offered,
    /// It is somebody else's.
    Foreign,
}

/// Why a Secret that is handed over cannot be made what the settings say. Nothing in it is a byte of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The private key cannot be used, for this reason.
    Key(String),
    /// Another controller has the Secret: its kind and name.
    Owner(String),
    /// The settings want an entry of this name for a key, and its owner keeps something else there.
    Entry(String),
}

/// What the content of a Secret tells.
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are findings, each for itself, and no states that exclude each other"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSecret {
    /// Whose it is.
    pub belongs: Belongs,
    /// Whether it was handed over, and so is its owner's but for what the operator put into it.
    pub adopted: bool,
    /// Whether a watch of our Secrets, which go by labels, shows it. Other tools may own a label.
    pub in_sight: bool,
    /// Who else has it, kind and name, as far as it says.
    pub owner: Option<String>,
    /// The move that it is part of.
    pub moved: Option<Move>,
    /// What was written and did not come back, since admission changed it: labels, annotations and owner references.
    pub missing: Vec<String>,
    /// The public key, derived from the private key in it; `None` where that cannot be read.
    pub public_key: Option<PublicKey>,
    /// What speaks against taking the key over, or putting it where the settings say.
    pub obstacle: Option<Obstacle>,
    /// Whether it is what the settings say, the private key aside.
    pub up_to_date: bool,
    /// Whether its type, which cannot be changed, is one that the settings allow.
    pub type_fits: bool,
    /// The fingerprint (SHA256) of the lost key in whose place this one was generated.
    pub replaces: Option<String>,
    /// Its resource version.
    pub version: String,
}

/// What the status tells of an accepted pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `status.keyPairID`.
    pub id: String,
    /// `status.publicKey`: the normalised OpenSSH line; empty, as the other texts, where the status has none that can be.
    pub public_key: String,
    /// `status.algorithm`.
    pub algorithm: String,
    /// `status.bits`.
    pub bits: u32,
    /// `status.keyPairName`; empty: not known.
    pub key_pair_name: String,
    /// What was asked for when the pair was accepted, where it has a client token; `None`: not known, or without one.
    pub request: Option<AcceptedRequest>,
    /// `status.fingerprint`, in the profile's form.
    pub fingerprint: String,
    /// `status.fingerprints`.
    pub fingerprints: Fingerprints,
    /// `status.secretName`; `None` for an imported pair.
    pub secret_name: Option<String>,
    /// `status.secretVersion`: the resource version of the Secret when it was last found right.
    pub secret_version: Option<String>,
}

impl Facts {
    /// Whether the status tells of another key than this. Where it tells of none, the key of a Secret that was made for this
    /// pair contradicts nothing.
    fn is_of_another(&self, key: &PublicKey) -> bool {
        self.fingerprints != Fingerprints::default() && self.fingerprints != key.fingerprints()
    }
}

/// What is compared with other requests that have the same client token: it is what it was when the pair was accepted, whatever is
/// edited since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedRequest {
    /// The digest of the client token.
    pub client_token: String,
    /// [`Parameters::digest_without_project`].
    pub digest: String,
    /// The digest of the project, as it was given; empty: none.
    pub project: String,
}

impl AcceptedRequest {
    /// The request that is made now, if it has a client token.
    fn of(parameters: &Parameters) -> Option<Self> {
        let Parameters { client_token, project, .. } = parameters;
        (!client_token.is_empty()).then(|| Self {
            client_token: digest::of_text(client_token),
            digest: parameters.digest_without_project(),
            project: digest::of_text(project),
        })
    }
}

/// What the status shall say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The facts of the pair, if it has been accepted.
    pub facts: Option<Facts>,
    /// The name of the `KeyPair` whose request this one repeats, and whose facts these are.
    pub replay_of: Option<String>,
    /// What is wrong, the error that the cloud would have answered with first; empty: the pair is Ready.
    pub refusals: Vec<Refusal>,
    /// Whether the cause may pass without any event that the operator is told of, so that it must look again by itself: it
    /// watches only the Secrets that have its label.
    pub look_again: bool,
    /// Whether it is a failure, which is tried again as soon as any.
    pub failing: bool,
    /// Whether admission has changed what was written. No event tells that it would not any more, so that it is tried again.
    pub overruled: bool,
    /// The name of the Secret that this is about and that the watch by the label does not show. What becomes of it ends the
    /// trouble, or begins one.
    pub out_of_sight: Option<String>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing to do, now or before the object changes.
    Rest,
    /// Read the Secret of this name, then decide again.
    ReadSecret(String),
    /// Generate a pair and create the Secret of this name with it, unless there is one; then decide again.
    CreateSecret {
        /// The Secret's name.
        name: String,
        /// What to generate.
        spec: KeySpec,
        /// The fingerprint (SHA256) of the lost key in whose place it is.
        replaces: Option<String>,
    },
    /// Make the Secret of this name what the settings say and this `KeyPair`'s, if it is still this version; the key stays what
    /// it is. Then decide again.
    UpdateSecret {
        /// The Secret's name.
        name: String,
        /// The version that was decided about.
        version: String,
        /// The name of the Secret that the key is moved away from, which is noted on this one.
        moved_from: Option<String>,
    },
    /// Create the Secret `to` with the key in the Secret `from`, unless there is one; then decide again.
    CopySecret {
        /// Where the key is.
        from: String,
        /// Where it is to be.
        to: String,
    },
    /// Make the status name this Secret, whose key is that of the pair, and leave everything else in it as it is. What else is to be
    /// done is done when the status says so.
    RecordMove {
        /// The Secret's name.
        name: String,
        /// Its version.
        version: String,
    },
    /// Take the note of a move from the Secret of this name, if it is still this version; then decide again.
    EndMove {
        /// The Secret's name.
        name: String,
        /// The version that was decided about.
        version: String,
    },
    /// Delete the Secret of this name, whose key is elsewhere by now; then decide again.
    DeleteSecret(String),
    /// Give the Secret of this name back to whoever handed it over, without what the operator put into it; then decide again.
    ReleaseSecret(String),
    /// Make the status say this, if it does not yet. Nothing more to do then.
    Report(Box<Report>),
}

/// Decides the next step for one `KeyPair`.
#[must_use]
pub fn decide(desired: &Desired, observed: &Observed, ledger: &Ledger) -> Plan {
    if desired.deleting {
        // There is no finalizer: the API server frees the name, the garbage collector takes the Secret.
        return Plan::Rest;
    }
    decide_as(desired, observed, ledger.region(), ledger.standing(&desired.uid))
}

/// The same for a `KeyPair` that is not being deleted and stands so in `region`.
pub(super) fn decide_as(desired: &Desired, observed: &Observed, region: &Region, standing: Standing) -> Plan {
    // What an accepted pair has it keeps: the name was free when it was taken.
    let held = observed.recorded.as_ref().and_then(|facts| facts.secret_name.as_deref());
    let source = match request::check_in(region, &desired.parameters, held) {
        Ok(source) => source,
        Err(refusals) => return refuse(observed, refusals),
    };
    match standing {
        Standing::Granted => {}
        // The index has not seen this version of the object, or is already past it: its own event brings us back.
        Standing::Unknown => return Plan::Rest,
        Standing::NameTaken => return refuse(observed, vec![refusals::name_taken(&desired.parameters)]),
        Standing::NoSlot => return refuse(observed, vec![region.no_slot()]),
        Standing::Replay(original) => return replay(observed, original),
        Standing::ReplayOfPending(original) => return refuse(observed, vec![refusals::in_process(&original)]),
        Standing::TokenReused(original) => return refuse(observed, vec![refusals::token_reused(&original)]),
    }
    if let Some(recorded) = &observed.recorded {
        let refusals = immutability::refusals(&desired.parameters, recorded, region, &source);
        if !refusals.is_empty() {
            return refuse(observed, refusals);
        }
    }
    match source {
        Source::Import(key) => accept(desired, observed, region, &key, None),
        Source::Generate(spec) => generated::decide(desired, observed, region, spec),
    }
}

/// The answer that the original has: what it says of itself.
fn replay(observed: &Observed, name: String) -> Plan {
    match &observed.original {
        Some(Original { facts, refused: None }) => {
            let facts = Some(Facts { secret_version: None, request: None, ..facts.clone() });
            Plan::Report(Box::new(Report { facts, replay_of: Some(name), ..Report::default() }))
        }
        // Without the facts: a pair that is not Ready and has some has been accepted as a pair of its own.
        Some(Original { refused: Some((reason, words)), .. }) => {
            let refusals = vec![refusals::original_not_ready(&name, *reason, words)];
            Plan::Report(Box::new(Report { refusals, ..Report::default() }))
        }
        None => refuse(observed, vec![refusals::in_process(&name)]),
    }
}

/// The pair is Ready. `secret` is name and version of the Secret of a generated pair.
fn accept(
    desired: &Desired,
    observed: &Observed,
    region: &Region,
    key: &PublicKey,
    secret: Option<(&str, &str)>,
) -> Plan {
    let facts = Some(facts(desired, observed, region, key, secret));
    Plan::Report(Box::new(Report { facts, ..Report::default() }))
}

fn refuse(observed: &Observed, refusals: Vec<Refusal>) -> Plan {
    Plan::Report(Box::new(Report { facts: observed.recorded.clone(), refusals, ..Report::default() }))
}

/// Refuses for a cause that may pass without an event.
fn refuse_for_now(observed: &Observed, refusal: Refusal) -> Plan {
    let facts = observed.recorded.clone();
    Plan::Report(Box::new(Report { facts, refusals: vec![refusal], look_again: true, ..Report::default() }))
}

/// Refuses for what requests about the Secret of this name were answered with.
fn refuse_for_answer(observed: &Observed, name: &str, answer: &SecretView) -> Option<Plan> {
    let plan = match answer {
        SecretView::Invalid(why) => refuse_for_now(observed, refusals::secret_invalid(name, why)),
        SecretView::Forbidden(why) => refuse_for_now(observed, refusals::secret_forbidden(name, why)),
        SecretView::Failing(why) => {
            let (facts, refusals) = (observed.recorded.clone(), vec![refusals::secret_failing(name, why)]);
            Plan::Report(Box::new(Report { facts, refusals, failing: true, ..Report::default() }))
        }
        SecretView::Unread(_) | SecretView::Absent | SecretView::Read(_) => return None,
    };
    Some(plan)
}

/// Refuses for what the Secret of this name is, or is not.
fn refuse_until_changed(observed: &Observed, secret: &str, refusal: Refusal) -> Plan {
    let facts = observed.recorded.clone();
    let out_of_sight = Some(secret.to_owned());
    let report = Report { facts, refusals: vec![refusal], look_again: true, out_of_sight, ..Report::default() };
    Plan::Report(Box::new(report))
}

fn facts(
    desired: &Desired,
    observed: &Observed,
    region: &Region,
    key: &PublicKey,
    secret: Option<(&str, &str)>,
) -> Facts {
    let Parameters { profile, project, public_key, .. } = &desired.parameters;
    let public_line = key.to_openssh();
    let body = public_key.as_ref().unwrap_or(&public_line);
    // Set once: it outlives even a restore that gives the object another UID.
    let recorded = observed.recorded.as_ref().map(|facts| KeyPairId::from_text(&facts.id));
    let id = recorded.unwrap_or_else(|| KeyPairId::from_uid(&desired.uid));
    let request = observed.recorded.as_ref().and_then(|facts| facts.request.clone());
    Facts {
        fingerprint: profile.fingerprint(key, body, region.effective_project(project), &id),
        id: id.to_string(),
        public_key: public_line,
        algorithm: key.algorithm().to_string(),
        bits: key.bits(),
        key_pair_name: desired.parameters.key_pair_name.clone(),
        request: request.or_else(|| AcceptedRequest::of(&desired.parameters)),
        fingerprints: key.fingerprints(),
        secret_name: secret.map(|(name, _)| name.to_owned()),
        secret_version: secret.map(|(_, version)| version.to_owned()),
    }
}

#[cfg(test)]
mod tests;
