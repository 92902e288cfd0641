//! Rotation from end to end: a real `sshd` authorizes the text of an `AuthorizedKeys` and has a host key that is rotated; a real `ssh` trusts
//! the text of a `KnownHosts`, and logs in with a key that is rotated.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use keypair_test_harness::{Dice, Sshd};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    publications::Published,
    rotation::spec,
    support::{Directory, PATIENCE, QUIET, Scene, condition, data, to_json},
    tools::{path, run},
};

/// How many rotations there are in a row.
const ROTATIONS: &str = "KEYPAIR_ROTATIONS";
/// How many logins are tried at once.
const LOGINS_AT_ONCE: usize = 4;
/// The name under which the client knows the host.
const HOST: &str = "shell.example.com";

/// The files that a mounted ConfigMap and a mounted Secret would have.
struct Mounted {
    dir: Directory,
    config: PathBuf,
    user: String,
}

impl Mounted {
    async fn new(scene: &Scene, publications: [&Published<'_>; 2]) -> Self {
        let dir = Directory::new("published");
        mount(scene, &dir, publications).await;
        let file = |name: &str| dir.0.join(name);
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nAuthenticationMethods publickey\nPermitRootLogin yes\n",
            path(&file("host")),
            path(&file("authorized_keys"))
        );
        let config = dir.write("sshd_config", config.as_bytes());
        let user = String::from_utf8(run("id", &["-un"], b"")).unwrap().trim().to_owned();
        Self { dir, config, user }
    }

    /// Logs in to an `sshd` of its own, as from inetd: it reads its host key for this connection.
    fn ssh(&self, private_key: &str) -> Output {
        static LOGINS: AtomicUsize = AtomicUsize::new(0);
        let identity = format!("identity-{}", LOGINS.fetch_add(1, Ordering::Relaxed));
        let identity = self.dir.write(&identity, private_key.as_bytes());
        let options = [
            format!("ProxyCommand={} -i -f {}", path(&Sshd::program().unwrap()), path(&self.config)),
            "BatchMode=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "IdentityAgent=none".to_owned(),
            // A host key that is not known is refused, instead of a prompt.
            "StrictHostKeyChecking=yes".to_owned(),
            format!("UserKnownHostsFile={}", path(&self.dir.0.join("known_hosts"))),
            "GlobalKnownHostsFile=none".to_owned(),
            "UpdateHostKeys=no".to_owned(),
            "KexAlgorithms=curve25519-sha256".to_owned(),
        ];
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-i", path(&identity), "-l", &self.user]);
        for option in &options {
            ssh.args(["-o", option]);
        }
        let output = ssh.args([HOST, "true"]).output().unwrap();
        std::fs::remove_file(identity).unwrap();
        output
    }
}

/// Writes the files as a kubelet would. Returns whether the host key has changed.
async fn mount(scene: &Scene, dir: &Directory, publications: [&Published<'_>; 2]) -> bool {
    let replace = |name: &str, content: &str| -> bool {
        let file: PathBuf = dir.0.join(name);
        if std::fs::read_to_string(&file).is_ok_and(|before| before == content) {
            return false;
        }
        std::fs::rename(dir.write(&format!("{name}.new"), content.as_bytes()), file).unwrap();
        true
    };
    for published in publications {
        let text = published.text().await.unwrap();
        replace(published.key(), &text);
    }
    let secret = scene.secrets.get("host").await.unwrap();
    replace("host", &data(&secret, "ssh-privatekey"))
}

/// Whoever takes the key that the Secret has at that moment can log in where the published text is mounted, and knows the host, while both
/// keys are rotated and the operator is killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn no_login_fails_while_published_keys_are_rotated_and_operators_are_killed() {
    let rotations: u64 = std::env::var(ROTATIONS).map_or(3, |text| text.parse().unwrap());
    let scene = Arc::new(QUIET.scene("published-login").await);
    let spawn = || QUIET.spawn(&["--namespace", &scene.namespace], "info");
    let mut operator = spawn();
    // A mounted file is older than its object by a second at most in this test.
    let rotation = json!({ "every": "4s", "publishBefore": "3s", "keepAfter": "3s" });
    for name in ["user", "host"] {
        scene.create(name, &spec(&rotation)).await;
        scene.settled(name, "True/Generated").await;
    }
    let (logins, hosts) = (Arc::clone(&scene), Arc::clone(&scene));
    let authorized = Published::create(
        &logins,
        "AuthorizedKeys",
        "users",
        &json!({ "entries": [{ "keyPair": "user", "options": { "restrict": true, "pty": true } }] }),
    )
    .await;
    let known = Published::create(
        &hosts,
        "KnownHosts",
        "hosts",
        &json!({ "entries": [{ "hosts": [HOST], "keyPair": "host" }] }),
    )
    .await;
    for published in [&authorized, &known] {
        published.settled("True/Published").await;
    }
    let mounted = Arc::new(Mounted::new(&scene, [&authorized, &known]).await);

    let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..LOGINS_AT_ONCE {
        let (over, scene, mounted, count) =
            (Arc::clone(&over), Arc::clone(&scene), Arc::clone(&mounted), Arc::clone(&count));
        clients.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let private_key = data(&scene.secrets.get("user").await.unwrap(), "ssh-privatekey");
                let mounted = Arc::clone(&mounted);
                let output = tokio::task::spawn_blocking(move || mounted.ssh(&private_key)).await.unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "login {} failed: {said}", count.load(Ordering::Relaxed));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (mut dice, begun, mut kills, mut host_keys) = (Dice::new(11), Instant::now(), 0, 0);
    let patience = PATIENCE + Duration::from_secs(30 * rotations);
    let mut kill_at = Instant::now();
    loop {
        let revision = async |name: &str| {
            let object: Value = to_json(&scene.key_pairs.get(name).await.unwrap());
            assert_eq!(condition(&object, "Ready")["status"], "True");
            object["status"]["revision"].as_u64().unwrap()
        };
        let revisions = [revision("user").await, revision("host").await];
        if revisions.iter().all(|revision| *revision > rotations) {
            break;
        }
        assert!(begun.elapsed() < patience, "revisions {revisions:?} after {:?}", begun.elapsed());
        if let Some(ended) = clients.try_join_next() {
            ended.unwrap();
        }
        if mount(&scene, &mounted.dir, [&authorized, &known]).await {
            host_keys += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        if kill_at <= Instant::now() {
            // SIGKILL.
            drop(operator);
            operator = spawn();
            kills += 1;
            kill_at = Instant::now() + Duration::from_millis(dice.below(2500));
        }
    }
    drop(operator);
    over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let logins = count.load(Ordering::Relaxed);
    println!(
        "{rotations} rotations of both keys in {:?}, {kills} operators killed, {host_keys} new host keys, {logins} logins",
        begun.elapsed()
    );
    assert!(logins > 20);
}
