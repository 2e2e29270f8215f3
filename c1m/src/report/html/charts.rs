//! Plots as SVG without text: what is said about them is HTML, which stays readable at every width.

use std::fmt::Write as _;

use maud::{Markup, html};

/// The width of every plot in its own units.
const WIDTH: f64 = 1000.0;

/// Lines over time: each with its class and its values at `at_ms`, all on one scale from 0 to `most`.
pub(super) fn lines(at_ms: &[u64], lines: &[(&str, Vec<u64>)], most: u64, height: u32) -> Markup {
    let last = at_ms.last().copied().unwrap_or(0).max(1) as f64;
    let points = |values: &[u64]| {
        let mut points = String::new();
        for (at, value) in at_ms.iter().zip(values) {
            let x = *at as f64 / last * WIDTH;
            let y = f64::from(height) * (1.0 - *value as f64 / most.max(1) as f64);
            // Writing to a String cannot fail.
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        points
    };
    html! {
        svg.plot viewBox={ "0 -2 1000 " (height + 4) } height=(height) preserveAspectRatio="none"
            role="img" aria-label="lines over time; the numbers are in the table below" {
            @for (class, values) in lines {
                polyline class=(class) points=(points(values).trim_end()) {}
            }
        }
    }
}

/// A bar for each interval that is not 0, the highest as high as the plot.
pub(super) fn bars(at_ms: &[u64], values: &[u64], height: u32) -> Markup {
    let last = at_ms.last().copied().unwrap_or(0).max(1) as f64;
    let most = values.iter().copied().max().unwrap_or(0).max(1) as f64;
    let mut start = 0_u64;
    let mut rects = Vec::new();
    for (at, value) in at_ms.iter().zip(values) {
        let (from, to) = (start as f64 / last * WIDTH, *at as f64 / last * WIDTH);
        start = *at;
        if *value > 0 {
            let high = (*value as f64 / most * f64::from(height)).max(1.0);
            rects.push((from, (to - from).max(2.0), high));
        }
    }
    html! {
        svg.plot viewBox={ "0 0 1000 " (height) } height=(height) preserveAspectRatio="none"
            role="img" aria-label="losses over time; the numbers are in the table below" {
            @for (x, width, high) in rects {
                rect x=(format!("{x:.1}")) y=(format!("{:.1}", f64::from(height) - high))
                    width=(format!("{width:.1}")) height=(format!("{high:.1}")) {}
            }
        }
    }
}

/// A bar in a table, as long as `value` is of `most`.
pub(super) fn bar(value: u64, most: u64) -> Markup {
    let percent = value as f64 / most.max(1) as f64 * 100.0;
    html! {
        td.bar { @if value > 0 { span style={ "width:" (format!("{:.1}", percent.max(0.5))) "%" } {} } }
    }
}
