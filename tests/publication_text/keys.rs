//! `ssh-keygen -l` reads each line of an `authorized_keys` file.

use keypair_operator::domain::{key::KeySpec, publication::KeyOptions};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{Key, authorized_keys, path, run};

/// A runner whose values are the same in every run.
pub fn runner() -> TestRunner {
    TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

prop_compose! {
    /// Valid options, with every character that could end a value, an option or a line.
    fn options()(
        flags in proptest::array::uniform9(proptest::option::of(any::<bool>())),
        from in proptest::collection::vec("!?[a-z*?]{1,9}(\\.[a-z]{1,5}){0,2}", 0..4),
        command in proptest::option::of("[ -~é密\"\\\\,#= ]{0,40}[^\\\\\\p{C}\\p{Z}]"),
        environment in proptest::collection::btree_map("[A-Z_][A-Z0-9_]{0,5}", "[ -~\"\\\\,=#]{0,20}[!-\\[]", 0..4),
        expiry_time in proptest::option::of("20[2-9][0-9]-0[1-9]-[12][0-8]T0[0-9]:[0-5][0-9]:[0-5][0-9](Z|[+-]0[0-9]:30)"),
        principals in proptest::collection::vec("[a-z@.#-]{1,9}", 0..4),
        permit_open in proptest::collection::vec("([a-z.]{1,9}|\\*|\\[::1\\]):([1-9][0-9]{0,3}|\\*)", 0..4),
        permit_listen in proptest::collection::vec("(([a-z.*]{1,9}|\\[::1\\]):)?([1-9][0-9]{0,3}|\\*)", 0..4),
        tunnel in proptest::option::of("[1-9][0-9]{0,5}"),
    ) -> KeyOptions {
        let [restrict, agent_forwarding, port_forwarding, pty, user_rc, x11_forwarding, no_touch_required, verify_required, certificates] = flags;
        let cert_authority = if principals.is_empty() { certificates } else { Some(true) };
        let from = if from.iter().all(|element| element.starts_with('!')) { Vec::new() } else { from };
        KeyOptions {
            restrict, from, command, environment, expiry_time, principals, cert_authority, permit_open, permit_listen, tunnel,
            agent_forwarding, port_forwarding, pty, user_rc, x11_forwarding, no_touch_required, verify_required,
        }
    }
}

#[test]
fn each_line_is_the_key_of_the_spec() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authorized_keys");
    let mut runner = runner();
    for _ in 0..40 {
        let keys: Vec<Key> = (0..64).map(|_| Key::new()).collect();
        let entries = keys.iter().map(|key| (options().new_tree(&mut runner).unwrap().current(), vec![key])).collect();
        let text = authorized_keys(entries);
        std::fs::write(&file, &text).unwrap();
        let expected: Vec<String> = keys
            .iter()
            .enumerate()
            .map(|(index, key)| {
                let fingerprint = key.private.public_key("").unwrap().fingerprints().sha256;
                format!("256 {fingerprint} shop/e{index}-k0 (ED25519)")
            })
            .collect();
        let printed = run("ssh-keygen", &["-l", "-f", &path(&file)]).unwrap();
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{text}");
    }
}

#[test]
fn every_kind_of_key_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authorized_keys");
    let keys: Vec<Key> = KeySpec::ALL.iter().map(|spec| Key::of(*spec)).collect();
    std::fs::write(&file, authorized_keys(vec![(KeyOptions::default(), keys.iter().collect())])).unwrap();
    let printed = run("ssh-keygen", &["-l", "-f", &path(&file)]).unwrap();
    assert_eq!(printed.lines().count(), keys.len());
    for (line, (index, spec)) in printed.lines().zip(KeySpec::ALL.iter().enumerate()) {
        assert!(
            line.starts_with(&format!("{} ", spec.bits())) && line.contains(&format!(" shop/e0-k{index} (")),
            "{line}"
        );
    }
}
