//! `keypair-operator run`: start and stop.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use base64ct::{Base64, Encoding};
use keypair_operator::app::crd_yaml;
use keypair_test_harness::{ControlPlane, Operator, Options, eventually, free_port, http_get};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::{BINARY, Output, program, run_command};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs `run` without a cluster, with `env` as its whole environment.
fn without_cluster(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = program(&[&["run"], args].concat());
    command.env_clear().envs(env.iter().copied());
    let begin = Instant::now();
    let output = run_command(command, "");
    assert!(begin.elapsed() < Duration::from_secs(20), "it took {:?}", begin.elapsed());
    output
}

#[test]
fn without_a_cluster_it_says_what_to_do() {
    let nowhere = "/no/such/directory";
    let homeless = [("HOME", nowhere)];
    let misled = [("HOME", nowhere), ("KUBECONFIG", "/no/such/directory/kubeconfig")];
    for env in [&homeless[..], &misled, &[]] {
        let output = without_cluster(&[], env);
        assert_eq!(output.code, Some(1), "{}", output.stderr);
        assert!(output.stderr.contains("error: no cluster to connect to: "), "{}", output.stderr);
        assert!(output.stderr.contains("KUBECONFIG"), "{}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    }
}

#[test]
fn an_address_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let flag = format!("--metrics-addr={}", taken.local_addr().unwrap());
    let output = without_cluster(&[&flag], &[]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("error: cannot listen on 127.0.0.1:"), "{}", output.stderr);
}

/// An invalid value is a command line error; with a valid one, the operator continues and looks for a cluster.
#[test]
fn flag_and_variable_select_the_rsa_generator() {
    let variable = |value| [("KEYPAIR_OPERATOR_RSA_GENERATOR", value)];
    for (value, code) in [("library", 1), ("fast", if cfg!(feature = "fips") { 2 } else { 1 }), ("quick", 2)] {
        let flag = format!("--rsa-generator={value}");
        for output in [without_cluster(&[&flag], &[]), without_cluster(&[], &variable(value))] {
            assert_eq!(output.code, Some(code), "{value}: {}", output.stderr);
            let expected = if code == 1 { "no cluster to connect to" } else { "--rsa-generator <GENERATOR>" };
            assert!(output.stderr.contains(expected), "{value}: {}", output.stderr);
        }
    }
}

/// If the CRD is installed later, the operator finds it without a restart.
#[tokio::test]
async fn it_waits_for_the_crd() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], free_port().unwrap()).into();
    let env = [("KEYPAIR_OPERATOR_METRICS_ADDR", address.to_string())];
    let mut operator = Operator::spawn(Path::new(BINARY), plane.kubeconfig(), ["run"], env).unwrap();
    operator.wait_for_http(address, "/livez", TIMEOUT).await.unwrap();
    let line = operator.wait_for_line("cannot watch KeyPairs", TIMEOUT).await.unwrap();
    assert!(line.contains("404") || line.contains("not find"), "{line}");
    let ready = http_get(address, "/readyz").await.unwrap();
    assert_eq!((ready.status, ready.body.contains("waiting")), (503, true), "{}", ready.body);
    let verbose = http_get(address, "/readyz?verbose").await.unwrap();
    assert_eq!(verbose.status, 503);
    assert!(verbose.body.starts_with("[+]started ok\n[-]lists waiting for "), "{}", verbose.body);
    assert!(verbose.body.ends_with("readyz check failed\n"), "{}", verbose.body);

    plane.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &crd_yaml().unwrap()).unwrap().ok().unwrap();
    operator.wait_for_http(address, "/readyz", TIMEOUT).await.unwrap();
    let manifest = r#"{"apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {"name": "one"}, "spec": {"profile": "OpenSSH", "generate": {"algorithm": "Ed25519"}}}"#;
    eventually(TIMEOUT, "the kind to be served", async || {
        plane.kubectl_with_input(&["apply", "-f", "-"], manifest)?.ok().map(Some)
    })
    .await
    .unwrap();
    plane.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "kp/one"]).unwrap().ok().unwrap();

    let metrics = http_get(address, "/metrics").await.unwrap();
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.body.lines().any(|line| line.starts_with("keypair_") && line.contains("Ready")),
        "{}",
        metrics.body
    );
    assert!(metrics.body.trim_end().ends_with("# EOF"), "{}", metrics.body);
    assert_eq!(http_get(address, "/nothing").await.unwrap().status, 404);
    stops_at_once(&mut operator).await;
}

