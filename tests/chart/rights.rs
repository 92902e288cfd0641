//! Checks that the chart grants everything that the operator needs, and nothing else.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use keypair_operator::app;
use keypair_test_harness::{Audit, ControlPlane, Mark, Options, Request, Requests, eventually};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    job::Job,
    support::{Release, TIMEOUT},
};

/// The API server has no streaming lists, like older ones: only then does the operator use every right that it has.
static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| {
    let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chart.crd.yaml");
    fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
    let feature_gates = Some("WatchList=false".to_owned());
    ControlPlane::start(&Options { audit: true, crds: vec![crd], feature_gates, ..Options::default() })
        .expect("the control plane should start")
});

/// Serialises the tests: an operator that watches all namespaces would interfere with the others.
static ALONE: Mutex<()> = Mutex::const_new(());

const WITHOUT_CRD: [&str; 2] = ["--set", "crds.install=false"];

/// A verb and a resource, as in RBAC (`keypairs/status`).
type Right = (String, String);

fn right(request: &Request) -> Right {
    let object = request.object_ref.clone().unwrap_or_default();
    let resource = match object.subresource.as_str() {
        "" => object.resource,
        subresource => format!("{}/{subresource}", object.resource),
    };
    (resource, request.verb.clone())
}

fn granted(role: &Value) -> Vec<Right> {
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for resource in rule["resources"].as_array().unwrap() {
            for verb in rule["verbs"].as_array().unwrap() {
                rights.push((resource.as_str().unwrap().to_owned(), verb.as_str().unwrap().to_owned()));
            }
        }
    }
    rights
}

