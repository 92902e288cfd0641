use super::{
    super::bounds::{MAX_ENTRIES, TARGET_MAX_BYTES},
    *,
};
use PublicationKind::AuthorizedKeys;

fn rendered(entries: Vec<EntryParameters>, layout: Layout, resolved: &[Resolved]) -> Rendered {
    let publication = check(&PublicationParameters { layout, ..parameters(AuthorizedKeys, entries) });
    assert_eq!(publication.mistakes, []);
    render(&publication, UID, resolved)
}

fn text(entries: Vec<EntryParameters>, resolved: &[Resolved]) -> String {
    let mut rendered = rendered(entries, Layout::File, resolved);
    let text = rendered.data.remove("authorized_keys").unwrap();
    assert!(rendered.data.is_empty());
    text
}

#[test]
fn lines_are_in_the_order_of_entries_names_and_revisions() {
    let entries =
        vec![key_pair("z"), EntryParameters { selector: Some(SelectorParameters::default()), ..Default::default() }];
    let several = pair("shop", "b", &[(1, "B1"), (2, "B2")]);
    let resolved =
        [selected(&[pair("shop", "z", &[(1, "Z1")])]), selected(&[several, pair("shop", "a", &[(3, "A3")])])];
    assert_eq!(
        text(entries, &resolved),
        "ssh-ed25519 Z1 shop/z\nssh-ed25519 A3 shop/a\nssh-ed25519 B1 shop/b#1\nssh-ed25519 B2 shop/b#2\n"
    );
}

#[test]
fn a_key_has_one_line_with_the_options_of_its_first_place() {
    let first = login(KeyOptions { restrict: Some(true), ..KeyOptions::default() });
    let resolved = [
        selected(&[pair("shop", "b", &[(1, "SAME")]), pair("shop", "c", &[(1, "SAME")])]),
        selected(&[pair("shop", "a", &[(1, "SAME")]), pair("shop", "d", &[(1, "D")])]),
    ];
    let rendered = rendered(vec![first, key_pair("a")], Layout::File, &resolved);
    assert_eq!(rendered.data["authorized_keys"], "restrict ssh-ed25519 SAME shop/b\nssh-ed25519 D shop/d\n");
    assert_eq!((rendered.keys, rendered.key_pairs), (2, 4));
    for (name, line) in [("a", "SAME"), ("b", "SAME"), ("c", "SAME"), ("d", "D")] {
        assert!(rendered.published.contains("shop", name, &format!("ssh-ed25519 {line}")), "{name}");
    }
    assert!(!rendered.published.contains("shop", "e", "ssh-ed25519 SAME"));
}

#[test]
fn a_certificate_authority_is_not_the_key_itself() {
    let authority = || login(KeyOptions { cert_authority: Some(true), ..KeyOptions::default() });
    let same = || selected(&[pair("shop", "a", &[(1, "SAME")])]);
    let entries = [authority(), key_pair("a"), authority(), key_pair("a")];
    let lines = ["cert-authority ssh-ed25519 SAME shop/a\n", "ssh-ed25519 SAME shop/a\n"];
    let all = [same(), same(), same(), same()];
    assert_eq!(text(entries.to_vec(), &all), lines.concat());
    assert_eq!(text(entries[1..].to_vec(), &all[1..]), [lines[1], lines[0]].concat());
    // Another pair has the data key that the name and revision of the first one make.
    let taken = selected(&[pair("shop", "a.1", &[(1, "X")])]);
    let several = || selected(&[pair("shop", "a", &[(1, "SAME"), (2, "B")])]);
    let entries = vec![key_pair("a.1"), authority(), key_pair("a")];
    let rendered = rendered(entries, Layout::EntryPerKey, &[taken, several(), several()]);
    assert_eq!((rendered.data.len(), rendered.keys, rendered.key_pairs), (5, 3, 2));
    assert!(rendered.data.values().all(|line| line.lines().count() == 1), "{:?}", rendered.data);
}

