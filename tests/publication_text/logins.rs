//! `sshd` enforces every option.

use keypair_operator::domain::publication::KeyOptions;

use crate::{
    Key, authorized_keys, path, run,
    server::{Login, Server},
    texts,
};

struct Scene {
    server: Server,
    key: Key,
}

impl Scene {
    async fn new() -> Self {
        Self { server: Server::start("").await, key: Key::new() }
    }

    fn authorize(&self, options: KeyOptions) {
        self.server.authorize(&authorized_keys(vec![(options, vec![&self.key])]));
    }

    /// Logs in with these options of the key.
    fn login(&self, options: KeyOptions, args: &[&str], command: &[&str]) -> Login {
        self.authorize(options);
        self.server.ssh(&self.key, args, command)
    }

    fn accepts(&self, options: KeyOptions) -> bool {
        let login = self.login(options, &[], &["echo in"]);
        let is_accepted = login.is_accepted();
        assert_eq!(login.out, if is_accepted { "in\n" } else { "" });
        is_accepted
    }
}

#[tokio::test]
async fn a_key_logs_in_and_others_do_not() {
    let scene = Scene::new().await;
    assert!(scene.accepts(KeyOptions::default()));
    assert!(!scene.server.ssh(&Key::new(), &[], &["echo in"]).is_accepted());
    scene.server.authorize("");
    assert!(!scene.server.ssh(&scene.key, &[], &["echo in"]).is_accepted());
}

#[tokio::test]
async fn from_limits_clients() {
    let scene = Scene::new().await;
    for (from, accepts) in [
        (&["127.0.0.1"] as &[&str], true),
        (&["127.0.0.0/8"], true),
        (&["10.0.0.0/8", "127.0.0.*"], true),
        (&["*", "!10.0.0.1"], true),
        (&["10.0.0.0/8"], false),
        (&["127.0.0.2"], false),
        (&["127.0.0.0/8", "!127.0.0.1"], false),
        (&["!127.0.0.0/8", "*"], false),
        (&["host.example.com", "::1"], false),
    ] {
        assert_eq!(scene.accepts(KeyOptions { from: texts(from), ..KeyOptions::default() }), accepts, "{from:?}");
    }
}

