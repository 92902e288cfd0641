//! Help, exit codes, kubeconfigs and completion.

use std::fs;

use clap::CommandFactory as _;
use keypair_operator::plugin::Args;

use crate::stage::{STAGE, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn help_describes_every_command_and_flag() {
    let scene = Scene::new("help").await;
    let top = scene.ok(&["--help"]);
    for words in ["Examples:", "Exit codes:", "kubectl keypair create login --wait", "Usage: kubectl keypair"] {
        assert!(top.contains(words), "{top}");
    }
    let command = Args::command();
    for command in command.get_subcommands() {
        let name = command.get_name();
        assert!(top.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))), "{name}");
        let help = scene.ok(&[name, "--help"]);
        assert!(help.lines().next().unwrap().split(' ').count() > 4, "{help}");
        assert!(help.contains(&format!("Usage: kubectl keypair {name}")), "{help}");
        for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
            let long = argument.get_long().map(|long| format!("--{long}"));
            assert!(long.is_none_or(|long| help.contains(&long)), "{name}: {argument}");
            assert!(argument.get_help().is_some_and(|help| help.to_string().contains(' ')), "{name}: {argument}");
        }
        for global in ["--namespace", "--context", "--kubeconfig"] {
            assert!(help.contains(global), "{name}: {global}");
        }
    }
    assert_eq!(scene.ok(&["--version"]).trim_end(), format!("kubectl-keypair {}", env!("CARGO_PKG_VERSION")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_command_line_exits_with_2() {
    let scene = Scene::new("usage").await;
    for args in [
        &[][..],
        &["no-such-command"],
        &["create"],
        &["create", "Not_A_Name"],
        &["create", "a", "--algorithm=DSA"],
        &["create", "a", "--profile=Amazon"],
        &["create", "a", "--import=f", "--bits=2048"],
        &["create", "a", "--wait", "--timeout=soon"],
        &["create", "a", "--timeout=3s"],
        &["public", "a", "--phase=Future"],
        &["ssh", "a"],
        &["ssh", "a", "host", "command"],
        &["ssh", "a", "--", "-oProxyCommand=true"],
        &["who", "a", "-o=yaml"],
        &["completion", "tcsh"],
        &["public", "a", "-n", "../default"],
    ] {
        let said = scene.keypair(args);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {said:?}");
        assert!(said.err.contains("Usage:") || said.err.contains("--help"), "{said:?}");
    }
}

/// As kubectl reads them: a list of files, a context of it, and the namespace of the context.
#[tokio::test(flavor = "multi_thread")]
async fn kubeconfig_context_and_namespace_are_those_of_kubectl() {
    let (scene, other) = (Scene::new("here").await, Scene::new("there").await);
    scene.ok(&["create", "only-here", "--wait"]);
    let path = |scene: &Scene| (*scene.kubeconfig).as_ref().to_str().unwrap().to_owned();
    // With names of its own, so that both can be merged.
    let renamed = scene.temporary.path().join("there");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(path(&other)).unwrap()).unwrap();
    config["current-context"] = "there".into();
    config["contexts"][0]["name"] = "there".into();
    config["contexts"][0]["context"]["user"] = "there".into();
    config["users"][0]["name"] = "there".into();
    fs::write(&renamed, config.to_string()).unwrap();
    let listed = format!("/no/such/file:{}:{}", path(&scene), renamed.display());
    let run = |args: &[&str]| {
        let mut command = scene.command("kubectl-keypair", args);
        crate::stage::Said::from(command.env("KUBECONFIG", &listed).output().unwrap())
    };
    assert_eq!(run(&["public", "only-here"]).code, Some(0));
    let there = format!("does not exist in namespace \"{}\"", other.namespace);
    run(&["public", "only-here", "--context=there"]).failed(1, &[&there]);
    run(&["public", "only-here", "--kubeconfig", renamed.to_str().unwrap()]).failed(1, &[&there]);
    run(&["public", "only-here", "--context=nowhere"]).failed(1, &["no context \"nowhere\""]);
    run(&["public", "only-here", "--kubeconfig=/no/such/file"]).failed(1, &["/no/such/file does not exist"]);
    assert_eq!(run(&["public", "only-here", "--kubeconfig", &path(&scene), "-n", &scene.namespace]).code, Some(0));
    run(&["public", "only-here", "-n", &other.namespace]).failed(1, &["you may not get keypairs"]);
    // A server that does not answer.
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    fs::write(&renamed, config.to_string()).unwrap();
    run(&["public", "a", "--kubeconfig", renamed.to_str().unwrap()])
        .failed(1, &["cannot reach the API server", "kubectl cluster-info"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_and_shells_complete_the_command_line() {
    let scene = Scene::new("completion").await;
    scene.ok(&["create", "login", "--wait"]);
    scene.ok(&["create", "logger", "--wait"]);
    let complete = |args: &[&str]| {
        let output = scene.run("kubectl_complete-keypair", args, "");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete(&["ssh", "log"]), "logger\nlogin\n:4\n");
    assert_eq!(complete(&["ssh", "-n", "kube-system", ""]), ":4\n", "not allowed there");
    assert!(complete(&["ro"]).starts_with("rotate\tRequest a rotation"));
    assert_eq!(complete(&["private", "login", "-o", ""]), ":0\n", "a file");
    assert_eq!(complete(&["public", "login", "--phase", "N"]), "Next\tThe key that becomes current next\n:4\n");
    if STAGE.plane.ready().is_some() {
        // kubectl asks the program of that name.
        let output = scene.run("kubectl", &["__complete", "keypair", "ssh", "logi"], "");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.lines().any(|line| line == "login") && !said.contains("logger"), "{said}");
    }
    let script = r#"source <(kubectl-keypair completion bash)
        COMP_WORDS=(kubectl-keypair ssh logi) COMP_CWORD=2; _kubectl_keypair; echo "${COMPREPLY[@]}"
        COMP_WORDS=(kubectl-keypair rot) COMP_CWORD=1; _kubectl_keypair; echo "${COMPREPLY[@]}"
        cd /; COMP_WORDS=(kubectl-keypair private x -o et) COMP_CWORD=4; _kubectl_keypair; echo "${COMPREPLY[@]}""#;
    let output = scene.run("bash", &["-c", script], "");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "login\nrotate\netc\n",
        "{:?}",
        String::from_utf8(output.stderr)
    );
    for shell in ["zsh", "fish"] {
        let script = scene.ok(&["completion", shell]);
        assert!(
            script.contains("kubectl-keypair __complete") && script.contains("kubectl_complete-keypair"),
            "{script}"
        );
    }
}
