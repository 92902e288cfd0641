//! Draws an approximate SVG picture of the dashboard in Grafana.

use std::fmt::Write as _;

use crate::{DRAWN, Place, Shown};

const WIDTH: f64 = 1000.0;
/// The size of a grid unit in pixels.
const COLUMN: f64 = WIDTH / 24.0;
const ROW: f64 = 27.0;
const GAP: f64 = 8.0;
/// The space for the value axis at the left and for the time axis below.
const LEFT: f64 = 52.0;
const BELOW: f64 = 18.0;
/// The height of a panel title and of a legend line.
const TITLE: f64 = 30.0;
const LINE: f64 = 16.0;
/// The approximate width of a character.
const LETTER: f64 = 6.1;
/// Colours that colour-blind readers can distinguish (after Okabe and Ito).
const COLOURS: [&str; 8] = ["#56b4e9", "#e69f00", "#2fbf8f", "#f0e442", "#cc79a7", "#ff7043", "#7aa6ff", "#bbbbbb"];
const STYLE: &str = "text { font: 11px sans-serif; fill: #9fa4b0 } .panel { fill: #181b1f; stroke: #2c3038 } \
    .title { font-size: 12px; font-weight: 600; fill: #d8dae0 } .number { font-size: 38px; font-weight: 600; fill: #2fbf8f } \
    .grid { stroke: #2c3038 } .line { fill: none; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round }";

/// Draws each panel at its position.
pub fn draw(panels: &[Shown]) -> String {
    let ends = panels.iter().map(|shown| shown.panel.grid_pos.y + shown.panel.grid_pos.h);
    let height = ends.fold(0.0, f64::max) * ROW + GAP;
    let times = || panels.iter().flat_map(|shown| shown.series.values().flatten()).map(|(time, _)| *time);
    let time = Axis { from: times().fold(f64::INFINITY, f64::min), to: times().fold(0.0, f64::max) };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\">\n<title>The dashboard of keypair-operator</title>\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#101216\"/>\n"
    );
    for shown in panels {
        panel(&mut svg, shown, &time);
    }
    svg + "</svg>\n"
}

/// The range of an axis of a panel.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    /// The position of a value as a fraction of the axis.
    fn share(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }
}

fn panel(svg: &mut String, shown: &Shown, time: &Axis) {
    let Place { x, y, w, h } = shown.panel.grid_pos;
    let (x, y) = (x * COLUMN + GAP / 2.0, y * ROW + GAP);
    let (w, h) = (w * COLUMN - GAP, h * ROW - GAP);
    put(svg, &format!("<g transform=\"translate({x:.1} {y:.1})\">"));
    put(svg, &format!("<rect class=\"panel\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"3\"/>"));
    text(svg, (10.0, 19.0), "class=\"title\"", &shown.panel.title);
    if shown.panel.kind == "stat" {
        let last = shown.series.values().next().and_then(|points| points.last()).map_or(0.0, |(_, value)| *value);
        let middle = (w / 2.0, h / 2.0 + 24.0);
        text(
            svg,
            middle,
            "class=\"number\" text-anchor=\"middle\"",
            &label(last, &shown.panel.field_config.defaults.unit, last),
        );
    } else {
        lines(svg, shown, time, (w, h));
    }
    put(svg, "</g>");
}

fn lines(svg: &mut String, shown: &Shown, time: &Axis, (w, h): (f64, f64)) {
    let legend = legend(shown, w);
    let rows = legend.last().map_or(0.0, |(_, y)| y + LINE);
    let (right, bottom) = (w - 14.0, h - rows - BELOW - 6.0);
    let unit = &shown.panel.field_config.defaults.unit;
    let largest = shown.series.values().flatten().map(|(_, value)| *value).fold(0.0, f64::max);
    let value = Axis { from: 0.0, to: round_up(largest) };
    let height = |share: f64| bottom - share * (bottom - TITLE - 4.0);
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let y = height(tick);
        put(svg, &format!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right:.1}\"/>"));
        text(svg, (LEFT - 6.0, y + 4.0), "text-anchor=\"end\"", &label(tick * value.to, unit, value.to));
    }
    let across = |at: f64| LEFT + time.share(at) * (right - LEFT);
    for seconds in (0_u32..).step_by(20).take_while(|seconds| time.from + f64::from(*seconds) <= time.to) {
        let clock = format!("{}:{:02}", seconds / 60, seconds % 60);
        text(svg, (across(time.from + f64::from(seconds)), bottom + 15.0), "text-anchor=\"middle\"", &clock);
    }
    let names = shown.series.iter().zip(legend).zip(COLOURS.iter().cycle());
    for (((name, points), (left, down)), colour) in names {
        let mut path = String::new();
        let mut before = f64::NEG_INFINITY;
        for (at, amount) in points {
            // Leave a gap where values are missing.
            let command = if at - before > 1.5 * DRAWN.scrape.as_secs_f64() { 'M' } else { 'L' };
            put_point(&mut path, command, across(*at), height(value.share(*amount)));
            before = *at;
        }
        if !path.is_empty() {
            put(svg, &format!("<path class=\"line\" stroke=\"{colour}\" d=\"{path}h0\"/>"));
        }
        let y = h - rows + down + 4.0;
        put(svg, &format!("<path stroke=\"{colour}\" stroke-width=\"3\" d=\"M{left:.1} {:.1}h14\"/>", y - 4.0));
        text(svg, (left + 20.0, y), "", name);
    }
}

/// The position of each legend entry, on as many lines as necessary.
fn legend(shown: &Shown, width: f64) -> Vec<(f64, f64)> {
    let (mut x, mut y) = (12.0, 0.0);
    let mut places = Vec::new();
    for name in shown.series.keys() {
        let needed = 34.0 + name.chars().map(|_| LETTER).sum::<f64>();
        if x > 12.0 && x + needed > width {
            (x, y) = (12.0, y + LINE);
        }
        places.push((x, y));
        x += needed;
    }
    places
}

/// The next round number for the end of an axis that divides by four.
fn round_up(largest: f64) -> f64 {
    const ENDS: [f64; 12] = [1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 3.2, 4.0, 5.0, 6.0, 8.0, 10.0];
    let power = 10_f64.powf(largest.log10().floor());
    ENDS.into_iter().map(|end| end * power).find(|end| *end >= largest).unwrap_or(1.0)
}

/// A value with its unit, with a precision that suits an axis up to `end`.
fn label(value: f64, unit: &str, end: f64) -> String {
    let (value, unit) = match unit {
        _ if value == 0.0 => (0.0, ""),
        "s" if end < 1.0 => (value * 1000.0, " ms"),
        "s" => (value, " s"),
        "percentunit" => (value * 100.0, " %"),
        "ops" | "reqps" => (value, "/s"),
        "short" => (value, ""),
        other => panic!("the picture does not support the unit {other}"),
    };
    let digits = format!("{value:.3}");
    format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    put(svg, &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{content}</text>"));
}

fn put(svg: &mut String, line: &str) {
    svg.push_str(line);
    svg.push('\n');
}

fn put_point(path: &mut String, command: char, x: f64, y: f64) {
    write!(path, "{command}{x:.1} {y:.1}").unwrap();
}
