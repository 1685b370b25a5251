//! The results as text, with what they are held against.

use std::fmt::{Result, Write as _};

use crate::{
    kernel::Cost,
    report::{Report, Spread},
};

const MIB: f64 = (1 << 20) as f64;

/// Everything that was measured.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_all(report, &mut out);
    out
}

fn write_all(report: &Report, out: &mut String) -> Result {
    let m = &report.machine;
    writeln!(
        out,
        "machine: Linux {}, {}, {} cores, load average {:.2} before, {:.2} after",
        m.kernel, m.cpu, m.cores, m.load_before, m.load_after
    )?;
    kernel(report, out)?;
    storm(report, out)?;
    user(report, out)?;
    recording(report, out)?;
    memory(report, out)?;
    standing(report, out)?;
    look(report, out)?;
    if !report.left_out.is_empty() {
        writeln!(out, "\nnot measured here")?;
    }
    for left_out in &report.left_out {
        writeln!(out, "  {}: {}", left_out.case, left_out.because)?;
    }
    Ok(())
}

fn range(spread: Spread) -> String {
    format!("{:.0}..{:.0}", spread.min, spread.max)
}

/// One figure, or that there is none.
fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
}

fn kernel(report: &Report, out: &mut String) -> Result {
    if report.kernel.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nkernel, ns above an empty program (targets: 150 a transition, 2500 a connection with its \
         TIME_WAIT);\nthere: on the machine of the targets, where the 64 bytes by helpers took 130;\n\
         by the clock: ns a transition takes longer than with nothing attached\n  \
         {:<34} {:>7} {:>12} {:>7} {:>7} {:>7} {:>11} {:>7} {:>7}",
        "", "1 thr.", "", "there", "ratio", "2 thr.", "connection", "there", "clock"
    )?;
    let of_one = |cost: &Cost| cost.programs.as_ref().map(|p| p.transition_ns[0].median);
    let ours = report.kernel.iter().find(|cost| cost.case == "tcpdwell");
    let ours = ours.and_then(of_one);
    for cost in &report.kernel {
        let programs = cost.programs.as_ref();
        let ratio = of_one(cost).zip(ours).map(|(one, ours)| one / ours);
        let there = programs.and_then(|p| p.there.as_ref());
        writeln!(
            out,
            "  {:<34} {:>7} {:>12} {:>7} {:>7} {:>7} {:>11} {:>7} {:>7.0}",
            cost.case,
            or_dash(of_one(cost)),
            programs.map_or_else(String::new, |p| range(p.transition_ns[0])),
            or_dash(there.map(|there| there.transition_ns.median)),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x")),
            or_dash(programs.map(|p| p.transition_ns[1].median)),
            or_dash(programs.map(|p| p.connection_ns.median)),
            or_dash(there.map(|there| there.connection_ns.median)),
            cost.clock_ns.median,
        )?;
    }
    let default = report.kernel.iter().find(|cost| cost.case == "tcpdwell");
    if let Some(programs) = default.and_then(|cost| cost.programs.as_ref()) {
        write!(out, "  ns a run, tcpdwell:")?;
        for (name, spread) in &programs.by_program {
            write!(out, " {name} {:.0}", spread.median)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn storm(report: &Report, out: &mut String) -> Result {
    if report.storm.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nstorm on all cores (targets: nothing lost, 90 % kept); machine: CPU ns a transition takes more, \
         everything counted\n  {:<34} {:>7} {:>7} {:>11} {:>9} {:>9} {:>7} {:>8}",
        "", "conn/s", "kept", "transitions", "lost", "it says", "its ns", "machine"
    )?;
    for s in &report.storm {
        let count = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        writeln!(
            out,
            "  {:<34} {:>7.0} {:>6.1}% {:>11} {:>9} {:>9} {:>7} {:>8.0}",
            s.case,
            s.connections_per_second.median,
            s.throughput_kept.median * 100.0,
            s.transitions,
            count(s.lost),
            count(s.says_lost),
            or_dash(s.cpu_ns_per_transition.map(|spread| spread.median)),
            s.machine_ns_per_transition.median,
        )?;
    }
    Ok(())
}

fn user(report: &Report, out: &mut String) -> Result {
    if report.user.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nuser space, one core (targets: recording 200 ns, ndjson 700 ns)\n  {:<32} {:>8} {:>9} {:>9} {:>9}",
        "", "open", "ns best", "median", "M/s best"
    )?;
    for s in &report.user {
        writeln!(
            out,
            "  {:<32} {:>8} {:>9.0} {:>9.0} {:>9.2}",
            s.name,
            s.open,
            s.ns_per_event.min,
            s.ns_per_event.median,
            s.events_per_second / 1e6
        )?;
    }
    Ok(())
}

fn recording(report: &Report, out: &mut String) -> Result {
    if report.recording.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nrecordings, one core (target: replay 5 M/s)\n  {:>8} {:>6} {:>12} {:>10} {:>10} {:>10} {:>11}",
        "open", "zstd", "bytes/event", "encode ns", "decode ns", "replay ns", "replay M/s"
    )?;
    for r in &report.recording {
        writeln!(
            out,
            "  {:>8} {:>6} {:>12.2} {:>10.0} {:>10.0} {:>10.0} {:>11.2}",
            r.open,
            r.level,
            r.bytes_per_event,
            r.encode_ns.median,
            r.decode_ns.median,
            r.replay_ns.median,
            1e3 / r.replay_ns.median
        )?;
    }
    Ok(())
}

fn memory(report: &Report, out: &mut String) -> Result {
    if report.memory.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nmemory of the engine, resident (targets: 128 bytes each, a million below 200 MiB)"
    )?;
    for m in &report.memory {
        writeln!(
            out,
            "  {:>9} connections {:>7.1} MiB, at most {:>7.1} MiB; {:>5.0} bytes each",
            m.connections,
            m.resident_bytes as f64 / MIB,
            m.peak_bytes as f64 / MIB,
            m.bytes_per_connection
        )?;
    }
    Ok(())
}

fn standing(report: &Report, out: &mut String) -> Result {
    if !report.standing.is_empty() {
        writeln!(
            out,
            "\nstarting and standing by (targets: start 300 ms, idle not measurable)"
        )?;
    }
    for s in &report.standing {
        writeln!(
            out,
            "  {:>7} sockets: starts in {:>4.0} ms ({}), {:.0} ms of CPU; idle {:.3} % of a core and {:.3} % \
             in its programs, {:.1} MiB",
            s.sockets,
            s.start_ms.median,
            range(s.start_ms),
            s.start_cpu_ms.median,
            s.idle_cpu_ppm.median / 1e4,
            s.idle_programs_ppm.median / 1e4,
            s.idle_resident_bytes as f64 / MIB,
        )?;
    }
    if let Some(top) = &report.top {
        writeln!(
            out,
            "  top at {:.0} transitions/s: {:.2} % of a core (target: 2 %), {:.1} MiB",
            top.transitions_per_second,
            top.cpu_percent.median,
            top.resident_bytes as f64 / MIB,
        )?;
    }
    Ok(())
}

fn look(report: &Report, out: &mut String) -> Result {
    if !report.look.is_empty() {
        writeln!(out, "\none look of 'stuck' (target: below a second)")?;
    }
    for l in &report.look {
        writeln!(
            out,
            "  {:<10} {} TIME_WAITs, {} CLOSE_WAITs: {:>5.0} ms ({}), {:.1} MiB resident",
            l.source,
            l.time_waits,
            l.close_waits,
            l.milliseconds.median,
            range(l.milliseconds),
            l.resident_bytes as f64 / MIB,
        )?;
    }
    Ok(())
}
