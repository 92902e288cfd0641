//! Runs Prometheus as a process of the test, and calls its HTTP API.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Error,
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use keypair_test_harness::{Operator, eventually, free_port, http_get};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::PATIENCE;

/// How many ports to try, because another process may take a free port first.
const TRIES: usize = 5;

/// A Prometheus server on loopback. Dropping it ends the process by its process ID.
pub struct Prometheus {
    address: SocketAddr,
    // Fields drop in this order: the process ends before its data directory is removed.
    _process: Operator,
    _dir: TempDir,
}

/// A series: its labels, and its values by time in seconds, without values that are not numbers.
#[derive(Debug)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub points: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Matrix {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Prometheus {
    /// Starts a server that scrapes `target` and evaluates the rules in the file `rules`, both at this interval.
    pub async fn start(target: SocketAddr, rules: &Path, interval: Duration) -> Self {
        let dir = tempfile::Builder::new().prefix("prometheus-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let interval = format!("{}ms", interval.as_millis());
        let config = dir.path().join("prometheus.json");
        let content = json!({
            "global": { "scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval },
            "rule_files": [rules],
            "scrape_configs": [{ "job_name": "keypair-operator", "static_configs": [{ "targets": [target] }] }],
        });
        // JSON is valid YAML.
        fs::write(&config, content.to_string()).unwrap();
        let mut last = String::new();
        for _ in 0..TRIES {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
            let args = [
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", dir.path().join("data").display()),
                format!("--web.listen-address={address}"),
                "--log.level=warn".to_owned(),
            ];
            // Prometheus ignores the kubeconfig.
            let env: [(&str, &str); 0] = [];
            let mut process = Operator::spawn(Path::new("prometheus"), Path::new("/dev/null"), args, env)
                .unwrap_or_else(|error| panic!("run hack/test-tools.sh: {error:#}"));
            match process.wait_for_http(address, "/-/ready", PATIENCE).await {
                Ok(()) => {
                    let this = Self { address, _process: process, _dir: dir };
                    this.scrapes().await;
                    return this;
                }
                Err(error) => last = format!("{error:#}"),
            }
        }
        panic!("Prometheus did not start in {TRIES} attempts: {last}");
    }

    /// Waits for the first scrape, which starts some seconds after Prometheus reports that it is ready.
    async fn scrapes(&self) {
        eventually(PATIENCE, "the operator to be scraped", async || {
            let found = self.get("query?query=up%3D%3D1").await?;
            Ok(found["result"][0].is_object().then_some(()))
        })
        .await
        .unwrap();
    }

    /// The values of an expression from `begin` to `end`, one for each `step`.
    pub async fn range(
        &self,
        expression: &str,
        begin: SystemTime,
        end: SystemTime,
        step: Duration,
    ) -> Result<Vec<Series>, Error> {
        let mut query = String::new();
        for byte in expression.bytes() {
            write!(query, "%{byte:02X}").map_err(Error::other)?;
        }
        let [begin, end] = [begin, end].map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64());
        let path = format!("query_range?query={query}&start={begin}&end={end}&step={}", step.as_secs_f64());
        let matrix: Vec<Matrix> = serde_json::from_value(self.get(&path).await?["result"].take())?;
        let series = matrix.into_iter().map(|series| {
            let points = series.values.into_iter().map(|(time, value)| (time, value.parse::<f64>().unwrap()));
            Series { labels: series.metric, points: points.filter(|(_, value)| value.is_finite()).collect() }
        });
        Ok(series.collect())
    }

    /// The state of each alert: inactive, pending or firing.
    pub async fn alerts(&self) -> Result<BTreeMap<String, String>, Error> {
        let found = self.get("rules?type=alert").await?;
        let groups = found["groups"].as_array().unwrap();
        let mut states = BTreeMap::new();
        for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            // Prometheus has not evaluated the rule yet.
            if rule["health"] == "unknown" {
                return Err(Error::other(format!("{rule}")));
            }
            assert_eq!(rule["health"], "ok", "{rule}");
            let text = |field: &str| rule[field].as_str().unwrap().to_owned();
            states.insert(text("name"), text("state"));
        }
        Ok(states)
    }

    /// The data of an API response. A failed request returns an error and can be retried; a response with an error or a warning panics.
    async fn get(&self, path: &str) -> Result<Value, Error> {
        let answer = http_get(self.address, &format!("/api/v1/{path}")).await.map_err(Error::other)?;
        let mut body: Value = serde_json::from_str(&answer.body).map_err(Error::other)?;
        assert_eq!(body["status"], "success", "{path}: {body}");
        assert!(body["warnings"].is_null(), "{path}: {body}");
        Ok(body["data"].take())
    }
}
