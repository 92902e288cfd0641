//! `keypair-operator fingerprint`, compared with ssh-keygen.

use std::{fs, io::ErrorKind, process::Command};

use crate::{assert_not_repeated, execute, execute_with, repository, vector};

/// The fingerprint that `ssh-keygen -l` prints; `None` if ssh-keygen is not installed.
fn ssh_keygen(path: &str, hash: &str) -> Option<String> {
    let output = match Command::new("ssh-keygen").args(["-l", "-E", hash, "-f", path]).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("SKIPPED: ssh-keygen is not installed");
            return None;
        }
        Err(error) => panic!("ssh-keygen: {error}"),
    };
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn without_a_profile_it_prints_what_ssh_keygen_prints() {
    let directory = repository("tests/vectors/public");
    let mut compared = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // For a public key line, ssh-keygen also prints the comment, and it calls a certificate RSA-CERT.
        let is_line = path.extension().is_some_and(|extension| extension == "pub");
        // ssh-keygen supports ML-DSA only since version 10.4. Those rows of public.tsv come from OpenSSH's own test data.
        if !is_line || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mldsa44")) {
            continue;
        }
        let path = path.display().to_string();
        let output = execute(&["fingerprint", &path]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{path}");
        let lines: Vec<&str> = output.stdout.lines().collect();
        for (line, hash) in lines.iter().zip(["sha256", "md5"]) {
            let Some(expected) = ssh_keygen(&path, hash) else { return };
            let fields = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(fields(line), fields(&expected), "{path}");
            compared += 1;
        }
    }
    assert!(compared >= 16, "{compared}");
}

#[test]
fn each_profile_has_its_format() {
    let path = repository("tests/vectors/public/rsa2048.pub").display().to_string();
    let printed = |args: &[&str]| {
        let output = execute(&[&["fingerprint", &path], args].concat());
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?}");
        output.stdout
    };
    let field = |hash, prefix: &str| {
        ssh_keygen(&path, hash).map(|line| line.split(' ').nth(1).unwrap().trim_start_matches(prefix).to_owned())
    };
    let (Some(md5), Some(sha256)) = (field("md5", "MD5:"), field("sha256", "")) else { return };
    assert_eq!(printed(&["--profile", "Alibaba"]), format!("{md5}\n"));
    assert_eq!(printed(&["--profile", "Volcengine"]), format!("{}\n", md5.replace(':', "")));
    assert_eq!(printed(&["--profile", "OpenSSH"]), format!("{sha256}\n"));
    assert_eq!(printed(&["--profile", "openssh"]), format!("{sha256}\n"));
}

/// UCloud hashes the text of the key, not the key blob, so users can verify the fingerprint with any MD5 program.
#[test]
fn the_ucloud_fingerprint_covers_project_identifier_and_body() {
    let body = vector("public/rsa2048.pub");
    let id = "kp-0123456789abcdefghij";
    let args = ["fingerprint", "--profile=UCloud", "--project=org-shop", "--key-pair-id", id, "-"];
    let output = execute_with(&args, &body);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let path = crate::file("ucloud.txt", &format!("org-shop{id}|{}", body.trim()));
    let Ok(openssl) = Command::new("openssl").args(["dgst", "-md5", "-c", &path]).output() else {
        eprintln!("SKIPPED: openssl is not installed");
        return;
    };
    let expected = String::from_utf8(openssl.stdout).unwrap();
    assert_eq!(output.stdout.trim(), expected.rsplit(' ').next().unwrap().trim());
}

#[test]
fn standard_input_is_the_default() {
    let body = vector("public/ed25519.pub");
    let from_file = execute(&["fingerprint", &repository("tests/vectors/public/ed25519.pub").display().to_string()]);
    for args in [&["fingerprint"][..], &["fingerprint", "-"]] {
        assert_eq!(execute_with(args, &body).stdout, from_file.stdout);
    }
    assert!(from_file.stdout.contains("(ED25519)") || from_file.stdout.contains("(Ed25519)"), "{}", from_file.stdout);
}

#[test]
fn an_invalid_public_key_is_refused_without_being_quoted() {
    let private = ["rsa2048.pkcs8", "rsa2048.traditional", "ed25519.openssh"];
    let bodies = private.map(|name| vector(&format!("private/plain/{name}")));
    for body in
        bodies.iter().map(String::as_str).chain(["", "ssh-rsa", "hello, world", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB"])
    {
        let output = execute_with(&["fingerprint"], body);
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
        assert!(output.stderr.starts_with("error: "), "{}", output.stderr);
        assert_not_repeated(body, &output);
    }
    let missing = execute(&["fingerprint", "/no/such/key.pub"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("/no/such/key.pub"), "{}", missing.stderr);
}

/// Prints comments as `ssh-keygen -l` does, and names an invisible character.
#[test]
fn comments_are_read_as_ssh_keygen_reads_them() {
    let key = vector("public/ed25519.pub");
    let key = key.trim().rsplit_once(" vector").unwrap().0;
    for comment in ["ops\tlab top", "# ops", "#ops", "ops # lab", "\"ops lab\"", "'ops", "ops\\", "1024 35 1"] {
        let path = crate::file("comment.pub", &format!("{key} {comment}\n"));
        let output = execute(&["fingerprint", &path]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        if let Some(expected) = ssh_keygen(&path, "sha256") {
            let ours = output.stdout.lines().next().unwrap().to_lowercase();
            assert_eq!(ours, expected.trim().to_lowercase());
        }
    }
    for (body, name) in [
        (format!("\u{feff}{key} me\n"), "U+FEFF BYTE ORDER MARK, at character 1 "),
        (format!("{key} m\u{202e}e\n"), "U+202E RIGHT-TO-LEFT OVERRIDE"),
        (key.replacen(' ', "\u{a0}", 1), "U+00A0 NO-BREAK SPACE, at character 12 "),
        (key.replacen("AAAA", "AAAA\u{200b}", 1), "U+200B ZERO WIDTH SPACE, at character 17 "),
    ] {
        let output = execute_with(&["fingerprint"], &body);
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
        assert!(output.stderr.contains(name) && output.stderr.lines().count() == 1, "{}", output.stderr);
        assert_not_repeated(&body, &output);
    }
}
