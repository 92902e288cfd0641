//! `ssh` with a real `ssh` and `sshd`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use keypair_test_harness::{Signal, Sshd, signal};

use crate::{
    processes::{children, exposed, files, runs, soon},
    stage::{Said, Scene},
};

/// An `sshd` on loopback, and what a client must know to log in there.
struct Server {
    dir: tempfile::TempDir,
    user: String,
    sshd: Sshd,
}

impl Server {
    async fn start(authorized: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let host = file("host");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host).status().unwrap();
        assert!(made.success());
        fs::write(file("authorized_keys"), authorized).unwrap();
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nAuthenticationMethods publickey\nPermitRootLogin yes\n\
             MaxStartups 100\n",
            host.display(),
            file("authorized_keys").display()
        );
        let sshd = Sshd::start(dir.path(), &config).await.unwrap();
        let known = fs::read_to_string(host.with_extension("pub")).unwrap();
        fs::write(file("known_hosts"), sshd.known_host(&known)).unwrap();
        let user = Command::new("id").arg("-un").output().unwrap();
        let user = String::from_utf8(user.stdout).unwrap().trim().to_owned();
        Self { dir, user, sshd }
    }

    /// The arguments for a login; flags of ssh and a command follow the two dashes.
    fn args(&self, name: &str, rest: &[&str]) -> Vec<String> {
        let known = self.dir.path().join("known_hosts");
        let port = self.sshd.port().to_string();
        // Without the configuration of whoever runs the test.
        let options = ["-F", "/dev/null", "-p", &port, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o"];
        let known = [format!("UserKnownHostsFile={}", known.display())];
        let destination = format!("{}@127.0.0.1", self.user);
        let first = ["ssh", name, &destination, "--"].map(str::to_owned);
        let rest = rest.iter().map(|&word| word.to_owned());
        first.into_iter().chain(options.map(str::to_owned)).chain(known).chain(rest).collect()
    }

    fn ssh(&self, scene: &Scene, name: &str, rest: &[&str]) -> Said {
        let args = self.args(name, rest);
        scene.keypair(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn spawn(&self, scene: &Scene, name: &str, rest: &[&str]) -> Child {
        let args = self.args(name, rest);
        scene.command("kubectl-keypair", &args.iter().map(String::as_str).collect::<Vec<_>>()).spawn().unwrap()
    }
}

/// Nothing remains of a login.
#[track_caller]
fn is_clean(scene: &Scene) {
    assert_eq!(files(&scene.scratch()), []);
    assert_eq!(fs::read_dir(scene.scratch()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_in_every_encoding_logs_in() {
    let scene = Scene::new("encodings").await;
    let mut keys = String::new();
    let mut names = Vec::new();
    for (algorithm, bits, encodings) in [
        ("RSA", "2048", &["PKCS8", "OpenSSH", "PKCS1"][..]),
        ("RSA", "3072", &["PKCS8"]),
        ("ECDSA", "256", &["PKCS8", "OpenSSH", "SEC1"]),
        ("ECDSA", "384", &["PKCS8", "SEC1"]),
        ("ECDSA", "521", &["PKCS8", "SEC1"]),
        ("Ed25519", "256", &["PKCS8", "OpenSSH"]),
    ] {
        for encoding in encodings {
            let name = format!("{algorithm}-{bits}-{encoding}").to_lowercase();
            let flags =
                ["--profile=OpenSSH", "--algorithm", algorithm, "--bits", bits, "--encoding", encoding, "--wait"];
            keys.push_str(&scene.ok(&[&["create", name.as_str()][..], &flags].concat()));
            names.push(name);
        }
    }
    scene.ok(&["create", "stranger", "--wait"]);
    let server = Server::start(&keys).await;
    for name in &names {
        let said = server.ssh(&scene, name, &["echo it is $((6 * 7))"]);
        assert_eq!((said.code, said.out.as_str()), (Some(0), "it is 42\n"), "{name}: {said:?}");
        is_clean(&scene);
    }
    let said = server.ssh(&scene, "stranger", &["true"]);
    assert_eq!((said.code, said.out.as_str()), (Some(255), ""), "{said:?}");
    assert!(said.err.contains("Permission denied (publickey)"), "{said:?}");
    is_clean(&scene);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_input_and_output_are_those_of_ssh() {
    let scene = Scene::new("session").await;
    let key = scene.ok(&["create", "login", "--wait"]);
    let server = Server::start(&key).await;
    for code in [0, 1, 7, 200] {
        assert_eq!(server.ssh(&scene, "login", &[&format!("exit {code}")]).code, Some(code));
    }
    let args = server.args("login", &["cat; echo error >&2"]);
    let output = scene.run("kubectl-keypair", &args.iter().map(String::as_str).collect::<Vec<_>>(), "first\nsecond\n");
    let said = Said::from(output);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("first\nsecond\n", "error\n"));
    // The agent of the command is not forwarded, unless the user asks.
    let said = server.ssh(&scene, "login", &["echo \"agent: $SSH_AUTH_SOCK\""]);
    assert_eq!(said.out, "agent: \n");
    let said = server.ssh(&scene, "login", &["-A", "ssh-add -L"]);
    let forwarded: Vec<&str> = said.out.lines().collect();
    assert_eq!(forwarded, [format!("{} {}/login", key.trim_end(), scene.namespace)]);
    // ssh cannot connect, and says so.
    let said = scene.keypair(&["ssh", "login", "127.0.0.1", "--", "-F", "/dev/null", "-p", "1", "true"]);
    assert_eq!(said.code, Some(255));
    assert!(said.err.contains("Connection refused"), "{said:?}");
    is_clean(&scene);
}

/// The key of another agent is not tried: whether a KeyPair logs in depends on its own key.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_key_of_the_pair_is_used() {
    let scene = Scene::new("only").await;
    scene.ok(&["create", "login", "--wait"]);
    let other = scene.temporary.path().join("other");
    scene.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", other.to_str().unwrap()], "");
    let server = Server::start(&fs::read_to_string(other.with_extension("pub")).unwrap()).await;
    let socket = scene.temporary.path().join("other-agent");
    let mut agent = scene.command("ssh-agent", &["-D", "-a", socket.to_str().unwrap()]).spawn().unwrap();
    soon("the other agent", || socket.exists().then_some(()));
    let added = scene.command("ssh-add", &[other.to_str().unwrap()]).env("SSH_AUTH_SOCK", &socket).status().unwrap();
    assert!(added.success());
    let args = server.args("login", &["true"]);
    let mut command = scene.command("kubectl-keypair", &args.iter().map(String::as_str).collect::<Vec<_>>());
    let said = Said::from(command.env("SSH_AUTH_SOCK", &socket).output().unwrap());
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(said.code, Some(255), "{said:?}");
    assert!(said.err.contains("Permission denied"), "{said:?}");
}

/// A command whose session is open, and its processes.
struct Session {
    child: Child,
    ssh: u32,
    others: Vec<u32>,
}

fn open(scene: &Scene, server: &Server) -> Session {
    let child = server.spawn(scene, "login", &["echo open; exec sleep 300"]);
    let started = soon("a session", || {
        let found = children(child.id());
        (found.len() == 3 && found.iter().any(|process| process.name == "ssh")).then_some(found)
    });
    let names: Vec<&str> = started.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["sh", "ssh", "ssh-agent"]);
    let ssh = started.iter().find(|process| process.name == "ssh").unwrap().id;
    let others = started.iter().map(|process| process.id).filter(|id| *id != ssh).collect();
    let mut session = Session { child, ssh, others };
    let mut first = [0; 5];
    std::io::Read::read_exact(session.child.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(&first, b"open\n");
    session
}

#[track_caller]
fn ended(scene: &Scene, session: &Session) {
    soon("the end of the agent", || session.others.iter().all(|id| !runs(*id)).then_some(()));
    soon("the end of the directory", || (fs::read_dir(scene.scratch()).unwrap().count() == 0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_private_key_is_in_no_file_argument_or_variable() {
    let scene = Scene::new("needles").await;
    let server =
        Server::start(&scene.ok(&["create", "login", "--profile=OpenSSH", "--algorithm=ECDSA", "--wait"])).await;
    let private = scene.ok(&["private", "login"]);
    let openssh = scene.temporary.path().join("openssh");
    fs::write(&openssh, &private).unwrap();
    fs::set_permissions(&openssh, fs::Permissions::from_mode(0o600)).unwrap();
    scene.run("ssh-keygen", &["-q", "-p", "-N", "", "-f", openssh.to_str().unwrap()], "");
    let converted = fs::read_to_string(&openssh).unwrap();
    fs::remove_file(&openssh).unwrap();
    // Every line of base64 of both forms, but those with the public key, which both contain.
    let body =
        |text: &str| -> Vec<String> { text.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect() };
    let needles = [
        vec![body(&private)[0].clone(), "BEGIN PRIVATE".to_owned()],
        vec!["BEGIN OPENSSH".to_owned(), body(&converted)[2].clone()],
    ]
    .concat();
    let mut session = open(&scene, &server);
    let all: Vec<u32> = session.others.iter().copied().chain([session.ssh, session.child.id()]).collect();
    for needle in &needles {
        let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        for id in &all {
            assert!(!exposed(*id).is_empty() && !holds(&exposed(*id)), "process {id} shows {needle}");
        }
        for (name, content) in files(&scene.scratch()) {
            assert!(!holds(&content), "{name} contains {needle}");
        }
    }
    let names: Vec<String> = files(&scene.scratch()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["agent", "key.pub"]);
    let directory: PathBuf = fs::read_dir(scene.scratch()).unwrap().next().unwrap().unwrap().path();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&directory), mode(&directory.join("agent")), mode(&directory.join("key.pub"))),
        (0o700, 0o600, 0o600)
    );
    // The agent holds the key for a limited time only.
    let listed = scene.command("ssh-add", &["-l"]).env("SSH_AUTH_SOCK", directory.join("agent")).output().unwrap();
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 1);
    signal(session.child.id(), Signal::TERM).unwrap();
    assert_eq!(session.child.wait().unwrap().code(), Some(255), "ssh ends on SIGTERM with this code");
    ended(&scene, &session);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_remains_when_a_signal_ends_the_session() {
    let scene = Scene::new("signals").await;
    let server = Server::start(&scene.ok(&["create", "login", "--wait"])).await;
    // ssh itself is killed.
    let mut session = open(&scene, &server);
    signal(session.ssh, Signal::KILL).unwrap();
    assert_eq!(session.child.wait().unwrap().code(), Some(128 + 9));
    ended(&scene, &session);
    // The command gets a signal that it passes on.
    for number in [Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut session = open(&scene, &server);
        signal(session.child.id(), number).unwrap();
        let code = session.child.wait().unwrap().code();
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
        assert!(!runs(session.ssh));
        ended(&scene, &session);
    }
    // It cannot clean up.
    let mut session = open(&scene, &server);
    session.child.kill().unwrap();
    session.child.wait().unwrap();
    ended(&scene, &session);
    signal(session.ssh, Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_told() {
    let scene = Scene::new("missing").await;
    scene.ok(&["create", "login", "--wait"]);
    let mut command = scene.command("kubectl-keypair", &["ssh", "login", "localhost"]);
    let said = Said::from(command.env("PATH", "/nowhere").output().unwrap());
    said.failed(255, &["cannot run ssh-agent", "install the client of OpenSSH"]);
    is_clean(&scene);
}
