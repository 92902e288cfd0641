//! Runs the queries of the dashboard and the alerts in a real Prometheus that scrapes a real operator: every query returns data.
//!
//! With `UPDATE_PICTURE=1` the test runs a longer load and draws the results to docs/dashboard.svg.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a panic fails the test")]

mod load;
mod picture;
mod prometheus;

use std::{
    collections::BTreeMap,
    fs,
    io::Error,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use keypair_operator::app;
use keypair_test_harness::{ControlPlane, FaultProxy, Operator, Options, eventually, free_port};
use serde::Deserialize;
use tokio::time::sleep;

use self::{
    load::Load,
    prometheus::{Prometheus, Series},
};

const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");
const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/keypair-operator/files/alerts.yaml");
const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/keypair-operator/files/dashboard.json");
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dashboard.svg");
/// How long to wait for an expected event on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Deserialize)]
struct Dashboard {
    panels: Vec<Panel>,
}

/// A panel of the dashboard. Its position is in grid units; the dashboard is 24 units wide.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Panel {
    title: String,
    #[serde(rename = "type")]
    kind: String,
    grid_pos: Place,
    field_config: FieldConfig,
    targets: Vec<Target>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Place {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

#[derive(Debug, Deserialize)]
struct FieldConfig {
    defaults: Defaults,
}

#[derive(Debug, Deserialize)]
struct Defaults {
    unit: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    expr: String,
    legend_format: String,
}

impl Target {
    /// The query as Grafana sends it.
    fn question(&self, rate_interval: Duration) -> String {
        let question = self.expr.replace("$__rate_interval", &format!("{}s", rate_interval.as_secs()));
        assert!(!question.contains('$'), "Prometheus does not support variables: {question}");
        question
    }

    /// The legend of a series.
    fn legend(&self, series: &Series) -> String {
        let mut legend = self.legend_format.clone();
        for (name, value) in &series.labels {
            legend = legend.replace(&format!("{{{{{name}}}}}"), value);
        }
        assert!(!legend.contains("{{"), "the legend refers to a label that the series lacks: {legend}");
        legend
    }
}

fn dashboard() -> Vec<Panel> {
    let dashboard: Dashboard = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    assert!(dashboard.panels.len() > 10);
    dashboard.panels
}

/// The scrape interval, the rate interval (Grafana uses at least four scrape intervals), the minimum duration of the load, and
/// the pause between its rounds.
struct Pace {
    scrape: Duration,
    rate: Duration,
    lasts: Duration,
    rest: Duration,
}

const QUICK: Pace = Pace {
    scrape: Duration::from_millis(500),
    rate: Duration::from_secs(2),
    lasts: Duration::from_secs(4),
    rest: Duration::from_millis(200),
};
const DRAWN: Pace = Pace {
    scrape: Duration::from_secs(1),
    rate: Duration::from_secs(8),
    lasts: Duration::from_secs(100),
    rest: Duration::from_millis(300),
};

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_alert_has_an_answer() {
    let drawing = std::env::var_os("UPDATE_PICTURE").is_some();
    let pace = if drawing { DRAWN } else { QUICK };
    let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard.crd.yaml");
    fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
    let plane = ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap();
    let client = plane.client().await.unwrap();
    let proxy = FaultProxy::forwarding(client.clone()).await.unwrap();
    let kubeconfig = proxy.kubeconfig().unwrap();
    let [metrics, webhook] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port().unwrap())));
    let args = [
        "run".to_owned(),
        "--quota=100".to_owned(),
        "--key-pool=4".to_owned(),
        format!("--metrics-addr={metrics}"),
        format!("--webhook-addr={webhook}"),
        format!("--webhook-url=https://{webhook}/"),
    ];
    let mut operator = Operator::spawn(Path::new(BINARY), kubeconfig.as_ref(), args, [("RUST_LOG", "info")]).unwrap();
    operator.wait_for_http(metrics, "/readyz", PATIENCE).await.unwrap();
    let prometheus = Prometheus::start(metrics, Path::new(ALERTS), pace.scrape).await;
    let load = Load::new(&plane, client, proxy).await;
    let begin = SystemTime::now();
    let panels = dashboard();
    let observed = async {
        sleep(pace.lasts).await;
        let shown = eventually(PATIENCE, "data on every panel", async || {
            Ok(Some(answers(&panels, &prometheus, begin, &pace).await?))
        })
        .await
        .unwrap();
        provoked(&prometheus).await;
        shown
    };
    let shown = tokio::select! {
        () = load.run(pace.rest) => panic!("the load ended too early"),
        shown = observed => shown,
    };
    if drawing {
        fs::write(PICTURE, picture::draw(&shown)).unwrap();
    }
}