/// The operator accepts every kubeconfig that kubectl accepts.
#[tokio::test]
async fn it_reads_kubeconfigs_as_kubectl_does() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    plane.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &crd_yaml().unwrap()).unwrap().ok().unwrap();
    plane.kubectl(&["create", "serviceaccount", "reader"]).unwrap().ok().unwrap();
    let rights = ["create", "clusterrolebinding", "reader", "--clusterrole=cluster-admin"];
    plane.kubectl(&[&rights[..], &["--serviceaccount=default:reader"]].concat()).unwrap().ok().unwrap();
    let token = plane.kubectl(&["create", "token", "reader"]).unwrap().ok().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let given: Value = serde_json::to_value(Kubeconfig::read_from(plane.kubeconfig()).unwrap()).unwrap();
    let name = given["current-context"].clone();
    let of_name = |kind: &str, name: &Value| {
        given[kind].as_array().unwrap().iter().find(|entry| entry["name"] == *name).unwrap().clone()
    };
    let context = of_name("contexts", &name);
    let cluster = of_name("clusters", &context["context"]["cluster"]);
    let user = of_name("users", &context["context"]["user"]);
    let server = cluster["cluster"]["server"].clone();
    let given = cluster["cluster"]["certificate-authority-data"].as_str().map(str::to_owned);
    let authority = given.unwrap_or_else(|| {
        let path = cluster["cluster"]["certificate-authority"].as_str().unwrap();
        Base64::encode_string(&std::fs::read(path).unwrap())
    });
    let lines: Vec<&str> = authority.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    std::fs::write(folder.path().join("token"), format!("{}\n\n", token.trim())).unwrap();
    let write = |file: &str, cluster: Value, user: &Value| {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a", "namespace": "" } }],
            "clusters": [{ "name": "a", "cluster": cluster }],
            "users": [{ "name": "a", "user": user }],
        });
        let path = folder.path().join(file);
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        path.display().to_string()
    };
    let good = write("good", cluster["cluster"].clone(), &user["user"]);
    let token_file = json!({ "tokenFile": "token" });
    let wrapped = json!({ "server": server, "certificate-authority-data": lines.join("\r\n") });
    let unverified = json!({ "server": server, "insecure-skip-tls-verify": true, "certificate-authority-data": "" });
    let plugin = folder.path().join("plugin");
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": { "token": token.trim() },
    });
    std::fs::write(&plugin, format!("#!/bin/sh\ncat <<'END'\n\n{credential}\n\n\nEND\n")).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let exec = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "interactiveMode": "Never",
    } });
    let unset = folder.path().join("unset");
    std::fs::write(&unset, "current-context: \"\"\nclusters: null\n").unwrap();
    for kubeconfig in [
        format!("{good}:/missing"),
        format!("/missing::{good}"),
        format!("{}:{good}", unset.display()),
        write("token-file", cluster["cluster"].clone(), &token_file),
        write("wrapped", wrapped, &token_file),
        write("unverified", unverified, &token_file),
        write("exec", cluster["cluster"].clone(), &exec),
    ] {
        let mut kubectl = std::process::Command::new(&plane.ready().unwrap().kubectl);
        kubectl.args(["get", "keypairs"]).env("KUBECONFIG", &kubeconfig).env("HOME", folder.path());
        let output = run_command(kubectl, "");
        assert_eq!(output.code, Some(0), "kubectl, {kubeconfig}: {}", output.stderr);
        let address: SocketAddr = ([127, 0, 0, 1], free_port().unwrap()).into();
        let env = [("KEYPAIR_OPERATOR_METRICS_ADDR", address.to_string()), ("KUBECONFIG", kubeconfig.clone())];
        let mut operator = Operator::spawn(Path::new(BINARY), plane.kubeconfig(), ["run"], env).unwrap();
        operator.wait_for_http(address, "/readyz", TIMEOUT).await.unwrap();
        operator.stop().await.unwrap();
    }
}

async fn stops_at_once(operator: &mut Operator) {
    let begin = Instant::now();
    let status = operator.stop().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", operator.log().unwrap());
    assert!(begin.elapsed() < Duration::from_secs(10), "it took {:?}", begin.elapsed());
}

/// A Deployment that is rolled back before its CRD is installed must stop without using up its grace period.
#[tokio::test]
async fn it_stops_while_it_waits() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let mut operator =
        Operator::spawn(Path::new(BINARY), plane.kubeconfig(), ["run", "--log-format=json"], [("A", "b")]).unwrap();
    let line = operator.wait_for_line("cannot watch KeyPairs", TIMEOUT).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["level"], "WARN");
    stops_at_once(&mut operator).await;
}

/// If the cluster is unreachable, the operator keeps running and still stops on request.
#[tokio::test]
async fn it_waits_for_the_api_server_and_stops_while_it_waits() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let Some(ready) = plane.ready() else {
        eprintln!("SKIPPED: somebody else's cluster has a kubeconfig that is not ours to change");
        return;
    };
    let nobody = format!("https://127.0.0.1:{}", free_port().unwrap());
    let kubeconfig = std::fs::read_to_string(plane.kubeconfig()).unwrap().replace(&ready.url, &nobody);
    let path = crate::file("nobody.kubeconfig", &kubeconfig);
    let mut operator = Operator::spawn(Path::new(BINARY), Path::new(&path), ["run"], [("A", "b")]).unwrap();
    operator.wait_for_line("cannot watch Namespaces", TIMEOUT).await.unwrap();
    stops_at_once(&mut operator).await;
}
