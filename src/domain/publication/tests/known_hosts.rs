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
    let entries = vec![hosts(&["a"]), hosts(&["A"]), hosts(&["b"]), revoked(hosts(&["a"]))];
    let one = |name| selected(&[pair("shop", name, &[(1, "K")])]);
    let rendered = rendered(entries, false, &[one("x"), one("y"), one("x"), one("x")]);
    let lines = "@revoked a ssh-ed25519 K shop/x\na ssh-ed25519 K shop/x\nb ssh-ed25519 K shop/x\n";
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
fn a_revoked_certificate_stays_if_it_is_literal() {
    let of_pair = |marker| EntryParameters { marker, ..hosts(&["a"]) };
    let certificate_line = include_str!("../../../../tests/vectors/public/ed25519-by-ecdsa256.cert").trim_end();
    let literal =
        |marker| EntryParameters { key_pair: None, public_keys: Some(texts(&[certificate_line])), ..of_pair(marker) };
    let markers = [None, Some(Marker::CertAuthority), Some(Marker::Revoked)];
    let entries = markers.into_iter().flat_map(|marker| [of_pair(marker), literal(marker)]).collect();
    let certificates = || selected(&[certificate("shop", "c")]);
    let none = Resolved::default;
    let resolved = [certificates(), none(), certificates(), none(), certificates(), none()];
    let rendered = rendered(entries, false, &resolved);
    let words: Vec<&str> = certificate_line.split(' ').take(2).collect();
    assert_eq!(rendered.data["known_hosts"], format!("@revoked a {} shop/servers\n", words.join(" ")));
    assert_eq!((rendered.keys, rendered.certificates), (1, 2));
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

fn revoked(entry: EntryParameters) -> EntryParameters {
    EntryParameters { marker: Some(Marker::Revoked), ..entry }
}

#[test]
fn revoked_keys_come_first_and_always_have_room() {
    let large: Vec<_> = (0..300).map(|n| pair("shop", &format!("p{n}"), &[(1, &format!("{n:A>4000}"))])).collect();
    let ca = |entry| EntryParameters { marker: Some(Marker::CertAuthority), ..entry };
    let entries = vec![hosts(&["a"]), revoked(hosts(&["b"])), ca(hosts(&["c"])), revoked(hosts(&["d"]))];
    let rendered = rendered(entries, false, &[selected(&large), web(), web(), web()]);
    assert!(rendered.is_too_large);
    let markers = |prefix: &str| rendered.data["known_hosts"].lines().filter(|line| line.starts_with(prefix)).count();
    assert_eq!((markers("@revoked "), markers("@cert-authority ")), (4, 0));
    let firsts: Vec<_> = rendered.data["known_hosts"].lines().take(5).map(|line| &line[..line.len().min(12)]).collect();
    assert_eq!(firsts, ["@revoked b s", "@revoked b s", "@revoked d s", "@revoked d s", "a ssh-ed2551"]);
}

#[test]
fn what_is_valid_is_revoked_whatever_is_wrong_with_the_rest() {
    let keys = |keys: &[&str]| EntryParameters { key_pair: None, public_keys: Some(texts(keys)), ..hosts(&["a"]) };
    let line = format!("@revoked a {ED25519} shop/servers\n");
    let web_lines = |hosts: &str| format!("@revoked {hosts} ssh-ed25519 W shop/web\n");
    let namespaced = |entry| EntryParameters { namespace: Some("shop".to_owned()), ..entry };
    let web = selected(&[pair("shop", "web", &[(1, "W")])]);
    for (entry, resolved, text) in [
        (keys(&[ED25519, "ssh-ed25519 typo"]), Resolved::default(), line.clone()),
        (keys(&["", ED25519]), Resolved::default(), line.clone()),
        (namespaced(keys(&[ED25519])), Resolved::default(), line),
        (keys(&["ssh-ed25519 typo"]), Resolved::default(), String::new()),
        (hosts(&["a", "[a]:22", "b b", "*.c"]), web.clone(), web_lines("a,*.c")),
        // Without the invalid exclusion, more is revoked; and exclusions alone match nothing.
        (hosts(&["*", "![a]:22"]), web.clone(), web_lines("*")),
        (hosts(&["[a]:22", "!b"]), web, String::new()),
    ] {
        for marker in [None, Some(Marker::CertAuthority), Some(Marker::Revoked)] {
            let publication = checked(KnownHosts, EntryParameters { marker, ..entry.clone() });
            assert_ne!(publication.mistakes, []);
            let rendered = render(&publication, UID, std::slice::from_ref(&resolved));
            let text = if marker == Some(Marker::Revoked) { text.as_str() } else { "" };
            assert_eq!(rendered.data["known_hosts"], text, "{entry:?}");
        }
    }
}

#[test]
fn what_cannot_be_hashed_is_still_revoked() {
    let entry = revoked(hosts(&["a.example.com", "*.b", "!x.b"]));
    let publication = check(&PublicationParameters { hash_hosts: true, ..parameters(KnownHosts, vec![entry]) });
    assert_eq!(fields(&publication), ["entries[0].hosts[1]", "entries[0].hosts[2]"]);
    let rendered = render(&publication, UID, &[selected(&[pair("shop", "web", &[(1, "W")])])]);
    let lines: Vec<&str> = rendered.data["known_hosts"].lines().collect();
    assert_eq!((lines.len(), lines[1]), (2, "@revoked *.b,!x.b ssh-ed25519 W shop/web"));
    assert!(lines[0].starts_with("@revoked |1|"), "{lines:?}");
}

/// Ten million lines, of which some thousand have room.
#[test]
fn what_has_no_room_costs_little() {
    let names: Vec<String> = (0..16).map(|n| format!("host{n}.example.com")).collect();
    let entry = EntryParameters { hosts: names, ..key_pair("a") };
    let pairs: Vec<_> = (0..10_000).map(|n| pair("shop", &format!("p{n}"), &[(1, &format!("{n:A>68}"))])).collect();
    let entries = bounds::MAX_ENTRIES;
    let rendered = rendered(vec![entry; entries], true, &vec![selected(&pairs); entries]);
    assert!(rendered.is_too_large && rendered.keys < 1000);
    assert!(rendered.published.contains("shop", "p0", &format!("ssh-ed25519 {:A>68}", 0)));
    assert!(!rendered.published.contains("shop", "p9999", &format!("ssh-ed25519 {:A>68}", 9999)));
}
