//! Reads lines as OpenSSH does: a port of `auth_check_authkey_line`, `sshauthopt_parse` and `opt_dequote`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What sshd makes of options.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    flags: Vec<String>,
    values: BTreeMap<String, Vec<String>>,
}

/// The text in quotes at the beginning, and the rest (`opt_dequote`).
fn dequote(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut value = String::new();
    loop {
        if let Some(rest) = rest.strip_prefix('"') {
            return Some((value, rest));
        }
        rest = if rest.starts_with("\\\"") { &rest[1..] } else { rest };
        let c = rest.chars().next()?;
        value.push(c);
        rest = &rest[c.len_utf8()..];
    }
}

/// The options before a key, the key and the comment; `None` if sshd ignores the line.
fn parse(line: &str) -> Option<(Parsed, String, String)> {
    let mut parsed = Parsed::default();
    // `sshkey_advance_past_options`
    let (mut is_quoted, mut end) = (false, 0);
    let bytes = line.as_bytes();
    while end < bytes.len() && (is_quoted || !matches!(bytes[end], b' ' | b'\t')) {
        if bytes[end] == b'\\' && bytes.get(end + 1) == Some(&b'"') {
            end += 1;
        } else if bytes[end] == b'"' {
            is_quoted = !is_quoted;
        }
        end += 1;
    }
    let (mut options, mut rest) = (&line[..end], line[end..].trim_start_matches([' ', '\t']));
    if options.starts_with("ssh-") {
        (options, rest) = ("", line);
    }
    while !options.is_empty() {
        let end = options.find([',', '=']).unwrap_or(options.len());
        let name = &options[..end];
        options = &options[end..];
        if let Some(quoted) = options.strip_prefix('=') {
            let (value, after) = dequote(quoted)?;
            parsed.values.entry(name.to_owned()).or_default().push(value);
            options = after;
        } else {
            parsed.flags.push(name.to_owned());
        }
        if !options.is_empty() {
            options = options.strip_prefix(',').filter(|rest| !rest.is_empty())?;
        }
    }
    let words: Vec<&str> = rest.splitn(3, ' ').collect();
    Some((parsed, format!("{} {}", words[0], words[1]), words.get(2).unwrap_or(&"").to_string()))
}

/// What sshd should make of `options`.
fn expected(options: &KeyOptions) -> Parsed {
    let mut parsed = Parsed::default();
    let mut permission = |permission: Option<bool>, name: &str| match permission {
        Some(true) => parsed.flags.push(name.to_owned()),
        Some(false) => parsed.flags.push(format!("no-{name}")),
        None => {}
    };
    let yes = |flag: Option<bool>| flag.filter(|is_set| *is_set);
    permission(yes(options.cert_authority), "cert-authority");
    permission(yes(options.restrict), "restrict");
    permission(options.agent_forwarding, "agent-forwarding");
    permission(options.port_forwarding, "port-forwarding");
    permission(options.pty, "pty");
    permission(options.user_rc, "user-rc");
    permission(options.x11_forwarding, "x11-forwarding");
    permission(yes(options.no_touch_required), "no-touch-required");
    permission(yes(options.verify_required), "verify-required");
    let mut value = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            parsed.values.insert(name.to_owned(), values);
        }
    };
    let joined = |list: &Vec<String>| if list.is_empty() { Vec::new() } else { vec![list.join(",")] };
    value("principals", joined(&options.principals));
    value("from", joined(&options.from));
    value("permitopen", options.permit_open.clone());
    value("permitlisten", options.permit_listen.clone());
    value("tunnel", options.tunnel.iter().cloned().collect());
    value("command", options.command.iter().cloned().collect());
    value("environment", options.environment.iter().map(|(name, value)| format!("{name}={value}")).collect());
    value("expiry-time", options.expiry_time.iter().map(|_| "20270101000000Z".to_owned()).collect());
    parsed
}

/// Texts, many of which are nearly valid.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just(",".to_owned()),
        Just(" ".to_owned()),
        Just("\n".to_owned()),
        Just("=".to_owned()),
        Just(format!(" {ED25519} x\n")),
        "[a-z0-9.:*?!/@#|-]{1,4}",
        "\\PC",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn element(valid: &'static str) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(prop_oneof![8 => valid.prop_map(String::from), 1 => text()], 0..3)
}

prop_compose! {
    fn options()(
        flags in proptest::array::uniform9(proptest::option::of(any::<bool>())),
        from in element("[a-z*?]{1,5}(\\.[a-z]{1,3})?"),
        command in proptest::option::of(text()),
        environment in proptest::collection::btree_map(prop_oneof![8 => "[A-Z_]{1,4}".prop_map(String::from), 1 => text()], text(), 0..3),
        is_expiring in any::<bool>(),
        principals in element("[a-z@.]{1,6}"),
        permit_open in element("[a-z]{1,4}:[1-9]{1,4}"),
        permit_listen in element("([a-z]{1,4}:)?[1-9]{1,4}"),
        tunnel in proptest::option::of("[1-9]{1,3}"),
    ) -> KeyOptions {
        let [restrict, agent_forwarding, port_forwarding, pty, user_rc, x11_forwarding, no_touch_required, verify_required, cert_authority] = flags;
        KeyOptions {
            restrict, from, command, environment, principals, permit_open, permit_listen, tunnel, agent_forwarding, port_forwarding, pty,
            user_rc, x11_forwarding, no_touch_required, verify_required, cert_authority,
            expiry_time: is_expiring.then(|| "2027-01-01T00:00:00Z".to_owned()),
        }
    }
}

