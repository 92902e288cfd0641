//! What the status of a publication says.

use std::fmt::{self, Write as _};

use super::{
    Entry, Mistake, Problem, Publication, PublicationKind, Rendered, Resolved, Source,
    bounds::{MAX_MATCHES, MESSAGE_MAX_BYTES, TARGET_MAX_BYTES},
};
use crate::domain::display;

/// The reasons of the condition `Ready`. If several apply, the first one that is not `Published` is the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicationReason {
    /// An entry or the target is invalid.
    InvalidEntry,
    /// The target cannot be written, for example because an object of that name belongs to somebody else.
    TargetConflict,
    /// The data would be too large, so that not all lines are published.
    TooLarge,
    /// A pair of another namespace does not exist or is not shared.
    NotShared,
    /// A pair does not exist, or has no accepted key.
    KeyPairNotFound,
    /// A selector selects nothing.
    NothingSelected,
    /// All keys are published.
    Published,
}

impl PublicationReason {
    /// Every reason, in the order of precedence.
    pub const ALL: [Self; 7] = [
        Self::InvalidEntry,
        Self::TargetConflict,
        Self::TooLarge,
        Self::NotShared,
        Self::KeyPairNotFound,
        Self::NothingSelected,
        Self::Published,
    ];

    /// The reason in `CamelCase`, as conditions and Events require.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidEntry => "InvalidEntry",
            Self::TargetConflict => "TargetConflict",
            Self::TooLarge => "TooLarge",
            Self::NotShared => "NotShared",
            Self::KeyPairNotFound => "KeyPairNotFound",
            Self::NothingSelected => "NothingSelected",
            Self::Published => "Published",
        }
    }
}

impl fmt::Display for PublicationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetOutcome {
    /// It has the data.
    Written,
    /// The spec has no valid target, so nothing is written.
    Invalid,
    /// An object of that name exists and does not belong to the publication.
    Conflict,
    /// The API server refuses the write, with this message.
    Refused(String),
}

/// What the status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationReport {
    /// Whether `Ready` is True.
    pub is_ready: bool,
    /// The reason of `Ready`.
    pub reason: PublicationReason,
    /// The message of `Ready`: at most [`MESSAGE_MAX_BYTES`], without control characters.
    pub message: String,
    /// Whether only an edit of the spec can help.
    pub is_stalled: bool,
}

/// What the status says about the publication.
#[must_use]
pub fn report(
    publication: &Publication,
    resolved: &[Resolved],
    rendered: &Rendered,
    outcome: &TargetOutcome,
) -> PublicationReport {
    let mut findings: Vec<(PublicationReason, String)> = Vec::new();
    let mistakes = publication.mistakes.iter().map(|Mistake { field, detail }| format!("spec.{field} {detail}"));
    findings.extend(mistakes.map(|sentence| (PublicationReason::InvalidEntry, sentence)));
    findings.extend(target_finding(publication, outcome).map(|sentence| (PublicationReason::TargetConflict, sentence)));
    if rendered.is_too_large {
        let sentence = format!(
            "the text has more than {TARGET_MAX_BYTES} bytes, and only its first lines are published: select fewer keys, or use several objects"
        );
        findings.push((PublicationReason::TooLarge, sentence));
    }
    for (index, (entry, resolved)) in publication.entries.iter().zip(resolved).enumerate() {
        if let (Some(entry), Some(problem)) = (entry, resolved.problem) {
            findings
                .push((reason_of(problem), format!("spec.entries[{index}]: {}", words(publication, entry, problem))));
        }
    }
    findings.sort_by_key(|(reason, _)| *reason);
    let reason = findings.first().map_or(PublicationReason::Published, |(reason, _)| *reason);
    let mut sentences: Vec<String> = findings.into_iter().map(|(_, sentence)| sentence).collect();
    if sentences.is_empty() {
        sentences.push(published(publication, rendered));
    }
    sentences.extend(certificates(publication, rendered));
    PublicationReport {
        is_ready: reason == PublicationReason::Published,
        reason,
        message: joined(&sentences),
        is_stalled: reason == PublicationReason::InvalidEntry,
    }
}