/// Every alert can be evaluated, and the load triggers three of them: two stay pending for an hour, the other fires at once.
async fn provoked(prometheus: &Prometheus) {
    eventually(PATIENCE, "the alerts that the load provokes", async || {
        let states = prometheus.alerts().await?;
        assert!(states.len() > 5, "{states:?}");
        let state = |name: &str| states[name].as_str();
        let pending = ["KeyPairQuotaNearlyUsed", "KeyPairRotationOverdue"].map(state);
        if (pending, state("KeyPairPrivateKeyInDanger")) == (["pending", "pending"], "firing") {
            return Ok(Some(()));
        }
        Err(Error::other(format!("{states:?}")).into())
    })
    .await
    .unwrap();
}

/// The data that a panel shows.
struct Shown<'a> {
    panel: &'a Panel,
    /// Keyed by legend.
    series: BTreeMap<String, Vec<(f64, f64)>>,
}

/// The data of every panel since `begin`. Returns an error if a query returns no data or only zeros.
async fn answers<'a>(
    panels: &'a [Panel],
    prometheus: &Prometheus,
    begin: SystemTime,
    pace: &Pace,
) -> Result<Vec<Shown<'a>>, Error> {
    let now = SystemTime::now();
    let mut shown = Vec::new();
    for panel in panels {
        let mut series = BTreeMap::new();
        for target in &panel.targets {
            let question = target.question(pace.rate);
            let found = prometheus.range(&question, begin, now, pace.scrape).await?;
            if !found.iter().flat_map(|series| &series.points).any(|(_, value)| *value > 0.0) {
                return Err(Error::other(format!("{:?} shows nothing of {question}: {found:?}", panel.title)));
            }
            for one in found {
                let legend = target.legend(&one);
                let other = series.insert(legend.clone(), one.points);
                assert!(other.is_none(), "{:?} has two series with the legend {legend}", panel.title);
            }
        }
        shown.push(Shown { panel, series });
    }
    Ok(shown)
}

/// Checks the rules with `promtool`.
#[test]
fn the_alerts_are_well_formed() {
    let checked = Command::new("promtool").args(["check", "rules", ALERTS]).output();
    let checked = checked.unwrap_or_else(|error| panic!("run hack/test-tools.sh: {error}"));
    assert!(checked.status.success(), "{checked:?}");
}

/// `promtool` evaluates the alerts: one fires after a day of waiting, the other after an hour with an overdue key.
#[test]
fn the_alerts_about_rotation_fire_in_time() {
    let test = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rotation-alerts.yaml");
    fs::write(&test, include_str!("rotation-alerts.yaml").replace("ALERTS", ALERTS)).unwrap();
    let checked = Command::new("promtool").args(["test", "rules"]).arg(&test).output();
    let checked = checked.unwrap_or_else(|error| panic!("run hack/test-tools.sh: {error}"));
    assert!(checked.status.success(), "{checked:?}");
}

/// The picture keeps the values of the day when it was drawn, but must show the current panels.
#[test]
fn the_picture_shows_every_panel() {
    let picture = fs::read_to_string(PICTURE).unwrap();
    let titles: Vec<&str> =
        picture.lines().filter_map(|line| line.split_once("class=\"title\">")?.1.strip_suffix("</text>")).collect();
    let panels = dashboard();
    let expected: Vec<&str> = panels.iter().map(|panel| panel.title.as_str()).collect();
    assert!(titles == expected, "docs/dashboard.svg is outdated: run `make picture`");
}