proptest! {
    /// Whatever an option says, the entry is refused, or sshd reads exactly that.
    #[test]
    fn sshd_reads_the_options_of_the_spec(options in options()) {
        let publication = checked(PublicationKind::AuthorizedKeys, login(options.clone()));
        let rendered = render(&publication, UID, &[selected(&[pair("shop", "web", &[(1, "AAAA")])])]);
        let text = &rendered.data["authorized_keys"];
        if publication.mistakes.is_empty() {
            prop_assert!(text.ends_with('\n') && text.lines().count() == 1 && !text.trim_end().contains(char::is_control), "{:?}", text);
            let (parsed, key, comment) = parse(text.trim_end()).expect("sshd should accept the line");
            prop_assert_eq!(parsed, expected(&options));
            prop_assert_eq!((key.as_str(), comment.as_str()), ("ssh-ed25519 AAAA", "shop/web"));
        } else {
            prop_assert_eq!(text.as_str(), "");
        }
    }

    /// Whatever a host says, the entry is refused, or the line has exactly these hosts. Of an entry that revokes, no other hosts are left.
    #[test]
    fn ssh_reads_the_hosts_of_the_spec(names in element("(!?[a-zA-Z*?]{1,5}(\\.[a-z]{1,3})?|\\[[a-z]{1,3}\\]:[1-9]{1,4})"), is_revoked in any::<bool>(), hash_hosts in any::<bool>()) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let entry = EntryParameters { marker: is_revoked.then_some(Marker::Revoked), ..hosts(&names) };
        let publication = check(&PublicationParameters { hash_hosts, ..parameters(PublicationKind::KnownHosts, vec![entry]) });
        let rendered = render(&publication, UID, &[selected(&[pair("shop", "web", &[(1, "AAAA")])])]);
        let text = &rendered.data["known_hosts"];
        if publication.mistakes.is_empty() {
            let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
            prop_assert!(text.ends_with('\n'));
            let mut found = Vec::new();
            for words in &lines {
                let words = if is_revoked { words.strip_prefix(&["@revoked"]).expect("the line should have a marker") } else { words };
                prop_assert_eq!(&words[1..], &["ssh-ed25519", "AAAA", "shop/web"]);
                prop_assert_eq!(words[0].starts_with("|1|"), hash_hosts);
                found.extend(words[0].split(','));
            }
            let mut expected: Vec<String> = Vec::new();
            for name in &names {
                let name = name.to_lowercase();
                if !expected.contains(&name) {
                    expected.push(name);
                }
            }
            if hash_hosts {
                prop_assert_eq!(found.len(), expected.len());
            } else {
                prop_assert_eq!(found, expected);
            }
        } else if is_revoked {
            for line in text.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                prop_assert_eq!((words[0], &words[2..]), ("@revoked", &["ssh-ed25519", "AAAA", "shop/web"][..]));
                let is_known = |host: &str| names.iter().any(|name| name.to_lowercase() == host);
                prop_assert!(words[1].starts_with("|1|") || words[1].split(',').all(is_known), "{:?}", text);
            }
        } else {
            prop_assert_eq!(text.as_str(), "");
        }
    }

    /// Nothing makes the checks, the text or the report panic, and a message is short and plain.
    #[test]
    fn any_spec_has_a_report(names in proptest::collection::vec(text(), 0..20), name in text(), namespace in text()) {
        for kind in PublicationKind::ALL {
            let entries = names.iter().map(|text| EntryParameters {
                namespace: Some(text.clone()),
                public_keys: (kind == PublicationKind::KnownHosts).then(|| vec![text.clone()]),
                hosts: vec![text.clone()],
                key_pair: Some(text.clone()),
                ..EntryParameters::default()
            });
            let entries = entries.chain([key_pair(&name)]).collect();
            let parameters = PublicationParameters { namespace: namespace.clone(), name: name.clone(), ..parameters(kind, entries) };
            let publication = check(&parameters);
            let resolved = vec![problem(Problem::NotShared); publication.entries.len()];
            let rendered = render(&publication, UID, &resolved);
            for outcome in [TargetOutcome::Written, TargetOutcome::Conflict, TargetOutcome::Refused(name.repeat(500))] {
                let report = report(&publication, &resolved, &rendered, &outcome);
                prop_assert!(report.message.len() <= bounds::MESSAGE_MAX_BYTES && !report.message.is_empty());
                prop_assert!(!report.message.contains(char::is_control), "{:?}", report.message);
            }
        }
    }
}

#[test]
fn the_parser_reads_what_sshd_documents() {
    let (parsed, key, comment) = parse(r#"restrict,command="say \"hi\" \\"x,pty ssh-rsa AAAA me"#).unwrap_or_default();
    assert_eq!((parsed, key, comment), Default::default(), "an unknown option");
    let (parsed, key, comment) = parse(r#"restrict,command="say \"hi\"",pty ssh-rsa AAAA me too"#).unwrap();
    assert_eq!(parsed.flags, ["restrict", "pty"]);
    assert_eq!(parsed.values["command"], ["say \"hi\""]);
    assert_eq!((&*key, &*comment), ("ssh-rsa AAAA", "me too"));
    assert_eq!(dequote("\"a\\\""), None);
}
