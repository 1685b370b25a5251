//! Lines for people, in the columns of tcpstates.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use anyhow::Result;
use bytes::BytesMut;
use jiff::tz::TimeZone;

use super::{
    Sink, Start,
    row::{WallClock, known_address, local_address},
};
use crate::{
    engine::{ClosedFirst, EndReason, Mono, Transition, Update},
    logging,
    render::escape,
};

/// Which columns, and how wide.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineOptions {
    /// `-t`: seconds since the start.
    pub relative: bool,
    /// `-T`: time of day.
    pub wall: bool,
    /// `-w`: room for every IPv6 address and a whole process name, and how it ended.
    pub wide: bool,
}

/// See the module.
#[derive(Debug)]
pub struct LinesSink {
    options: LineOptions,
    clock: WallClock,
    zone: TimeZone,
    began: Option<Mono>,
    /// Of several hosts: its name, and the room for names.
    host: Option<(String, usize)>,
    is_continued: bool,
}

impl LinesSink {
    /// Lines with these columns; times of day in the host's time zone.
    pub fn new(options: LineOptions) -> Self {
        Self {
            options,
            clock: WallClock::default(),
            zone: TimeZone::system(),
            began: None,
            host: None,
            is_continued: false,
        }
    }

    /// Of one of several hosts: a column HOST, so wide.
    pub fn of_host(mut self, name: &str, width: usize) -> Self {
        let shown: String = escape::text(name.as_bytes()).chars().take(width).collect();
        self.host = Some((shown, width));
        self
    }

    /// Goes on below what another has written: without the header.
    pub fn continued(mut self) -> Self {
        self.is_continued = true;
        self
    }

    fn widths(&self) -> (usize, usize) {
        if self.options.wide {
            (16, 39)
        } else {
            (10, 15)
        }
    }

    fn times(&self, at: Mono, out: &mut BytesMut) -> std::fmt::Result {
        if self.options.wall {
            match self.clock.at(at) {
                Some(ts) => write!(
                    out,
                    "{} ",
                    ts.to_zoned(self.zone.clone()).strftime("%H:%M:%S")
                )?,
                None => write!(out, "{:<8} ", "-")?,
            }
        }
        if self.options.relative {
            let since = at.since(self.began.unwrap_or(at));
            write!(out, "{:<11.6} ", since.as_secs_f64())?;
        }
        Ok(())
    }

    fn transition(&self, t: &Transition, out: &mut BytesMut) -> std::fmt::Result {
        self.times(t.at, out)?;
        if let Some((host, width)) = &self.host {
            write!(out, "{host:<width$} ")?;
        }
        let (comm_width, addr_width) = self.widths();
        match t.owner.pid {
            0 => write!(out, "{:<7} ", "-")?,
            pid => write!(out, "{pid:<7} ")?,
        }
        let comm = t.process.as_ref().map(|p| escape::text(p.name.bytes()));
        let comm = comm.as_deref().unwrap_or("-");
        write!(out, "{comm:<comm_width$.comm_width$} ")?;
        end(local_address(t), t.tuple.local.port(), addr_width, out)?;
        end(
            known_address(&t.tuple.remote),
            t.tuple.remote.port(),
            addr_width,
            out,
        )?;
        write!(out, "{:<11} -> {:<11} ", t.from, t.to)?;
        let ms_width = if self.options.wide { 11 } else { 0 };
        let ms = |dwell: Duration| dwell.as_secs_f64() * 1000.0;
        match (t.dwell, t.at_least) {
            (Some(dwell), _) => write!(out, "{:<ms_width$.3}", ms(dwell))?,
            (None, Some(dwell)) => {
                let ms_width = ms_width.saturating_sub(2);
                write!(out, ">={:<ms_width$.3}", ms(dwell))?;
            }
            (None, None) => write!(out, "{:<ms_width$}", "-")?,
        }
        if self.options.wide {
            let first = t.closed_first.map_or("-", ClosedFirst::name);
            let reason = t.end_reason.map_or("-", EndReason::name);
            write!(out, " {first:<12} {reason}")?;
        }
        writeln!(out)
    }
}

fn end(
    address: Option<IpAddr>,
    port: Option<u16>,
    width: usize,
    out: &mut BytesMut,
) -> std::fmt::Result {
    match address {
        Some(address) => write!(out, "{address:<width$} ")?,
        None => write!(out, "{:<width$} ", "-")?,
    }
    match port {
        Some(port) => write!(out, "{port:<5} "),
        None => write!(out, "{:<5} ", "-"),
    }
}

impl Sink for LinesSink {
    fn start(&mut self, _start: &Start, out: &mut BytesMut) -> Result<()> {
        if self.is_continued {
            return Ok(());
        }
        let (comm, addr) = self.widths();
        if self.options.wall {
            write!(out, "{:<8} ", "TIME")?;
        }
        if self.options.relative {
            write!(out, "{:<11} ", "TIME(s)")?;
        }
        if let Some((_, width)) = self.host {
            write!(out, "{:<width$} ", "HOST")?;
        }
        write!(
            out,
            "{:<7} {:<comm$} {:<addr$} {:<5} {:<addr$} {:<5} {:<11} -> {:<11} ",
            "PID", "COMM", "LADDR", "LPORT", "RADDR", "RPORT", "OLDSTATE", "NEWSTATE",
        )?;
        if self.options.wide {
            writeln!(out, "{:<11} {:<12} END", "MS", "CLOSED_FIRST")?;
        } else {
            writeln!(out, "MS")?;
        }
        Ok(())
    }

    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()> {
        match update {
            Update::Transition(t) => self.transition(t, out)?,
            Update::Irregular(i) => log::debug!(
                "irregular: connection {} was in {}, the kernel says it left {}",
                i.conn.0,
                i.believed,
                i.from
            ),
            Update::Lost { lost, .. } => logging::note(&format!(
                "lost {} events (ring_full={} recursion={} map_full={} decode={} recording={})",
                lost.total(),
                lost.ring_full,
                lost.recursion,
                lost.map_full,
                lost.decode,
                lost.recording
            )),
            Update::Forgotten(_) | Update::Cgroup(_) => {}
            Update::Clock { at, wall_ns } => {
                self.began.get_or_insert(*at);
                self.clock.set(*at, *wall_ns);
            }
        }
        Ok(())
    }
}
