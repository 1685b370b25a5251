//! The report as one page that needs nothing else: no script, no network, no font. `maud` escapes all
//! that is put into it.

mod charts;
mod tables;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, headline};
use crate::render::escape;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn render(report: &Report) -> Result<Vec<u8>> {
    Ok(page(report).into_string().into_bytes())
}

fn page(report: &Report) -> Markup {
    let host = escape::text(report.host.as_bytes());
    let mut sentences = headline::sentences(report).into_iter();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                title { "TCP report of " (host) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "TCP report of " (host) }
                    p.when { (window(report)) }
                }
                main {
                    section.answers {
                        @if let Some(first) = sentences.next() { p.first { (first) } }
                        @for sentence in sentences { p { (sentence) } }
                    }
                    @if !report.completeness.complete {
                        p.warning { "State changes were lost: counts are lower bounds." }
                    }
                    (tables::hosts(report))
                    (charts::timelines(report))
                    (charts::histograms(report))
                    (tables::connections(report))
                    (tables::states(report))
                    (tables::close_wait(report))
                    (tables::groups(report))
                    (tables::basis(report))
                }
            }
        }
    }
}

fn window(report: &Report) -> String {
    let time = |at: Option<jiff::Timestamp>, format| {
        at.map_or_else(|| "-".to_owned(), |at| at.strftime(format).to_string())
    };
    let (ends, recorded) = if report.hosts.is_empty() {
        ("%T", "")
    } else {
        ("%F %T", " of it recorded")
    };
    format!(
        "{} to {} UTC, {:.1} s{recorded}",
        time(report.start, "%F %T"),
        time(report.end, ends),
        report.seconds()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            Engine, Limits, Mono, Process, ProcessName, Role, Span, StateSet, TcpState, Transition,
            Window,
        },
        render::completeness::Completeness,
        source::Account,
    };

    const HOSTILE: &[u8; 16] = b"<b onload=\"'x&>\x1b";

    fn hostile() -> Report {
        let engine = Engine::new(Limits::default());
        let mut window = Window::new(StateSet::default());
        let t = Transition {
            role: Role::PassiveOpen,
            process: Some(Process {
                name: ProcessName(*HOSTILE),
                uid: 0,
                cgroup: 1,
            }),
            ..Transition::made(1, TcpState::Established, TcpState::Close)
        };
        window.transition(&t, Mono(0), true);
        let span = Span {
            start: Mono(0),
            end: Mono(1_000_000_000),
        };
        Report {
            host: "<script>alert(1)</script>\u{202e}".to_owned(),
            kernel: "6.1\"><img src=x>".to_owned(),
            start: None,
            end: None,
            hooks: super::super::Hooks::default(),
            completeness: Completeness::new(&Account::default(), engine.ledger()),
            snapshot: window.close(&engine, span, |_| true),
            own_cost: None,
            hosts: Vec::new(),
        }
    }

    /// Every tag is one of ours, and what is hostile is there as text.
    #[test]
    fn nothing_from_outside_is_markup() {
        const TAGS: [&str; 28] = [
            "!DOCTYPE",
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "header",
            "main",
            "h1",
            "h2",
            "p",
            "section",
            "div",
            "figure",
            "figcaption",
            "span",
            "svg",
            "path",
            "line",
            "rect",
            "text",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        ];
        let page = String::from_utf8(render(&hostile()).unwrap()).unwrap();
        for (at, _) in page.match_indices('<') {
            let tag = page[at + 1..].trim_start_matches('/');
            let tag = tag.split([' ', '>']).next().unwrap();
            assert!(TAGS.contains(&tag), "<{tag}");
        }
        assert!(
            page.contains("&lt;b onload=&quot;'x&amp;&gt;\\u{1b}"),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;"));
        assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'));
        assert!(!page.contains("http:") && !page.contains("https:"));
    }
}
