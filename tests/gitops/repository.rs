//! A git repository, and an Argo CD application with this source.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use keypair_test_harness::ControlPlane;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::stage::{TOOLS, root};

pub struct Repository {
    directory: TempDir,
}

impl Repository {
    pub fn new() -> Self {
        let repository = Self { directory: tempfile::tempdir().unwrap() };
        repository.git(&["init", "--quiet"]);
        repository
    }

    fn git(&self, args: &[&str]) {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        let mut command = Command::new("git");
        command.arg("-C").arg(self.directory.path()).args(identity).args(args);
        let status = apart(&mut command).status().unwrap();
        assert!(status.success(), "git {args:?}");
    }

    /// Writes a file, or removes it, with the next commit.
    pub fn write(&self, path: &str, text: Option<&str>) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    /// Commits each object as a file with its name, which replaces an existing one.
    pub fn put(&self, objects: &[&Value]) {
        for object in objects {
            self.write(&file(object), Some(&object.to_string()));
        }
        self.commit("put");
    }

    pub fn remove(&self, objects: &[&Value]) {
        for object in objects {
            self.write(&file(object), None);
        }
        self.commit("remove");
    }
}

/// Isolates git from the user's settings, and from the repository in the environment of a git hook.
fn apart(command: &mut Command) -> &mut Command {
    for variable in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"] {
        command.env_remove(variable);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1")
}

/// The name ends with `.yaml`, because JSON is YAML.
fn file(object: &Value) -> String {
    format!("{}-{}.yaml", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

/// The repository, applied to a cluster by Argo CD's engine.
pub struct Application<'a> {
    pub plane: &'a ControlPlane,
    pub repository: &'a Repository,
    pub options: Vec<&'a str>,
}

#[derive(Debug, Deserialize)]
pub struct Report {
    /// The phase of the sync, and the message about it.
    #[serde(default)]
    pub phase: String,
    #[serde(default)]
    pub message: String,
    /// The result for each object, in order.
    #[serde(default)]
    results: Vec<Outcome>,
    resources: Option<Vec<Resource>>,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    object: String,
    status: String,
    message: String,
}

/// An object of the application, compared with git.
#[derive(Debug, Deserialize)]
pub struct Resource {
    pub object: String,
    pub status: String,
    pub prune: bool,
    pub health: String,
    pub message: String,
}

impl Report {
    /// The result for an object, and its message.
    #[track_caller]
    pub fn result(&self, object: &str) -> (&str, &str) {
        let found = self.results.iter().find(|result| result.object == object);
        let found = found.unwrap_or_else(|| panic!("{object}: {self:?}"));
        (&found.status, &found.message)
    }

    /// The objects with a result, in order.
    pub fn done(&self) -> Vec<&str> {
        self.results.iter().map(|result| result.object.as_str()).collect()
    }

    pub fn resources(&self) -> &[Resource] {
        self.resources.as_deref().unwrap_or_default()
    }

    #[track_caller]
    pub fn resource(&self, object: &str) -> &Resource {
        let found = self.resources().iter().find(|resource| resource.object == object);
        found.unwrap_or_else(|| panic!("{object}: {self:?}"))
    }

    pub fn all_healthy(&self) -> bool {
        self.resources().iter().all(|resource| resource.health.is_empty() || resource.health == "Healthy")
    }

    /// The objects that differ from git or do not exist.
    pub fn out_of_sync(&self) -> Vec<&str> {
        let differing = self.resources().iter().filter(|resource| resource.status != "Synced");
        differing.map(|resource| resource.object.as_str()).collect()
    }
}

impl Application<'_> {
    pub fn sync(&self, options: &[&str]) -> Report {
        self.run("sync", options)
    }

    pub fn status(&self) -> Report {
        self.run("status", &[])
    }

    /// Syncs, and expects success.
    #[track_caller]
    pub fn synced(&self, options: &[&str]) -> Report {
        let report = self.sync(options);
        assert_eq!(report.phase, "Succeeded", "{report:?}");
        report
    }

    fn run(&self, command: &str, options: &[&str]) -> Report {
        let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let mut tools = Command::new(&*TOOLS);
        tools
            .arg(command)
            .arg(flag("kubeconfig", self.plane.kubeconfig()))
            .arg(flag("repository", self.repository.directory.path()))
            .arg(flag("health", &root().join("docs/argocd-health.lua")))
            .arg("--application=shop")
            .args(&self.options)
            .args(options)
            .stderr(Stdio::inherit());
        let output = apart(&mut tools).output().unwrap();
        assert!(output.status.success(), "{command} {options:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