/// `role` without one of its rights.
fn without(role: &Value, (resource, verb): &Right) -> Value {
    let mut role = role.clone();
    let rules = role["rules"].as_array_mut().unwrap();
    let mut lesser = Vec::new();
    for rule in rules.iter_mut() {
        let resources = rule["resources"].as_array_mut().unwrap();
        if resources.iter().any(|one| one == resource) {
            // The other resources of the rule keep the verb.
            resources.retain(|one| one != resource);
            let mut own = rule.clone();
            own["resources"] = json!([resource]);
            own["verbs"].as_array_mut().unwrap().retain(|one| one != verb);
            lesser.push(own);
        }
    }
    rules.append(&mut lesser);
    // RBAC allows no rule without resources or verbs.
    rules.retain(|rule| ["resources", "verbs"].iter().all(|part| !rule[part].as_array().unwrap().is_empty()));
    // Without a resource version, the update replaces the role unconditionally.
    role["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    role
}

/// The audit log; `None` on an external cluster, where the used rights cannot be observed.
fn audit() -> Option<Audit> {
    let audit = PLANE.audit();
    if audit.is_none() {
        eprintln!("SKIPPED: somebody else's cluster has no audit log to read");
    }
    audit
}

/// The requests of the release's operator since `mark`.
fn requests(audit: &Audit, mark: Mark, user: &str) -> Vec<Request> {
    audit.matching(mark, &Requests::any().by_user(user)).unwrap()
}

fn forbidden(requests: &[Request]) -> BTreeSet<Right> {
    requests.iter().filter(|request| request.code() == 403).map(right).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_works_with_exactly_its_rights() {
    let _alone = ALONE.lock().await;
    let release = Release::install(&PLANE, "whole", &WITHOUT_CRD);
    let user = release.user();
    let mark = PLANE.audit().map(|audit| audit.mark().unwrap());
    let (mut operator, port, _kubeconfig) = release.run();
    operator.wait_for_http(([127, 0, 0, 1], port).into(), "/readyz", TIMEOUT).await.unwrap();

    let job = Job::new(&PLANE, "whole-job");
    job.begin();
    job.done().await;
    let first = job.notes("refused");
    job.refuse_again();
    // The Events must show the current reason.
    eventually(TIMEOUT, "an Event with the new note", async || {
        Ok(job.notes("refused").iter().any(|note| !first.contains(note)).then_some(()))
    })
    .await
    .unwrap();
    job.edit_and_move().await;
    job.tamper_and_move().await;

    if let (Some(audit), Some(mark)) = (audit(), mark) {
        let role = role(&release);
        // The Lease is renewed on its own schedule.
        let renewed = ("leases".to_owned(), "update".to_owned());
        eventually(TIMEOUT, "the Lease to be renewed", async || {
            Ok(requests(&audit, mark, &user).iter().any(|request| right(request) == renewed).then_some(()))
        })
        .await
        .unwrap();
        let requests = requests(&audit, mark, &user);
        assert_eq!(forbidden(&requests), BTreeSet::new(), "{}", operator.log().unwrap());
        let exercised: BTreeSet<Right> = requests.iter().map(right).collect();
        let election = release.kubectl(&["get", "role", "whole-keypair-operator-leader-election", "-o=json"]);
        let rights = [granted(&role), granted(&serde_json::from_str(&election).unwrap())].concat();
        let unused: Vec<Right> = rights.into_iter().filter(|right| !exercised.contains(right)).collect();
        assert_eq!(unused, Vec::new(), "granted, but not used");
    }
    assert_eq!(operator.stop().await.unwrap().code(), Some(0));
    release.helm(&["uninstall", release.name]);
}

fn role(release: &Release<'_>) -> Value {
    let name = format!("{}-keypair-operator", release.name);
    serde_json::from_str(&release.kubectl(&["get", "clusterrole", &name, "-o=json"])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_any_single_right_breaks_something() {
    let _alone = ALONE.lock().await;
    let Some(audit) = audit() else { return };
    let release = Release::install(&PLANE, "less", &WITHOUT_CRD);
    let user = release.user();
    let whole = role(&release);
    let rights = granted(&whole);
    assert!(rights.len() > 7, "{rights:?}");
    for (index, taken) in rights.iter().enumerate() {
        let lesser = without(&whole, taken);
        PLANE.kubectl_with_input(&["replace", "-f", "-"], &lesser.to_string()).unwrap().ok().unwrap();
        eventually(TIMEOUT, "the role to count", async || {
            Ok(rights.iter().all(|right| may(&user, right) == (right != taken)).then_some(()))
        })
        .await
        .unwrap();

        let mark = audit.mark().unwrap();
        let (mut operator, _, _kubeconfig) = release.run();
        let job = Job::new(&PLANE, &format!("less-{index}"));
        job.begin();
        match (taken.0.as_str(), taken.1.as_str()) {
            ("configmaps", "get" | "patch") => job.tamper().await,
            ("configmaps", "delete") => job.move_target().await,
            (_, "patch") => job.hand_over(include_str!("../vectors/private/plain/rsa2048.pkcs8")),
            (_, "delete") => job.move_it().await,
            _ => {}
        }
        eventually(TIMEOUT, &format!("{taken:?} to be missed"), async || {
            let requests = requests(&audit, mark, &user);
            Ok((forbidden(&requests) == BTreeSet::from([taken.clone()])).then_some(()))
        })
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", operator.log().unwrap()));
        operator.stop().await.unwrap();
    }
    release.helm(&["uninstall", release.name]);
}

/// Whether the API server allows `user` this right in any namespace.
fn may(user: &str, (resource, verb): &Right) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let group = match resource {
        "keypairs" | "authorizedkeys" | "knownhosts" => ".keypairs.dev",
        "events" => ".events.k8s.io",
        _ => "",
    };
    let resource = format!("{resource}{group}");
    let mut args = vec!["auth", "can-i", verb, &resource, "--as", user, "--all-namespaces"];
    let subresource = format!("--subresource={subresource}");
    args.push(&subresource);
    PLANE.kubectl(&args).unwrap().status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_namespaces_restricts_the_operator() {
    let _alone = ALONE.lock().await;
    let here = [Job::new(&PLANE, "here-1"), Job::new(&PLANE, "here-2")];
    let there = Job::new(&PLANE, "there");
    let flags = [&WITHOUT_CRD[..], &["--set", "watchNamespaces={here-1,here-2}"]].concat();
    let release = Release::install(&PLANE, "few", &flags);
    let user = release.user();
    let mark = PLANE.audit().map(|audit| audit.mark().unwrap());
    there.begin();
    let (mut operator, port, _kubeconfig) = release.run();
    for job in &here {
        job.begin();
    }
    for job in &here {
        job.done().await;
    }
    operator.wait_for_http(([127, 0, 0, 1], port).into(), "/readyz", TIMEOUT).await.unwrap();

    // These KeyPairs are older than the finished ones, so the operator has ignored them.
    for name in ["imported", "generated", "refused", "conflict"] {
        assert_eq!(there.reason(name), "", "{name}");
    }
    let secrets = PLANE.kubectl(&["get", "secrets", "-o=name", "-n", "there"]).unwrap().ok().unwrap();
    assert_eq!(secrets.trim(), "secret/foreign");
    if let (Some(audit), Some(mark)) = (audit(), mark) {
        let requests = requests(&audit, mark, &user);
        // The refused watch of Namespaces tells the operator to get them instead.
        let watch = ("namespaces".to_owned(), "watch".to_owned());
        assert_eq!(forbidden(&requests), BTreeSet::from([watch.clone()]), "{}", operator.log().unwrap());
        let elsewhere: Vec<&Request> = requests
            .iter()
            .filter(|request| right(request) != watch)
            .filter(|request| right(request).0 != "leases")
            .filter(|request| request.object_ref.as_ref().is_some_and(|object| !object.namespace.starts_with("here-")))
            .collect();
        assert!(elsewhere.is_empty(), "{elsewhere:?}");
    }
    assert_eq!(operator.stop().await.unwrap().code(), Some(0));
    release.helm(&["uninstall", release.name]);
}