#[test]
fn options_have_a_fixed_order() {
    let options = KeyOptions {
        restrict: Some(true),
        from: texts(&["10.0.0.0/8", "!10.0.0.1"]),
        command: Some("echo \"a\"".to_owned()),
        environment: [("B", "2 \"x\""), ("A", "1")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        expiry_time: Some("2027-01-01T01:00:00+01:00".to_owned()),
        principals: texts(&["a", "b"]),
        cert_authority: Some(true),
        permit_open: texts(&["db:5432", "[::1]:80"]),
        permit_listen: texts(&["8080"]),
        tunnel: Some("3".to_owned()),
        agent_forwarding: Some(true),
        port_forwarding: Some(false),
        pty: Some(true),
        user_rc: Some(false),
        x11_forwarding: Some(true),
        no_touch_required: Some(true),
        verify_required: Some(true),
    };
    let web = selected(&[pair("shop", "web", &[(1, "AAAA")])]);
    let line = concat!(
        r#"cert-authority,principals="a,b",restrict,agent-forwarding,no-port-forwarding,pty,no-user-rc,x11-forwarding,"#,
        r#"no-touch-required,verify-required,from="10.0.0.0/8,!10.0.0.1",expiry-time="20270101000000Z","#,
        r#"permitopen="db:5432",permitopen="[::1]:80",permitlisten="8080",tunnel="3","#,
        r#"environment="A=1",environment="B=2 \"x\"",command="echo \"a\"" ssh-ed25519 AAAA shop/web"#,
        "\n"
    );
    assert_eq!(text(vec![login(options)], std::slice::from_ref(&web)), line);
    let off = KeyOptions {
        restrict: Some(false),
        cert_authority: Some(false),
        no_touch_required: Some(false),
        verify_required: Some(false),
        ..KeyOptions::default()
    };
    assert_eq!(text(vec![login(off)], &[web]), "ssh-ed25519 AAAA shop/web\n");
}

#[test]
fn without_keys_the_text_is_empty() {
    assert_eq!(text(Vec::new(), &[]), "");
    assert_eq!(text(vec![key_pair("web")], &[problem(Problem::KeyPairNotFound)]), "");
    assert!(rendered(vec![key_pair("web")], Layout::EntryPerKey, &[problem(Problem::NotShared)]).data.is_empty());
}

#[test]
fn certificates_are_left_out_and_counted_once() {
    let certificates = selected(&[certificate("shop", "a"), certificate("shop", "b"), pair("shop", "c", &[(1, "C")])]);
    let rendered = rendered(vec![key_pair("a")], Layout::File, &[certificates]);
    assert_eq!(rendered.data["authorized_keys"], "ssh-ed25519 C shop/c\n");
    assert_eq!((rendered.keys, rendered.key_pairs, rendered.certificates), (1, 1, 1));
}

#[test]
fn with_entry_per_key_each_line_has_a_data_key_of_its_own() {
    let long = "n".repeat(253);
    let resolved = selected(&[
        pair("shop", "b", &[(1, "B1"), (2, "B2")]),
        // Its name without a revision is that of the other's second key.
        pair("shop", "b.2", &[(1, "OTHER")]),
        pair("shop", &long, &[(1, "L1"), (2, "L2")]),
        pair("shop", "c", &[(1, "B1")]),
    ]);
    let rendered = rendered(vec![key_pair("a")], Layout::EntryPerKey, &[resolved]);
    assert_eq!(rendered.data["shop.b.1"], "ssh-ed25519 B1 shop/b#1\n");
    assert_eq!(rendered.data["shop.b.2"], "ssh-ed25519 B2 shop/b#2\n");
    assert_eq!((rendered.data.len(), rendered.keys, rendered.key_pairs), (5, 5, 4));
    assert!(rendered.data.values().all(|line| line.lines().count() == 1 && line.ends_with('\n')));
    for data_key in rendered.data.keys() {
        assert!(crate::domain::rules::DATA_KEY.allows(data_key), "{data_key}");
    }
}

#[test]
fn data_that_would_be_too_large_has_the_first_lines() {
    for layout in [Layout::File, Layout::EntryPerKey] {
        let base64 = |n: u32| format!("{n:A>300}");
        let pairs: Vec<_> = (0..4000).map(|n| pair("shop", &format!("p{n:04}"), &[(1, &base64(n))])).collect();
        let rendered = rendered(vec![key_pair("a")], layout, &[selected(&pairs)]);
        assert!(rendered.is_too_large);
        let bytes: usize = rendered.data.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!((TARGET_MAX_BYTES - 400..=TARGET_MAX_BYTES).contains(&bytes), "{bytes}");
        let lines: Vec<&str> = rendered.data.values().flat_map(|text| text.lines()).collect();
        assert_eq!((lines.len(), rendered.keys, rendered.key_pairs), (rendered.keys, rendered.keys, rendered.keys));
        let published = |n: usize| {
            let line = format!("ssh-ed25519 {}", base64(u32::try_from(n).unwrap()));
            rendered.published.contains("shop", &format!("p{n:04}"), &line)
        };
        for (n, line) in lines.iter().enumerate() {
            assert!(line.ends_with(&format!("shop/p{n:04}")) && published(n));
        }
        assert!(!published(rendered.keys) && !published(3999));
    }
}

/// A quadratic algorithm would need minutes.
#[test]
fn the_cost_grows_with_the_number_of_lines() {
    let pairs: Vec<_> = (0..10_000).map(|n| pair("shop", &format!("p{n}"), &[(1, &format!("{n:A>68}"))])).collect();
    let entries = vec![key_pair("a"); MAX_ENTRIES];
    let resolved = vec![selected(&pairs); MAX_ENTRIES];
    let rendered = rendered(entries, Layout::File, &resolved);
    assert_eq!((rendered.keys, rendered.is_too_large), (10_000, false));
}
