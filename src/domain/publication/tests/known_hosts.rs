use std::collections::BTreeSet;

use super::*;
use PublicationKind::KnownHosts;

fn rendered(entries: Vec<EntryParameters>, hash_hosts: bool, resolved: &[Resolved]) -> Rendered {
    let publication = check(&PublicationParameters { hash_hosts, ..parameters(KnownHosts, entries) });
    assert_eq!(publication.mistakes, []);
    render(&publication, UID, resolved)
}

fn text(entries: Vec<EntryParameters>, hash_hosts: bool, resolved: &[Resolved]) -> String {
    rendered(entries, hash_hosts, resolved).data.remove("known_hosts").unwrap()
}

fn web() -> Resolved {
    selected(&[pair("shop", "web", &[(1, "W1"), (2, "W2")])])
}

#[test]
fn a_line_has_marker_hosts_key_and_comment() {
    let names = ["*.Example.com", "!bad.example.com", "[10.0.0.1]:2222", "*.example.COM", "2001:DB8::1"];
    let hosts_text = "*.example.com,!bad.example.com,[10.0.0.1]:2222,2001:db8::1";
    for (marker, prefix) in
        [(None, ""), (Some(Marker::CertAuthority), "@cert-authority "), (Some(Marker::Revoked), "@revoked ")]
    {
        let entry = EntryParameters { marker, ..hosts(&names) };
        let lines =
            format!("{prefix}{hosts_text} ssh-ed25519 W1 shop/web#1\n{prefix}{hosts_text} ssh-ed25519 W2 shop/web#2\n");
        assert_eq!(text(vec![entry], false, &[web()]), lines);
    }
}

#[test]
fn a_key_has_one_line_for_each_marker_and_hosts() {
    let revoked = |entry| EntryParameters { marker: Some(Marker::Revoked), ..entry };
    let entries = vec![hosts(&["a"]), hosts(&["A"]), hosts(&["b"]), revoked(hosts(&["a"]))];
    let one = |name| selected(&[pair("shop", name, &[(1, "K")])]);
    let rendered = rendered(entries, false, &[one("x"), one("y"), one("x"), one("x")]);
    let lines = "a ssh-ed25519 K shop/x\nb ssh-ed25519 K shop/x\n@revoked a ssh-ed25519 K shop/x\n";
    assert_eq!(rendered.data["known_hosts"], lines);
    assert_eq!((rendered.keys, rendered.key_pairs), (1, 2));
}

#[test]
fn literal_keys_have_the_name_of_the_publication() {
    let keys = Some(texts(&[&format!("{ED25519} root@host # evil")]));
    let entry = EntryParameters { public_keys: keys, hosts: texts(&["a"]), ..EntryParameters::default() };
    let rendered = rendered(vec![entry], false, &[Resolved::default()]);
    assert_eq!(rendered.data["known_hosts"], format!("a {ED25519} shop/servers\n"));
    assert_eq!((rendered.keys, rendered.key_pairs), (1, 0));
    assert!(!rendered.published.contains("shop", "servers", ED25519));
}

#[test]
fn hashed_hosts_have_a_line_each_and_stay_the_same() {
    let entry = hosts(&["A.example.com", "[a.example.com]:2222"]);
    let once = text(vec![entry.clone()], true, &[web()]);
    assert_eq!(once.lines().count(), 4);
    assert!(!once.contains("example"));
    assert_eq!(once, text(vec![entry.clone()], true, &[web()]));
    let salts: BTreeSet<&str> = once.lines().map(|line| line.split('|').nth(2).unwrap()).collect();
    assert_eq!(salts.len(), 2, "each host has a salt of its own");
    let publication = check(&PublicationParameters { hash_hosts: true, ..parameters(KnownHosts, vec![entry]) });
    let other = render(&publication, "another uid", &[web()]);
    assert!(other.data["known_hosts"].lines().all(|line| !once.contains(line.split(' ').next().unwrap())));
}

#[test]
fn only_a_literal_certificate_is_revoked() {
    let entry = |marker| EntryParameters { marker, ..hosts(&["a"]) };
    let certificates = || selected(&[certificate("shop", "c")]);
    let entries = vec![entry(None), entry(Some(Marker::CertAuthority)), entry(Some(Marker::Revoked))];
    let of_pairs = rendered(entries, false, &[certificates(), certificates(), certificates()]);
    assert_eq!((of_pairs.data["known_hosts"].as_str(), of_pairs.keys, of_pairs.certificates), ("", 0, 1));
    let certificate = include_str!("../../../../tests/vectors/public/ed25519-by-ed25519.cert");
    let literal = |marker| EntryParameters {
        key_pair: None,
        selector: None,
        public_keys: Some(vec![certificate.trim().to_owned()]),
        ..entry(marker)
    };
    let nothing = || Resolved::default();
    let literals = rendered(vec![literal(None), literal(Some(Marker::Revoked))], false, &[nothing(), nothing()]);
    assert!(literals.data["known_hosts"].starts_with("@revoked a ssh-ed25519-cert-v01@openssh.com AAAA"));
    assert_eq!((literals.keys, literals.certificates), (1, 1));
}

#[test]
fn a_key_is_published_when_all_its_lines_are() {
    let large = "A".repeat(999_990);
    let resolved = [web(), selected(&[pair("shop", "large", &[(1, &large)])]), web()];
    let rendered = rendered(vec![hosts(&["a"]), hosts(&["b"]), hosts(&["c"])], false, &resolved);
    assert!(rendered.is_too_large);
    assert_eq!((rendered.keys, rendered.key_pairs), (2, 1));
    assert!(!rendered.published.contains("shop", "web", "ssh-ed25519 W1"));
    let both = self::rendered(vec![hosts(&["a"]), hosts(&["c"])], false, &[web(), web()]);
    assert!(both.published.contains("shop", "web", "ssh-ed25519 W2"));
}
