//! `ssh-keygen -F` finds hosts in a `known_hosts` file.

use keypair_operator::domain::publication::{EntryParameters, Marker};
use proptest::{prelude::*, strategy::ValueTree as _};

use crate::{Key, entry, keys::runner, known_hosts, path, run};

/// The numbers of the lines that `ssh-keygen -F` finds, with their markers.
fn find(text: &str, host: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("known_hosts");
    std::fs::write(&file, text).unwrap();
    // It fails if it finds nothing.
    let printed = run("ssh-keygen", &["-F", host, "-f", &path(&file)]).unwrap_or_default();
    let found = printed.lines().filter_map(|line| line.strip_prefix(&format!("# Host {host} found: line ")));
    found.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn hosts_are_found_as_the_spec_says() {
    let key = Key::new();
    for (hosts, found, not_found) in [
        (
            &["db.example.com"] as &[&str],
            &["db.example.com"] as &[&str],
            &["example.com", "xdb.example.com", "[db.example.com]:2222"] as &[&str],
        ),
        (&["DB.Example.COM"], &["db.example.com"], &["db"]),
        (&["[db.example.com]:2222"], &["[db.example.com]:2222"], &["db.example.com", "[db.example.com]:2223"]),
        (&["10.0.0.1", "2001:DB8::1", "fe80::1%eth0"], &["10.0.0.1", "2001:db8::1", "fe80::1%eth0"], &["10.0.0.2"]),
        (&["[2001:db8::1]:2222"], &["[2001:db8::1]:2222"], &["2001:db8::1"]),
    ] {
        for hash_hosts in [false, true] {
            let text = known_hosts(vec![(entry(hosts), vec![&key])], hash_hosts);
            assert_eq!(text.contains("|1|"), hash_hosts);
            for host in found {
                assert_eq!(find(&text, host).len(), 1, "{host} {text}");
            }
            for host in not_found {
                assert_eq!(find(&text, host), Vec::<String>::new(), "{host} {text}");
            }
        }
    }
    for (hosts, found, not_found) in [
        (
            &["*.example.com", "!bad.example.com"] as &[&str],
            &["a.example.com", "a.b.example.com"] as &[&str],
            &["bad.example.com", "example.com"] as &[&str],
        ),
        (&["!bad.example.com", "*"], &["a", "[a]:2222"], &["bad.example.com"]),
        (&["host?"], &["host1"], &["host", "host12"]),
        (&["[*.example.com]:2222"], &["[a.example.com]:2222"], &["a.example.com", "[a.example.com]:22"]),
        (&["[a]:*"], &["[a]:2222", "[a]:1"], &["a"]),
        (&["2001:db8:*"], &["2001:db8::1"], &["2001:db9::1"]),
    ] {
        let text = known_hosts(vec![(entry(hosts), vec![&key])], false);
        for host in found {
            assert_eq!(find(&text, host).len(), 1, "{host} {text}");
        }
        for host in not_found {
            assert_eq!(find(&text, host), Vec::<String>::new(), "{host} {text}");
        }
    }
}

#[test]
fn markers_are_read() {
    let key = Key::new();
    let marked = |marker| EntryParameters { marker, ..entry(&["a"]) };
    let entries = [None, Some(Marker::CertAuthority), Some(Marker::Revoked)].map(|marker| (marked(marker), vec![&key]));
    for hash_hosts in [false, true] {
        let text = known_hosts(entries.to_vec(), hash_hosts);
        assert_eq!(find(&text, "a"), ["1 REVOKED", "2", "3 CA"], "{text}");
        assert_eq!(find(&text, "b"), Vec::<String>::new());
    }
}

#[test]
fn a_hash_is_that_of_ssh_keygen() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("known_hosts");
    let key = Key::new();
    let plain = known_hosts(vec![(entry(&["a.example.com", "[b]:2222"]), vec![&key])], false);
    std::fs::write(&file, plain).unwrap();
    run("ssh-keygen", &["-q", "-H", "-f", &path(&file)]).unwrap();
    // One line for each host, as ours.
    let theirs = std::fs::read_to_string(&file).unwrap();
    let ours = known_hosts(vec![(entry(&["a.example.com", "[b]:2222"]), vec![&key])], true);
    let form = |text: &str| -> Vec<(usize, String)> {
        text.lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(hash, rest)| (hash.len(), rest.to_owned()))
            .collect()
    };
    assert_eq!(form(&ours), form(&theirs));
}

/// A port of `match_pattern`.
fn matches(name: &[u8], pattern: &[u8]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => (0..=name.len()).any(|skipped| matches(&name[skipped..], &pattern[1..])),
        (Some(b'?'), Some(_)) => matches(&name[1..], &pattern[1..]),
        (Some(expected), Some(found)) if expected == found => matches(&name[1..], &pattern[1..]),
        _ => false,
    }
}

#[test]
fn random_patterns_are_read_as_written() {
    let mut runner = runner();
    let key = Key::new();
    let patterns = proptest::collection::vec("!?([abA*?.-]{1,4}|\\[[abA*?]{1,3}\\]:(2222|\\*))", 1..5);
    let name = "([ab.-]{1,4}|\\[[ab]{1,3}\\]:(2222|2223))";
    let (mut files, mut found) = (0, 0);
    while files < 60 {
        let mut patterns = patterns.new_tree(&mut runner).unwrap().current();
        patterns.push("[ab]:1".to_owned());
        let hosts: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let text = known_hosts(vec![(entry(&hosts), vec![&key])], false);
        files += 1;
        for _ in 0..5 {
            let name = name.new_tree(&mut runner).unwrap().current();
            // `ssh-keygen` would take it for an option.
            if name.starts_with('-') {
                continue;
            }
            let lower: Vec<String> = patterns.iter().map(|pattern| pattern.to_lowercase()).collect();
            let selects = |pattern: &str| matches(name.as_bytes(), pattern.as_bytes());
            let is_excluded = lower.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(selects);
            let is_included = lower.iter().filter(|pattern| !pattern.starts_with('!')).any(|pattern| selects(pattern));
            assert_eq!(!find(&text, &name).is_empty(), is_included && !is_excluded, "{name} {text}");
            found += usize::from(is_included && !is_excluded);
        }
    }
    assert!(found > 20, "{found} of 300");
}
