use super::{super::bounds::MESSAGE_MAX_BYTES, *};
use PublicationKind::{AuthorizedKeys, KnownHosts};

fn reported(publication: &Publication, resolved: &[Resolved], outcome: &TargetOutcome) -> PublicationReport {
    report(publication, resolved, &render(publication, UID, resolved), outcome)
}

fn in_namespace(namespace: &str, entry: EntryParameters) -> EntryParameters {
    EntryParameters { namespace: Some(namespace.to_owned()), ..entry }
}

fn selector() -> EntryParameters {
    EntryParameters { selector: Some(SelectorParameters::default()), ..EntryParameters::default() }
}

#[test]
fn published_says_how_many_keys_are_where() {
    let publication = check(&parameters(AuthorizedKeys, vec![selector()]));
    let several = selected(&[pair("shop", "a", &[(1, "A"), (2, "B")]), certificate("shop", "c")]);
    let report = reported(&publication, &[several], &TargetOutcome::Written);
    assert!(report.is_ready && !report.is_stalled && report.reason == PublicationReason::Published);
    assert_eq!(
        report.message,
        "ConfigMap servers has 2 keys (KeyPairs: 1); left out 1 certificate, because sshd does not accept certificates in authorized_keys: publish the key of the certificate authority with certAuthority instead"
    );
    let one = selected(&[pair("shop", "a", &[(1, "A")])]);
    assert_eq!(
        reported(&publication, &[one], &TargetOutcome::Written).message,
        "ConfigMap servers has 1 key (KeyPairs: 1)"
    );
    let empty = check(&parameters(KnownHosts, Vec::new()));
    let report = reported(&empty, &[], &TargetOutcome::Written);
    assert_eq!((report.is_ready, &*report.message), (true, "ConfigMap servers has 0 keys (KeyPairs: 0)"));
}

#[test]
fn each_problem_says_what_to_do() {
    for (entry, found, reason, message) in [
        (
            key_pair("web"),
            Problem::KeyPairNotFound,
            PublicationReason::KeyPairNotFound,
            "spec.entries[0]: there is no KeyPair web in namespace shop: create it, or correct the name",
        ),
        (
            key_pair("web"),
            Problem::NotAccepted,
            PublicationReason::KeyPairNotFound,
            "spec.entries[0]: KeyPair web in namespace shop has no key to publish: look at its condition Ready, or wait until it is accepted",
        ),
        (
            in_namespace("infra", key_pair("web")),
            Problem::NotShared,
            PublicationReason::NotShared,
            "spec.entries[0]: namespace infra has no KeyPair web that is shared with this namespace: correct the names, or have shop added to its spec.shareWith",
        ),
        (
            selector(),
            Problem::NothingSelected,
            PublicationReason::NothingSelected,
            "spec.entries[0]: the selector selects no KeyPair with a key to publish in namespace shop: correct the selector or the labels of the KeyPairs",
        ),
        (
            in_namespace("infra", selector()),
            Problem::NothingSelected,
            PublicationReason::NothingSelected,
            "spec.entries[0]: the selector selects no KeyPair in namespace infra that is shared with this namespace: correct the selector, or have shop added to spec.shareWith of the KeyPairs",
        ),
    ] {
        let publication = check(&parameters(AuthorizedKeys, vec![entry]));
        let report = reported(&publication, &[problem(found)], &TargetOutcome::Written);
        assert_eq!((report.is_ready, report.is_stalled, report.reason), (false, false, reason));
        assert_eq!(report.message, message);
    }
}

#[test]
fn the_first_reason_counts_and_all_are_told() {
    let entries = vec![selector(), key_pair("b"), in_namespace("infra", key_pair("c")), key_pair("D")];
    let publication = check(&parameters(AuthorizedKeys, entries));
    let all = [
        problem(Problem::NothingSelected),
        problem(Problem::KeyPairNotFound),
        problem(Problem::NotShared),
        Resolved::default(),
    ];
    let report = reported(&publication, &all, &TargetOutcome::Conflict);
    assert_eq!((report.is_ready, report.is_stalled, report.reason), (false, true, PublicationReason::InvalidEntry));
    let parts = [
        "spec.entries[3].keyPair must",
        "; ConfigMap servers exists",
        "; spec.entries[2]:",
        "; spec.entries[1]:",
        "; spec.entries[0]:",
    ];
    let places: Vec<_> = parts.iter().map(|part| report.message.find(part).expect(part)).collect();
    assert!(places.is_sorted(), "{}", report.message);

    let valid =
        check(&parameters(AuthorizedKeys, vec![selector(), key_pair("b"), in_namespace("infra", key_pair("c"))]));
    for (index, reason) in [
        (0, PublicationReason::NotShared),
        (1, PublicationReason::NotShared),
        (2, PublicationReason::KeyPairNotFound),
        (3, PublicationReason::NothingSelected),
    ] {
        let resolved: Vec<Resolved> = all[..3]
            .iter()
            .enumerate()
            .map(|(n, one)| if n + index > 3 { Resolved::default() } else { one.clone() })
            .collect();
        let report = reported(&valid, &resolved, &TargetOutcome::Written);
        assert_eq!(report.reason, reason, "{index}");
    }
}

#[test]
fn a_target_that_cannot_be_written_is_told() {
    let mut parameters = parameters(AuthorizedKeys, Vec::new());
    parameters.target.secret = Some((Some("keys".to_owned()), None));
    let publication = check(&parameters);
    let report = reported(&publication, &[], &TargetOutcome::Conflict);
    assert_eq!((report.reason, report.is_stalled), (PublicationReason::TargetConflict, false));
    assert_eq!(
        report.message,
        "Secret keys exists and does not belong to this object: set another name in spec.target, or delete it"
    );
    let report = reported(&publication, &[], &TargetOutcome::Refused("exceeded quota\n".to_owned()));
    assert_eq!(report.reason, PublicationReason::TargetConflict);
    assert_eq!(report.message, r#"Secret keys cannot be written: "exceeded quota\n""#);
}

#[test]
fn a_text_that_is_too_large_is_told() {
    let publication = check(&parameters(AuthorizedKeys, vec![key_pair("a")]));
    let rendered = Rendered { is_too_large: true, ..Rendered::default() };
    let report = report(&publication, &[Resolved::default()], &rendered, &TargetOutcome::Written);
    assert_eq!((report.is_ready, report.reason), (false, PublicationReason::TooLarge));
    assert!(report.message.contains("1000000 bytes"), "{}", report.message);
}

#[test]
fn a_message_is_short() {
    let publication = check(&parameters(AuthorizedKeys, vec![key_pair("web"); 64]));
    let report = reported(&publication, &vec![problem(Problem::KeyPairNotFound); 64], &TargetOutcome::Written);
    assert!(report.message.len() <= MESSAGE_MAX_BYTES && report.message.ends_with(" more"), "{}", report.message);
    let shown = report.message.matches("there is no KeyPair").count();
    assert!(report.message.ends_with(&format!("and {} more", 64 - shown)), "{}", report.message);
    let refused = TargetOutcome::Refused("é".repeat(5000));
    let report = reported(&check(&parameters(AuthorizedKeys, Vec::new())), &[], &refused);
    assert!(report.message.len() <= MESSAGE_MAX_BYTES && report.message.contains('…'));
}

#[test]
fn names_of_reasons_are_unique() {
    let names: std::collections::BTreeSet<_> = PublicationReason::ALL.map(PublicationReason::as_str).into();
    assert_eq!(names.len(), PublicationReason::ALL.len());
}
