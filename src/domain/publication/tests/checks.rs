use std::collections::BTreeMap;

use super::{super::bounds::*, *};
use crate::domain::region::Region;
use PublicationKind::{AuthorizedKeys, KnownHosts};

#[test]
fn defaults_are_filled_in() {
    let publication = check(&parameters(AuthorizedKeys, vec![key_pair("web")]));
    assert_eq!(publication.mistakes, []);
    let target = publication.target.unwrap();
    assert_eq!((target.kind, &*target.name, &*target.key), (TargetKind::ConfigMap, "servers", "authorized_keys"));
    let source = Source::KeyPair { namespace: "shop".to_owned(), name: "web".to_owned() };
    assert_eq!(publication.entries[0].as_ref().unwrap().source, source);
    let publication = check(&parameters(KnownHosts, vec![hosts(&["a.example.com"])]));
    assert_eq!(publication.mistakes, []);
    assert_eq!(publication.target.unwrap().key, "known_hosts");
}

#[test]
fn an_entry_has_exactly_one_source() {
    let selector = Some(SelectorParameters::default());
    for (kind, entry) in [
        (AuthorizedKeys, EntryParameters::default()),
        (AuthorizedKeys, EntryParameters { selector: selector.clone(), ..key_pair("web") }),
        (KnownHosts, EntryParameters { public_keys: Some(texts(&[ED25519])), ..hosts(&["a"]) }),
        (KnownHosts, EntryParameters { key_pair: None, ..hosts(&["a"]) }),
    ] {
        let publication = checked(kind, entry);
        assert_eq!(fields(&publication), ["entries[0]"]);
        assert!(publication.mistakes[0].detail.contains("exactly one"), "{:?}", publication.mistakes);
        assert_eq!(publication.entries, [None]);
    }
    let publication = checked(AuthorizedKeys, EntryParameters { selector, ..EntryParameters::default() });
    assert!(publication.mistakes.is_empty() && publication.entries[0].is_some());
}

