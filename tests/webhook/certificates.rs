//! Certificates: renewed under load by two replicas, repaired after damage, or supplied by another tool.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use keypair_test_harness::eventually;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{PATIENCE, Replica, Stage, local};

const SECRET: &str = "keypair-operator-webhook";
/// Short: a certificate is renewed every six seconds.
const LIFETIME: &str = "--webhook-cert-lifetime=12";
const CONFIGURATIONS: [&str; 2] = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

fn configuration(kind: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{kind}/keypair-operator")
}

impl Stage {
    fn certificates(&self) -> Api<Secret> {
        Api::default_namespaced(self.client.clone())
    }

    /// The CA bundle that the API server trusts, in PEM.
    async fn trusted(&self, kind: &str) -> String {
        let found = self.send(Method::GET, &configuration(kind), "application/json", &Value::Null).await.admitted();
        let bundle: ByteString =
            serde_json::from_value(found["webhooks"][0]["clientConfig"]["caBundle"].clone()).unwrap();
        String::from_utf8(bundle.0).unwrap()
    }

    /// Whether the API server has called the webhook and trusted its response: otherwise, the rules of the CRD would refuse
    /// this with another message.
    async fn is_answered(&self) -> bool {
        let answer = self.create("default", "probe", &json!({ "keyPairName": "" }), true).await;
        answer.status == 400 && answer.text("reason") == "MissingParameter"
    }
}

/// The value of `name` in the Secret.
fn content(secret: &Secret, name: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[name].0.clone()).unwrap()
}

/// Forwards each connection to the next of the replicas, as a Service does.
async fn service(replicas: Vec<SocketAddr>, listener: TcpListener) {
    for replica in replicas.into_iter().cycle() {
        let (mut from, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            if let Ok(mut to) = TcpStream::connect(replica).await {
                tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
            }
        });
    }
}

