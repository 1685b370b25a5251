//! Pictures: how many were in each state as time went on, and how long they stayed. Inline SVG, small
//! multiples, each with its own scale.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::super::{LISTED_STATES, Report};
use crate::{
    engine::{DurationHistogram, TcpState},
    render::{
        duration::human,
        histogram::{Unit, rows},
    },
};

/// In SVG units, about one pixel each where the page is narrow.
const WIDTH: usize = 320;
const HEIGHT: usize = 96;
/// Below the plot, for the ends of the axis.
const FOOT: usize = 18;

/// Bars of a histogram at most: powers of two from the shortest on.
const BARS: usize = 40;

/// States that connections wait in.
fn waited_in(report: &Report) -> impl Iterator<Item = TcpState> {
    let not = [TcpState::Listen, TcpState::Close];
    let states = LISTED_STATES.into_iter().filter(move |s| !not.contains(s));
    states.filter(|state| report.measures(*state))
}

/// One picture for each state that anybody was in at some point.
pub(super) fn timelines(report: &Report) -> Markup {
    let length_us = report.snapshot.span.length().as_micros();
    let end_ms = u32::try_from(length_us / 1000).unwrap_or(u32::MAX);
    let timeline = &report.snapshot.totals.timeline;
    let open = waited_in(report).map(|state| {
        let mut open = timeline.open(state, end_ms);
        if report.hosts.is_empty() {
            open.push(report.snapshot.state(state).open);
        }
        (state, open)
    });
    let some: Vec<_> = open
        .filter(|(_, open)| open.iter().any(|n| *n > 0))
        .collect();
    html! {
        @if !some.is_empty() {
            h2 { "Connections in each state, as time went on" }
            div.charts {
                @for (state, open) in &some {
                    (timeline_figure(*state, open, &end_of(report)))
                }
            }
        }
    }
}

fn end_of(report: &Report) -> String {
    let us = report.snapshot.span.length().as_micros();
    human(u64::try_from(us).unwrap_or(u64::MAX))
}

fn timeline_figure(state: TcpState, open: &[u64], end: &str) -> Markup {
    let most = open.iter().copied().max().unwrap_or(0).max(1);
    let last = open.last().copied().unwrap_or(0);
    let line = steps(open, most);
    let area = format!("{line}V{HEIGHT}H0Z");
    html! {
        figure {
            figcaption { (state.name()) span { "most " (most) ", at the end " (last) } }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT + FOOT) } role="img" {
                title { (state.name()) " over time: most " (most) ", at the end " (last) }
                path.area d=(area) {}
                path.line d=(line) {}
                line.axis x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
                text x="0" y=(HEIGHT + 13) { "0s" }
                text x=(WIDTH) y=(HEIGHT + 13) text-anchor="end" { (end) }
            }
        }
    }
}

/// A path with one step for each value, as high as its share of the most.
fn steps(values: &[u64], most: u64) -> String {
    let mut path = String::new();
    let count = values.len().max(1);
    for (i, value) in values.iter().enumerate() {
        // Two units of room for the stroke.
        let height = share(*value, most, HEIGHT - 2);
        let (from, until) = (WIDTH * i / count, WIDTH * (i + 1) / count);
        let command = if i == 0 { 'M' } else { 'L' };
        // Writing to a String can't fail.
        let _ = write!(path, "{command}{from} {}H{until}", HEIGHT - height);
    }
    path
}

fn share(value: u64, most: u64, of: usize) -> usize {
    let scaled = u128::from(value) * of as u128 / u128::from(most.max(1));
    usize::try_from(scaled).unwrap_or(of).min(of)
}

/// One picture for each state that anybody left.
pub(super) fn histograms(report: &Report) -> Markup {
    let dwells = waited_in(report).filter_map(|state| {
        let dwell = report.snapshot.state(state).dwell.as_deref()?;
        Some((state, dwell))
    });
    let some: Vec<_> = dwells.collect();
    html! {
        @if !some.is_empty() {
            h2 { "How long connections stayed in each state" }
            div.charts {
                @for (state, dwell) in some { (histogram_figure(state, dwell)) }
            }
        }
    }
}

fn histogram_figure(state: TcpState, dwell: &DurationHistogram) -> Markup {
    let mut bars = rows(dwell, Unit::Microseconds);
    bars.truncate(BARS);
    let most = bars.iter().map(|bar| bar.2).max().unwrap_or(1);
    let (low, high) = (
        bars.first().map_or(0, |b| b.0),
        bars.last().map_or(0, |b| b.1),
    );
    let count = bars.len().max(1);
    let median = human(dwell.quantile_us(0.5).unwrap_or(0));
    let p99 = human(dwell.quantile_us(0.99).unwrap_or(0));
    html! {
        figure {
            figcaption { (state.name()) span { "p50 " (median) ", p99 " (p99) } }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT + FOOT) } role="img" {
                title { (state.name()) " dwells: " (dwell.count()) ", p50 " (median) ", p99 " (p99) }
                @for (i, (low, high, times)) in bars.iter().enumerate() {
                    @if *times > 0 {
                        @let height = share(*times, most, HEIGHT).max(1);
                        rect.bar x=(WIDTH * i / count) y=(HEIGHT - height)
                            width=((WIDTH / count).saturating_sub(2).clamp(1, 40)) height=(height) {
                            title { (human(*low)) " to " (human(*high)) ": " (times) }
                        }
                    }
                }
                line.axis x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
                text x="0" y=(HEIGHT + 13) { (human(low)) }
                text x=(WIDTH) y=(HEIGHT + 13) text-anchor="end" { (human(high)) }
            }
        }
    }
}
