//! `--help`, `crd`, `policy`, and invalid command lines.

use std::process::Stdio;

use clap::CommandFactory as _;
use keypair_operator::app::{Args, crd_yaml};
use serde_json::Value;

use crate::{execute, program};

/// The help lists every flag of the parser, and describes it in more words than its name.
#[test]
fn help_lists_every_flag_and_variable() {
    let command = Args::command();
    let commands = ["run", "crd", "policy", "lint", "fingerprint"];
    let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(known, commands, "this test should cover every command");
    let top = execute(&["--help"]);
    assert_eq!(top.code, Some(0));
    assert!(top.stdout.contains("keypair-operator crd | kubectl apply"), "{}", top.stdout);
    for name in commands {
        assert!(top.stdout.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))), "{}", top.stdout);
        let help = execute(&[name, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
        let about = help.stdout.lines().next().unwrap();
        assert!(about.split(' ').count() > 4, "the description of {name} is too short: {about:?}");
        for argument in command.find_subcommand(name).unwrap().get_arguments() {
            if argument.get_id() == "help" {
                continue;
            }
            let names = [
                argument.get_long().map(|long| format!("--{long}")),
                argument.get_env().map(|env| format!("[env: {}=", env.display())),
            ];
            for text in names.into_iter().flatten() {
                assert!(help.stdout.contains(&text), "{name} --help does not mention {text}");
            }
            assert!(argument.get_help().is_some_and(|help| help.to_string().contains(' ')), "{argument}");
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = execute(&["--version"]);
    let module = if cfg!(feature = "fips") { " (FIPS module)" } else { "" };
    assert_eq!(version.stdout, format!("keypair-operator {}{module}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_invalid_command_line_exits_with_2() {
    for args in [
        &["run", "--no-such-flag"][..],
        &["no-such-command"],
        &[],
        &["lint"],
        &["run", "--quota", "many"],
        &["run", "--concurrency=0"],
        &["run", "--metrics-addr=nowhere"],
        &["run", "--rsa-generator=quick"],
        &["fingerprint", "--profile=Amazon"],
        &["policy", "--namespace=it's"],
        &["policy", "--webhook-url=http://example.com/"],
    ] {
        let output = execute(args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(output.stderr.contains("Usage:") || output.stderr.contains("--help"), "{}", output.stderr);
    }
}

#[test]
fn crd_prints_the_definitions() {
    let output = execute(&["crd"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_eq!(output.stdout, crd_yaml().unwrap());
    let read: Vec<Value> = serde_saphyr::from_multiple(&output.stdout).unwrap();
    assert_eq!(Value::Array(read), serde_json::to_value(keypair_operator::api::crds()).unwrap());
}

/// Every flag affects the policies: its value appears in them only if the flag is set.
#[test]
fn policy_prints_the_policies_of_the_installation() {
    let policies = |args: &[&str]| {
        let output = execute(&[&["policy"], args].concat());
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        output.stdout
    };
    let default = policies(&[]);
    let read: Vec<Value> = serde_saphyr::from_multiple(&default).unwrap();
    let kinds: Vec<&str> = read.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"].repeat(7));
    for (flag, value, expected) in [
        ("--name", "one", "  name: one-secret-settings\n"),
        ("--namespace", "two", "system:serviceaccount:two:keypair-operator"),
        ("--service-account", "three", "system:serviceaccount:keypair-operator:three"),
        ("--webhook-configuration", "four", "request.name == 'four'"),
        ("--webhook-service", "five", "webhook.clientConfig.service.name == 'five'"),
        ("--webhook-url", "https://six/", "webhook.clientConfig.url == 'https://six/'"),
    ] {
        let text = |yaml: &str| serde_json::to_string(&serde_saphyr::from_multiple::<Value>(yaml).unwrap()).unwrap();
        let expected = expected.trim().trim_start_matches("name: ");
        assert!(text(&policies(&[flag, value])).contains(expected), "{flag}");
        assert!(!text(&default).contains(expected), "{flag}");
    }
}

/// The reader closes the pipe early, as in `keypair-operator crd | head -1`.
#[test]
fn a_closed_pipe_is_not_an_error() {
    for args in [&["crd"][..], &["policy"], &["lint", "-"], &["fingerprint", "-"]] {
        let mut child = program(args)
            .stdin(std::fs::File::open(crate::repository("tests/vectors/public/rsa2048.pub")).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
        assert!(!stderr.contains("error") && !stderr.contains("panicked"), "{stderr}");
    }
}