/// Whether `openssl` trusts the certificate that is served at `address`, for that address.
fn is_believed(address: SocketAddr, bundle: &Path) -> bool {
    let output = Command::new("openssl")
        .args(["s_client", "-brief", "-verify_return_error", "-verify_ip", "127.0.0.1", "-CAfile"])
        .arg(bundle)
        .args(["-connect", &address.to_string()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    output.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_renewal_under_load_leaves_no_request_unanswered() {
    const RENEWALS: usize = 4;
    let stage = Arc::new(Stage::new("renewal").await);
    let listener = TcpListener::bind(local()).await.unwrap();
    let url = format!("--webhook-url=https://{}/ask", listener.local_addr().unwrap());
    let args = [LIFETIME, &url, "--leader-elect", "--lease-duration=3"];
    let replicas = [0, 1].map(|_| Replica::spawn(&stage.kubeconfig, &args));
    let addresses = replicas.iter().map(|replica| replica.webhook).collect::<Vec<_>>();
    let service = tokio::spawn(service(addresses.clone(), listener));
    for replica in &replicas {
        replica.ready().await;
    }
    stage.registered().await;

    let (over, asked, unanswered) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (stage, over) = (Arc::clone(&stage), Arc::clone(&over));
            let (asked, unanswered) = (Arc::clone(&asked), Arc::clone(&unanswered));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let answered = stage.is_answered().await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    unanswered.fetch_add(usize::from(!answered), Ordering::Relaxed);
                }
            })
        })
        .collect();

    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("ca.crt");
    let mut served = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while served.len() <= RENEWALS {
        assert!(Instant::now() < deadline, "renewed only {} times", served.len());
        let secret = stage.certificates().get(SECRET).await.unwrap();
        served.insert(content(&secret, "tls.crt"));
        for (kind, address) in CONFIGURATIONS.into_iter().zip(&addresses) {
            let believed = async || {
                fs::write(&bundle, stage.trusted(kind).await).unwrap();
                is_believed(*address, &bundle)
            };
            // Retries, because on a busy machine the bundle may be outdated when it is used.
            assert!(believed().await || believed().await, "what {address} serves is not what {kind} trusts");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    over.store(true, Ordering::Relaxed);
    for worker in load {
        worker.await.unwrap();
    }
    let (asked, unanswered) = (asked.load(Ordering::Relaxed), unanswered.load(Ordering::Relaxed));
    println!("{} renewals, {asked} questions, {unanswered} without an answer", served.len() - 1);
    assert!(asked > 500 && unanswered == 0, "{unanswered} of {asked} reviews were not answered");
    service.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_certificates_and_registrations_are_repaired() {
    let stage = Stage::new("broken").await;
    let _operator = stage.operator(&[]).await;
    let put_right = async |what: &str| {
        eventually(PATIENCE, &format!("{what} to be put right"), async || {
            let secret = stage.certificates().get_opt(SECRET).await?;
            let Some(secret) = secret.filter(|secret| secret.data.as_ref().is_some_and(|data| data.len() >= 2)) else {
                return Ok(None);
            };
            // The served certificate must be trusted. Other authorities can be, too.
            let chain = content(&secret, "tls.crt");
            let authority = chain.rfind("-----BEGIN").map(|at| &chain[at..]).unwrap_or_default();
            for kind in CONFIGURATIONS {
                if authority.is_empty() || !stage.trusted(kind).await.contains(authority.trim()) {
                    return Ok(None);
                }
            }
            Ok(stage.is_answered().await.then_some(()))
        })
        .await
        .unwrap();
    };
    put_right("the first certificate").await;
    for kind in CONFIGURATIONS {
        let foreign = include_str!("../vectors/public/rsa2048.spki").replace("PUBLIC KEY", "CERTIFICATE");
        let bundle = json!(ByteString(foreign.into_bytes()));
        let patch = json!([{ "op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle }]);
        stage.send(Method::PATCH, &configuration(kind), "application/json-patch+json", &patch).await.admitted();
        put_right(kind).await;
        let patch = json!([{ "op": "remove", "path": "/webhooks/0/clientConfig/caBundle" }]);
        stage.send(Method::PATCH, &configuration(kind), "application/json-patch+json", &patch).await.admitted();
        put_right(kind).await;
        stage.send(Method::DELETE, &configuration(kind), "application/json", &json!({})).await.admitted();
        eventually(PATIENCE, "it to be registered again", async || {
            let found = stage.send(Method::GET, &configuration(kind), "application/json", &Value::Null).await;
            Ok((found.status == 200).then_some(()))
        })
        .await
        .unwrap();
        put_right(kind).await;
    }
    let secrets = stage.certificates();
    secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
    put_right("a Secret that was deleted").await;
    for authorities in [json!(""), Value::Null] {
        let without = json!({ "data": { "ca.crt": authorities } });
        secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(without)).await.unwrap();
        put_right("a Secret that does not say whom to trust").await;
    }
    let junk = json!({ "stringData": { "tls.crt": "junk", "ca.crt": "junk" } });
    secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(junk)).await.unwrap();
    put_right("a Secret full of junk").await;
}

/// As with cert-manager: another tool replaces the files, and the operator must update the registration by itself.
#[tokio::test(flavor = "multi_thread")]
async fn externally_renewed_certificates_are_reloaded() {
    let maker = Stage::new("files").await;
    let dir = tempfile::tempdir().unwrap();
    // For the operator, any certificate will do, such as one that another operator has generated.
    let make = async || {
        let mut other = maker.operator(&[]).await;
        let secret = maker.certificates().get(SECRET).await.unwrap();
        for name in ["tls.key", "tls.crt", "ca.crt"] {
            fs::write(dir.path().join(name), content(&secret, name)).unwrap();
        }
        other.operator.stop().await.unwrap();
        maker.certificates().delete(SECRET, &DeleteParams::default()).await.unwrap();
        for kind in CONFIGURATIONS {
            maker.send(Method::DELETE, &configuration(kind), "application/json", &json!({})).await.admitted();
        }
    };
    make().await;
    let files = format!("--webhook-cert-dir={}", dir.path().display());
    let operator = maker.operator(&[&files]).await;
    assert!(is_believed(operator.webhook, &dir.path().join("ca.crt")));
    assert!(maker.certificates().get_opt(SECRET).await.unwrap().is_none());
    fs::copy(dir.path().join("ca.crt"), dir.path().join("old.crt")).unwrap();
    // A certificate of another stage works, too, because the address is the same.
    let other = Stage::new("files-next").await;
    let _next = other.operator(&[]).await;
    let secret = other.certificates().get(SECRET).await.unwrap();
    for name in ["tls.key", "tls.crt", "ca.crt"] {
        fs::write(dir.path().join(name), content(&secret, name)).unwrap();
    }
    eventually(PATIENCE, "the new certificate to be served, and trusted", async || {
        let bundle = fs::read_to_string(dir.path().join("ca.crt"))?;
        let is_trusted = maker.trusted(CONFIGURATIONS[0]).await == bundle;
        let is_served = is_believed(operator.webhook, &dir.path().join("ca.crt"))
            && !is_believed(operator.webhook, &dir.path().join("old.crt"));
        Ok((is_trusted && is_served && maker.is_answered().await).then_some(()))
    })
    .await
    .unwrap();
}