fn reason_of(problem: Problem) -> PublicationReason {
    match problem {
        Problem::NotShared => PublicationReason::NotShared,
        Problem::KeyPairNotFound | Problem::NotAccepted => PublicationReason::KeyPairNotFound,
        Problem::NothingSelected => PublicationReason::NothingSelected,
        Problem::TooMany => PublicationReason::TooLarge,
    }
}

/// What is wrong with an entry, and what to do.
fn words(publication: &Publication, entry: &Entry, problem: Problem) -> String {
    let own = &publication.namespace;
    let (namespace, name) = match &entry.source {
        Source::KeyPair { namespace, name } => (namespace, name.as_str()),
        Source::Selector { namespace, .. } => (namespace, ""),
        Source::PublicKeys(_) => (own, ""),
    };
    match problem {
        Problem::NotShared => format!(
            "namespace {namespace} has no KeyPair {name} that is shared with this namespace: correct the names, or have {own} added to its spec.shareWith"
        ),
        Problem::KeyPairNotFound => {
            format!("there is no KeyPair {name} in namespace {namespace}: create it, or correct the name")
        }
        Problem::NotAccepted => format!(
            "KeyPair {name} in namespace {namespace} has no key to publish: look at its condition Ready, or wait until it is accepted"
        ),
        Problem::TooMany => format!(
            "the selectors of this object select more than {MAX_MATCHES} KeyPairs, and not all are published: select fewer, or use several objects"
        ),
        Problem::NothingSelected if namespace == own => format!(
            "the selector selects no KeyPair with a key to publish in namespace {namespace}: correct the selector or the labels of the KeyPairs"
        ),
        Problem::NothingSelected => format!(
            "the selector selects no KeyPair in namespace {namespace} that is shared with this namespace: correct the selector, or have {own} added to spec.shareWith of the KeyPairs"
        ),
    }
}

fn target_finding(publication: &Publication, outcome: &TargetOutcome) -> Option<String> {
    let target = publication.target.as_ref().map(ToString::to_string).unwrap_or_default();
    match outcome {
        TargetOutcome::Written | TargetOutcome::Invalid => None,
        TargetOutcome::Conflict => Some(format!(
            "{target} exists and does not belong to this object: set another name in spec.target, or delete it"
        )),
        TargetOutcome::Refused(message) => Some(format!("{target} cannot be written: {}", display::quoted(message))),
    }
}

/// `1 key`, `2 keys`.
fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn published(publication: &Publication, rendered: &Rendered) -> String {
    let target = publication.target.as_ref().map(ToString::to_string).unwrap_or_default();
    // Literal keys are of no pair.
    format!("{target} has {} (KeyPairs: {})", counted(rendered.keys, "key"), rendered.key_pairs)
}

/// What is left out of the text although the entries select it.
fn certificates(publication: &Publication, rendered: &Rendered) -> Option<String> {
    let reader = match publication.kind {
        PublicationKind::AuthorizedKeys => "sshd does not accept certificates in authorized_keys",
        PublicationKind::KnownHosts => "ssh does not accept certificates in known_hosts",
    };
    let count = rendered.certificates;
    (count > 0).then(|| {
        let left_out = counted(count, "certificate");
        format!("left out {left_out}, because {reader}: publish the key of the certificate authority with certAuthority instead")
    })
}

/// The sentences that fit into a message, and the number of the others.
fn joined(sentences: &[String]) -> String {
    /// Room for `; and 12345 more`.
    const ROOM: usize = 20;
    let mut message = String::new();
    for (index, sentence) in sentences.iter().enumerate() {
        let sentence = display::sentence(sentence);
        let separator = if index == 0 { "" } else { "; " };
        if message.len() + separator.len() + sentence.len() + ROOM > MESSAGE_MAX_BYTES {
            // One sentence alone may be too long.
            if index == 0 {
                let fits = |(start, c): &(usize, char)| start + c.len_utf8() <= MESSAGE_MAX_BYTES - 2 * ROOM;
                message.extend(sentence.char_indices().take_while(fits).map(|(_, c)| c));
                message.push('…');
            }
            let left = sentences.len() - index - usize::from(index == 0);
            if left > 0 {
                // Writing to a `String` does not fail.
                let _ = write!(message, "; and {left} more");
            }
            return message;
        }
        message.push_str(separator);
        message.push_str(&sentence);
    }
    message
}