#[tokio::test]
async fn the_command_is_run_whatever_the_client_wants() {
    let scene = Scene::new().await;
    for (command, out) in [
        ("echo forced", "forced\n"),
        (r#"echo "a  b" 'c"d'"#, "a  b c\"d\n"),
        (r#"printf '%s\n' "\"" 'a\b' "x,y ssh-rsa AAAA # z""#, "\"\na\\b\nx,y ssh-rsa AAAA # z\n"),
        (r#"printf '%s' "密钥 é""#, "密钥 é"),
        ("echo $SSH_ORIGINAL_COMMAND", "echo wanted\n"),
    ] {
        let options = KeyOptions { command: Some(command.to_owned()), ..KeyOptions::default() };
        let login = scene.login(options, &[], &["echo wanted"]);
        assert_eq!((login.code, login.out.as_str()), (Some(0), out), "{command}: {}", login.err);
    }
}

#[tokio::test]
async fn the_key_expires() {
    let scene = Scene::new().await;
    for (time, accepts) in [
        ("2099-01-01T00:00:00Z", true),
        ("2099-01-01T00:00:00-08:00", true),
        ("2020-01-01T00:00:00Z", false),
        ("1970-01-01T00:00:01Z", false),
    ] {
        let options = KeyOptions { expiry_time: Some(time.to_owned()), ..KeyOptions::default() };
        assert_eq!(scene.accepts(options), accepts, "{time}");
    }
    // The time is in UTC, whatever the time zone of the server: 90 minutes ago and from now.
    let now = jiff::Timestamp::now();
    for (minutes, accepts) in [(-90, false), (90, true)] {
        let time = now + jiff::SignedDuration::from_mins(minutes);
        let text = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        assert_eq!(
            scene.accepts(KeyOptions { expiry_time: Some(text), ..KeyOptions::default() }),
            accepts,
            "{minutes}"
        );
    }
}

#[tokio::test]
async fn a_terminal_needs_permission() {
    let scene = Scene::new().await;
    for (restrict, pty, has_terminal) in [
        (None, None, true),
        (None, Some(true), true),
        (None, Some(false), false),
        (Some(false), None, true),
        (Some(true), None, false),
        (Some(true), Some(true), true),
        (Some(true), Some(false), false),
    ] {
        let login = scene.login(KeyOptions { restrict, pty, ..KeyOptions::default() }, &["-tt"], &["tty"]);
        assert_eq!(login.out.starts_with("/dev/"), has_terminal, "{restrict:?} {pty:?}: {login:?}");
        assert_eq!(login.err.contains("PTY allocation request failed"), !has_terminal, "{login:?}");
    }
}

#[tokio::test]
async fn local_forwarding_needs_permission() {
    let scene = Scene::new().await;
    let port = scene.server.port();
    let here = format!("127.0.0.1:{port}");
    let opens = |options: KeyOptions, to: &str| {
        let login = scene.login(options, &["-W", to], &[]);
        assert!(login.out.starts_with("SSH-2.0") || login.err.contains("administratively prohibited"), "{login:?}");
        login.out.starts_with("SSH-2.0")
    };
    let permit = |elements: &[&str]| KeyOptions { permit_open: texts(elements), ..KeyOptions::default() };
    assert!(opens(KeyOptions::default(), &here));
    for (elements, is_permitted) in [
        (&[here.as_str()] as &[&str], true),
        (&["127.0.0.1:*"], true),
        (&[&format!("*:{port}")], true),
        (&["*:*"], true),
        (&["db.example.com:5432", &here], true),
        (&["127.0.0.1:1"], false),
        (&[&format!("localhost:{port}")], false),
        (&["[::1]:*"], false),
    ] {
        assert_eq!(opens(permit(elements), &here), is_permitted, "{elements:?}");
    }
    for (restrict, port_forwarding, is_permitted) in [
        (None, Some(false), false),
        (None, Some(true), true),
        (Some(true), None, false),
        (Some(true), Some(true), true),
        (Some(true), Some(false), false),
    ] {
        let options = |elements: &[&str]| KeyOptions { restrict, port_forwarding, ..permit(elements) };
        assert_eq!(opens(options(&[]), &here), is_permitted, "{restrict:?} {port_forwarding:?}");
        assert_eq!(opens(options(&[&here]), &here), is_permitted, "{restrict:?} {port_forwarding:?}");
        assert!(!opens(options(&["127.0.0.1:1"]), &here), "{restrict:?} {port_forwarding:?}");
    }
}

#[tokio::test]
async fn remote_forwarding_needs_permission() {
    let scene = Scene::new().await;
    let port = free_port();
    let forward = format!("127.0.0.1:{port}:127.0.0.1:1");
    let listens = |options: KeyOptions| {
        // The session before, or another program, may have the port for a moment.
        (0..10).any(|_| {
            let login = scene.login(options.clone(), &["-o", "ExitOnForwardFailure=yes", "-R", &forward], &["echo in"]);
            assert!(login.out == "in\n" || login.err.contains("remote port forwarding failed"), "{login:?}");
            login.out == "in\n"
        })
    };
    let permit = |elements: &[&str]| KeyOptions { permit_listen: texts(elements), ..KeyOptions::default() };
    assert!(listens(KeyOptions::default()));
    for (elements, is_permitted) in [
        (&[port.to_string().as_str()] as &[&str], true),
        (&[&format!("127.0.0.1:{port}")], true),
        (&["*"], true),
        (&["1", &format!("127.*:{port}")], true),
        (&["1"], false),
        (&[&format!("10.0.0.1:{port}")], false),
    ] {
        assert_eq!(listens(permit(elements)), is_permitted, "{elements:?}");
    }
    assert!(!listens(KeyOptions { restrict: Some(true), ..permit(&["*"]) }));
    assert!(listens(KeyOptions { restrict: Some(true), port_forwarding: Some(true), ..permit(&["*"]) }));
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_session_has_the_environment() {
    let scene = Scene { server: Server::start("PermitUserEnvironment yes").await, key: Key::new() };
    let variables = [("KP_A", "1"), ("KP_B", r#"two "quoted" \ words, x=y # z"#), ("KP_C", "")];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let options = KeyOptions { environment, ..KeyOptions::default() };
    let login = scene.login(options, &[], &["env | grep ^KP_ | sort"]);
    assert_eq!(login.out, "KP_A=1\nKP_B=two \"quoted\" \\ words, x=y # z\nKP_C=\n", "{}", login.err);
}

#[tokio::test]
async fn agent_forwarding_needs_permission() {
    let scene = Scene::new().await;
    // `ssh` wants to forward an agent if there is a socket that accepts connections.
    let socket = scene.server.directory.path().join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let agent = format!("IdentityAgent={}", path(&socket));
    for (restrict, agent_forwarding, is_permitted) in
        [(None, None, true), (None, Some(false), false), (Some(true), None, false), (Some(true), Some(true), true)]
    {
        let options = KeyOptions { restrict, agent_forwarding, ..KeyOptions::default() };
        let login = scene.login(options, &["-A", "-o", &agent], &["echo \"[$SSH_AUTH_SOCK]\""]);
        assert_eq!((login.code, login.out != "[]\n"), (Some(0), is_permitted), "{restrict:?}: {login:?}");
    }
}

#[tokio::test]
async fn x11_forwarding_needs_permission() {
    // There may be no xauth; what it would do is not needed.
    let server = Server::start("X11Forwarding yes\nXAuthLocation /bin/true").await;
    let scene = Scene { server, key: Key::new() };
    for (restrict, x11_forwarding, is_permitted) in
        [(None, None, true), (None, Some(false), false), (Some(true), None, false), (Some(true), Some(true), true)]
    {
        let options = KeyOptions { restrict, x11_forwarding, ..KeyOptions::default() };
        scene.authorize(options);
        let args = ["-o", "ForwardX11=yes", "-o", "ForwardX11Trusted=yes"];
        let identity = scene.key.write(scene.server.directory.path(), "identity-x11");
        let login =
            scene.server.ssh_in(&[("DISPLAY", "127.0.0.1:99")], &["-i", &identity], &args, &["echo \"[$DISPLAY]\""]);
        assert_eq!((login.code, login.out != "[]\n"), (Some(0), is_permitted), "{restrict:?}: {login:?}");
    }
}

/// Options whose effect would need files of the user, a device or a security key; `sshd` tells which it has read.
#[tokio::test]
async fn sshd_reports_the_other_options() {
    let scene = Scene::new().await;
    let options = |options: KeyOptions| {
        let login = scene.login(options, &["-v"], &["true"]);
        let options = login.options();
        options.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let none = KeyOptions::default;
    let all = ["agent-forwarding", "port-forwarding", "pty", "user-rc", "x11-forwarding"];
    assert_eq!(options(none()), all);
    assert_eq!(
        options(KeyOptions { user_rc: Some(false), ..none() }),
        all.map(str::to_owned).into_iter().filter(|name| name != "user-rc").collect::<Vec<_>>()
    );
    assert_eq!(options(KeyOptions { restrict: Some(true), user_rc: Some(true), ..none() }), ["user-rc"]);
    let everything = KeyOptions {
        restrict: Some(true),
        agent_forwarding: Some(true),
        port_forwarding: Some(true),
        pty: Some(true),
        user_rc: Some(true),
        x11_forwarding: Some(true),
        ..none()
    };
    assert_eq!(options(everything), all);
    let tunnel = options(KeyOptions { tunnel: Some("7".to_owned()), restrict: Some(true), ..none() });
    assert_eq!(tunnel, ["tun=7"]);
    let verified = options(KeyOptions { verify_required: Some(true), restrict: Some(true), ..none() });
    assert_eq!(verified, ["uv"]);
    let untouched = options(KeyOptions { no_touch_required: Some(true), restrict: Some(true), ..none() });
    assert_eq!(untouched, ["no-touch-required"]);
}

#[tokio::test]
async fn a_certificate_authority_vouches_for_its_principals() {
    let server = Server::start("").await;
    let (authority, user) = (Key::new(), Key::new());
    let directory = server.directory.path();
    let ca = authority.write(directory, "ca");
    let identity = user.write(directory, "user");
    let sign = |principals: &str| {
        run("ssh-keygen", &["-q", "-s", &ca, "-I", "test", "-n", principals, &format!("{identity}.pub")]).unwrap();
    };
    let login = |options: KeyOptions, key: &Key| {
        server.authorize(&authorized_keys(vec![(options, vec![key])]));
        let certificate = format!("CertificateFile={identity}-cert.pub");
        server.ssh_with(&["-i", &identity, "-o", &certificate], &[], &["echo in"]).is_accepted()
    };
    let options = |principals: &[&str]| KeyOptions {
        cert_authority: Some(true),
        principals: texts(principals),
        ..KeyOptions::default()
    };
    sign("deploy,admin");
    for (principals, accepts) in [
        (&["deploy"] as &[&str], true),
        (&["other", "admin"], true),
        (&["other"], false),
        // The name of the user counts.
        (&[], false),
    ] {
        assert_eq!(login(options(principals), &authority), accepts, "{principals:?}");
    }
    // Without the option, the key of the authority is a key like others.
    assert!(!login(KeyOptions::default(), &authority));
    assert!(login(KeyOptions::default(), &user));
    sign(&server.user);
    assert!(login(options(&[]), &authority));
    assert!(!login(options(&["deploy"]), &authority));
    // Another authority.
    assert!(!login(options(&[]), &Key::new()));
    // With it, the key of the authority itself does not log in.
    server.authorize(&authorized_keys(vec![(options(&[]), vec![&authority])]));
    assert!(!server.ssh_with(&["-i", &ca], &[], &["echo in"]).is_accepted());
}

#[tokio::test]
async fn each_key_of_a_file_has_its_own_options() {
    let server = Server::start("").await;
    let keys: Vec<Key> = (0..4).map(|_| Key::new()).collect();
    let forced = |text: &str| KeyOptions { command: Some(format!("echo \"{text}\"")), ..KeyOptions::default() };
    server.authorize(&authorized_keys(vec![
        (forced("first"), vec![&keys[0], &keys[1]]),
        (KeyOptions { from: texts(&["10.0.0.0/8"]), ..KeyOptions::default() }, vec![&keys[2]]),
        // The first place counts.
        (forced("second"), vec![&keys[1], &keys[2], &keys[3]]),
    ]));
    for (key, out) in keys.iter().zip(["first\n", "first\n", "", "second\n"]) {
        let login = server.ssh(key, &[], &["true"]);
        assert_eq!((login.is_accepted(), login.out.as_str()), (!out.is_empty(), out), "{login:?}");
    }
}