#[test]
fn what_is_right_is_kept() {
    let mut parameters = parameters(AuthorizedKeys, vec![key_pair("web"), key_pair("Web"), key_pair("db")]);
    parameters.target.config_map = Some((Some("UPPER".to_owned()), None));
    let publication = check(&parameters);
    assert_eq!(fields(&publication), ["entries[1].keyPair", "target.configMap.name"]);
    assert_eq!(publication.entries.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(publication.target, None);
}

#[test]
fn names_are_those_of_kubernetes() {
    let entry = EntryParameters { namespace: Some("a.b".to_owned()), ..key_pair("a_b") };
    assert_eq!(fields(&checked(AuthorizedKeys, entry)), ["entries[0].namespace", "entries[0].keyPair"]);
    for (target, invalid) in [
        (TargetParameters { config_map: Some((None, None)), secret: Some((None, None)) }, &["target"] as &[&str]),
        (
            TargetParameters { secret: Some((Some("a/b".to_owned()), Some("..a".to_owned()))), ..Default::default() },
            &["target.secret.name", "target.secret.key"],
        ),
        (
            TargetParameters { secret: Some((Some("sh.helm.release.v1.a".to_owned()), None)), ..Default::default() },
            &["target.secret.name"],
        ),
        (
            TargetParameters { config_map: Some((Some("kube-root-ca.crt".to_owned()), None)), ..Default::default() },
            &["target.configMap.name"],
        ),
        (TargetParameters { secret: Some((Some("a".to_owned()), Some("id".to_owned()))), ..Default::default() }, &[]),
    ] {
        let publication = check(&PublicationParameters { target, ..parameters(AuthorizedKeys, Vec::new()) });
        assert_eq!(fields(&publication), invalid);
        assert_eq!(publication.target.is_some(), invalid.is_empty());
    }
}

#[test]
fn names_of_the_operator_are_reserved_in_its_namespace() {
    let named = |name: &str| {
        let mut parameters = parameters(AuthorizedKeys, vec![key_pair("web")]);
        parameters.target.secret = Some((Some(name.to_owned()), None));
        parameters
    };
    let mut region = Region::with_quota(1);
    assert_eq!(check_in(Some(&region), &named("operator-webhook")), check(&named("operator-webhook")));
    region.own_prefix = "operator".to_owned();
    for name in ["operator", "operator-webhook"] {
        let publication = check_in(Some(&region), &named(name));
        assert_eq!(fields(&publication), ["target.secret.name"]);
        assert!(publication.target.is_none() && publication.entries[0].is_some());
    }
    assert_eq!(check_in(Some(&region), &named("operators")).mistakes, []);
    let default = PublicationParameters { name: "operator-keys".to_owned(), ..parameters(AuthorizedKeys, Vec::new()) };
    assert_eq!(fields(&check_in(Some(&region), &default)), ["target.configMap.name"]);
}

#[test]
fn lists_are_bounded() {
    let many = check(&parameters(AuthorizedKeys, vec![key_pair("web"); MAX_ENTRIES + 1]));
    assert_eq!((fields(&many), many.entries.len()), (vec!["entries"], MAX_ENTRIES));
    let full = check(&parameters(AuthorizedKeys, vec![key_pair("web"); MAX_ENTRIES]));
    assert_eq!(full.mistakes, []);

    let list = |length: usize| -> Vec<String> { (0..length).map(|n| format!("h{n}")).collect() };
    let ports = |length: usize| -> Vec<String> { (0..length).map(|n| format!("h:{}", n + 1)).collect() };
    let map = |length| list(length).into_iter().map(|name| (name, String::new())).collect::<BTreeMap<_, _>>();
    let options = |length| KeyOptions {
        from: list(length),
        principals: list(length),
        cert_authority: Some(true),
        permit_open: ports(length),
        permit_listen: ports(length),
        environment: map(length),
        ..KeyOptions::default()
    };
    assert_eq!(checked(AuthorizedKeys, login(options(MAX_ELEMENTS))).mistakes, []);
    let found = checked(AuthorizedKeys, login(options(MAX_ELEMENTS + 1)));
    let lists = ["from", "principals", "permitOpen", "permitListen", "environment"];
    assert_eq!(fields(&found), lists.map(|list| format!("entries[0].options.{list}")));

    let entry = |hosts, keys| EntryParameters {
        hosts: list(hosts),
        public_keys: Some(vec![ED25519.to_owned(); keys]),
        ..EntryParameters::default()
    };
    assert_eq!(checked(KnownHosts, entry(MAX_HOSTS, MAX_PUBLIC_KEYS)).mistakes, []);
    let found = checked(KnownHosts, entry(MAX_HOSTS + 1, MAX_PUBLIC_KEYS + 1));
    assert_eq!(fields(&found), ["entries[0].publicKeys", "entries[0].hosts"]);
}

/// Which values of an option are valid.
fn option(set: impl Fn(&mut KeyOptions, String), valid: &[&str], invalid: &[&str]) {
    for (values, is_valid) in [(valid, true), (invalid, false)] {
        for value in values {
            let mut options = KeyOptions { cert_authority: Some(true), ..KeyOptions::default() };
            set(&mut options, (*value).to_owned());
            let publication = checked(AuthorizedKeys, login(options));
            assert_eq!(publication.mistakes.is_empty(), is_valid, "{value:?}: {:?}", publication.mistakes);
            assert_eq!(publication.entries[0].is_some(), is_valid);
        }
    }
}

#[test]
fn from_has_addresses_networks_and_patterns() {
    option(
        |options, value| options.from = vec!["*".to_owned(), value],
        &[
            "10.0.0.1",
            "::1",
            "2001:DB8::1",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "10.0.0.1/32",
            "::/0",
            "2001:db8::/32",
            "::1/128",
            "*.example.com",
            "!bad.example.com",
            "10.0.?.*",
            "!10.0.0.0/8",
            "fe80:*",
            "host_1",
            "a-b.example.com",
        ],
        &[
            "",
            "!",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/a",
            "10.*/8",
            "10.1",
            "010.0.0.1",
            "0x7f.1",
            "0x7f000001",
            "1",
            "256.0.0.1",
            "host:22",
            "1:2",
            "::1::",
            "a,b",
            "a b",
            "a\"b",
            "a\nb",
            "!!a",
            "é",
            "a/24",
        ],
    );
    option(|options, value| options.from = vec![value], &["a"], &["!a"]);
}

#[test]
fn texts_can_be_quoted() {
    let quotable = ["a", "a b", "say \"hi\"", r#"\"x"#, r"a\b", "密钥 é ❤️", "a # b", "a,b=c", "'", r#"a\\"b"#];
    let not_quotable =
        ["a\\", "a\nb", "a\0b", "a\rb", "a\tb", "\u{7f}", "a\u{202e}b", "a\u{2028}b", "\u{1b}[2J", "a\u{85}b", "\"\\"];
    option(|options, value| options.command = Some(value), &quotable, &not_quotable);
    option(|options, value| options.command = Some(value), &[], &[""]);
    let environment = |options: &mut KeyOptions, value| drop(options.environment.insert("A".to_owned(), value));
    option(environment, &quotable, &not_quotable);
    option(environment, &["", "="], &[]);
    option(|options, value| options.command = Some(value), &[&"a".repeat(4096)], &[&"a".repeat(4097)]);
    let name = |options: &mut KeyOptions, name| drop(options.environment.insert(name, "x".to_owned()));
    option(name, &["A", "_a1", "PATH"], &["", "1A", "A-B", "A B", "A=B", "A\"", "é", "A\n"]);
}

#[test]
fn ports_and_devices_are_numbers() {
    let open = |options: &mut KeyOptions, value| options.permit_open = vec![value];
    let listen = |options: &mut KeyOptions, value| options.permit_listen = vec![value];
    let both = ["h:1", "h:65535", "*:*", "*:80", "10.0.0.1:80", "[::1]:80", "db.example.com:*"];
    let neither = [
        "", ":80", "h:0", "h:65536", "h:080", "h:", "h:80:80", "::1:80", "[::1]80", "[h]:80", "h/80", "h:http",
        "h:80,x:1", "h:80\"", "*",
    ];
    option(open, &both, &neither[..neither.len() - 1]);
    option(open, &[], &["80", "*", "*.example.com:80"]);
    option(listen, &both, &neither[..neither.len() - 1]);
    option(listen, &["80", "*", "*.example.com:80", "[fe80:*]:80"], &["0", "65536"]);
    option(
        |options, value| options.tunnel = Some(value),
        &["0", "7", "999999999"],
        &["", "any", "01", "-1", "1:2", "1000000000"],
    );
}

#[test]
fn an_expiry_time_is_a_time_of_rfc_3339() {
    option(
        |options, value| options.expiry_time = Some(value),
        &["2027-01-01T00:00:00Z", "2028-02-29T23:59:59+02:00", "1970-01-01T00:00:01Z", "9999-12-31T23:59:59Z"],
        &[
            "",
            "2027-01-01",
            "2027-01-01T00:00:00",
            "2027-02-29T00:00:00Z",
            "2027-01-01T24:00:00Z",
            "2027-01-01T00:00:60Z",
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:01+01:00",
            "2027-01-01t00:00:00z",
            "2027-01-01T00:00:00.5Z",
            "1969-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "2027-01-01T00:00:00Z\n",
            "always",
        ],
    );
}

#[test]
fn principals_are_those_of_a_certificate_authority() {
    option(
        |options, value| options.principals = vec![value],
        &["root", "me@example.com", "a:b/c"],
        &["", "a,b", "a b", "a\"", "a\\", "*", "a?", "é", "a\n"],
    );
    for cert_authority in [None, Some(false)] {
        let options = KeyOptions { principals: texts(&["root"]), cert_authority, ..KeyOptions::default() };
        assert_eq!(fields(&checked(AuthorizedKeys, login(options))), ["entries[0].options.principals"]);
    }
}

#[test]
fn hosts_are_what_ssh_looks_up() {
    let is_valid = |hosts_of: &[&str], hash_hosts| {
        let publication = check(&PublicationParameters { hash_hosts, ..parameters(KnownHosts, vec![hosts(hosts_of)]) });
        publication.mistakes.is_empty()
    };
    for host in [
        "a",
        "a.example.com",
        "A.Example.com",
        "10.0.0.1",
        "2001:db8::1",
        "2001:DB8::1",
        "::1",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
        "[a]:2222",
        "[10.0.0.1]:1",
        "[2001:db8::1]:65535",
        "under_score",
        "-",
    ] {
        assert!(is_valid(&[host], false) && is_valid(&[host], true), "{host}");
    }
    for host in ["*", "*.example.com", "host?", "2001:db8:*", "[*]:2222", "[a]:*", "10.0.*"] {
        assert!(is_valid(&[host], false) && !is_valid(&[host], true), "{host}");
    }
    assert!(is_valid(&["*.example.com", "!bad.example.com"], false) && !is_valid(&["a", "!b"], true));
    for host in [
        "",
        "!a",
        "!",
        "!!a",
        "a b",
        "a,b",
        "a\tb",
        "a\nb",
        "a#b",
        "#a",
        "@a",
        "|1|a|b",
        "a|b",
        "a:22",
        "cafe:22",
        "[a]",
        "[a]:",
        "[a]:22",
        "[a]:0",
        "[a]:65536",
        "[a]:022",
        "[a]:2222 b",
        "[[a]]:1",
        "[]:1",
        "a]:1",
        "é",
        "10.1",
        "010.0.0.1",
        "0x7f000001",
        "1",
        "2001:db8:0::1",
        "2001:0db8::1",
        "::1::",
        "a\u{a0}b",
        "\"a\"",
        "a\\b",
        "a%b",
        "@revoked",
    ] {
        assert!(!is_valid(&[host], false), "{host:?}");
        // Beside a valid one, too.
        assert!(!is_valid(&["a", host], false) || host == "!a", "{host:?}");
    }
    assert!(!is_valid(&[], false));
    assert!(!is_valid(&["!a", "!b"], false));
}

#[test]
fn literal_keys_are_parsed_and_never_quoted() {
    let entry = |keys: &[&str]| EntryParameters {
        hosts: texts(&["a"]),
        public_keys: Some(texts(keys)),
        ..EntryParameters::default()
    };
    let publication = checked(KnownHosts, entry(&[ED25519, &format!("  {ED25519} comment \n")]));
    assert_eq!(publication.mistakes, []);
    let private =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH PRIVATE KEY-----\n";
    let long = format!("{ED25519} {}", "x".repeat(4096));
    let keys =
        ["", "ssh-ed25519", private, &format!("{ED25519}\n{ED25519}"), &format!("a.example.com {ED25519}"), &long];
    let publication = checked(KnownHosts, entry(&keys));
    let expected: Vec<String> = (0..keys.len()).map(|index| format!("entries[0].publicKeys[{index}]")).collect();
    assert_eq!(fields(&publication), expected);
    assert!(!format!("{publication:?}").contains("b3Blbn"));
    assert_eq!(fields(&checked(KnownHosts, entry(&[]))), ["entries[0].publicKeys"]);
}

#[test]
fn selectors_follow_the_rules_of_kubernetes() {
    let expression = |key: &str, operator: &str, values: &[&str]| SelectorParameters {
        match_expressions: vec![(key.to_owned(), operator.to_owned(), texts(values))],
        ..SelectorParameters::default()
    };
    let label = |key: &str, value: &str| SelectorParameters {
        match_labels: [(key.to_owned(), value.to_owned())].into(),
        ..SelectorParameters::default()
    };
    let labels: BTreeMap<String, String> =
        [("tier", "gold"), ("example.com/a", "")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    for (selector, selects) in [
        (SelectorParameters::default(), true),
        (label("tier", "gold"), true),
        (label("tier", "silver"), false),
        (label("example.com/a", ""), true),
        (label("zone", ""), false),
        (expression("tier", "In", &["gold", "silver"]), true),
        (expression("tier", "In", &["silver"]), false),
        (expression("zone", "In", &["a"]), false),
        (expression("tier", "NotIn", &["gold"]), false),
        (expression("zone", "NotIn", &["a"]), true),
        (expression("tier", "Exists", &[]), true),
        (expression("zone", "Exists", &[]), false),
        (expression("tier", "DoesNotExist", &[]), false),
        (expression("zone", "DoesNotExist", &[]), true),
        (
            SelectorParameters {
                match_labels: label("tier", "gold").match_labels,
                ..expression("zone", "Exists", &[])
            },
            false,
        ),
    ] {
        assert_eq!(LabelSelector::from_parameters(&selector).unwrap().selects(&labels), selects, "{selector:?}");
    }
    let many = SelectorParameters {
        match_labels: (0..17).map(|n| (format!("k{n}"), String::new())).collect(),
        match_expressions: vec![("a".to_owned(), "Exists".to_owned(), Vec::new()); 17],
    };
    for (selector, field) in [
        (label("a b", ""), "matchLabels"),
        (label("a", "b c"), "matchLabels"),
        (expression("", "Exists", &[]), "matchExpressions[0].key"),
        (expression("a", "in", &["b"]), "matchExpressions[0].operator"),
        (expression("a", "Gt", &["1"]), "matchExpressions[0].operator"),
        (expression("a", "In", &[]), "matchExpressions[0].values"),
        (expression("a", "NotIn", &[]), "matchExpressions[0].values"),
        (expression("a", "Exists", &["b"]), "matchExpressions[0].values"),
        (expression("a", "In", &["b", "-"]), "matchExpressions[0].values[1]"),
        (expression("a", "In", &["b"; 17]), "matchExpressions[0].values"),
    ] {
        let entry = EntryParameters { selector: Some(selector), ..EntryParameters::default() };
        assert_eq!(fields(&checked(AuthorizedKeys, entry)), [format!("entries[0].selector.{field}")]);
    }
    assert_eq!(LabelSelector::from_parameters(&many).unwrap_err().len(), 2);
}
