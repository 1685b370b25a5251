//! For people: who holds how many, why and what to do next; then the sockets, oldest first.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use anyhow::Result;
use bytes::BytesMut;

use super::{View, json::until_limit};
use crate::{
    engine::{
        Engine, TcpState,
        stuck::{Cause, Group, LINGERING, Leak, StuckSocket, Verdict, groups, one_each},
    },
    render::{age, count, escape},
    sink::row::known_address,
};

/// Groups that are told of.
const MAX_GROUPS: usize = 10;
/// Columns of a terminal.
const WIDTH: usize = 79;
/// A recording ends with a look: its last event comes no later.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Processes of a group that are named.
const MAX_NAMED: usize = 4;

/// Renders one look.
pub(super) fn write(view: &View<'_>, out: &mut BytesMut) -> Result<()> {
    headline(view, out)?;
    let comm = |pid| view.engine.process(pid).map(|p| p.name);
    let groups = one_each(groups(&view.sockets), comm);
    for group in groups.iter().take(MAX_GROUPS) {
        tell(view, group, out)?;
    }
    if groups.len() > MAX_GROUPS {
        let rest: usize = groups[MAX_GROUPS..].iter().map(|g| g.sockets).sum();
        writeln!(
            out,
            "\nand {rest} more, held by {}",
            count::of(groups.len() - MAX_GROUPS, "other")
        )?;
    }
    if !view.sockets.is_empty() {
        table(view, out)?;
    }
    if view.sink.options.interval.is_some() {
        writeln!(out)?;
    }
    Ok(())
}

fn headline(view: &View<'_>, out: &mut BytesMut) -> Result<()> {
    let options = &view.sink.options;
    if options.past {
        past(view, out)?;
    }
    if options.interval.is_some() {
        let zone = view.sink.zone.clone();
        match view.sink.clock.at(view.at) {
            Some(ts) => write!(out, "{} ", ts.to_zoned(zone).strftime("%H:%M:%S"))?,
            None => write!(out, "- ")?,
        }
    }
    let states: Vec<&str> = LINGERING
        .iter()
        .filter(|s| options.states.contains(**s))
        .map(|s| s.name())
        .collect();
    let sockets = count::of(view.sockets.len(), "socket");
    write!(out, "{sockets} in {}", states.join(", "))?;
    if !options.older_than.age.is_zero() {
        write!(out, " for {} or longer", brief(options.older_than.age))?;
    }
    let unknown = |s: &&StuckSocket| !s.age.exact && s.age.at_least.is_zero();
    let unknown = view.sockets.iter().filter(unknown).count();
    if unknown > 0 {
        write!(out, ", or for how long is not known ({unknown})")?;
    }
    if view.younger > 0 {
        write!(out, "; {} not known to be so old", view.younger)?;
    }
    writeln!(out)?;
    let unseen = view.engine.looks().latest().map(|looked| looked.unseen);
    if let Some(unseen) = unseen.filter(|unseen| !unseen.is_nothing()) {
        let text = format!("not looked at everywhere: {unseen}");
        writeln!(out, "{}", age::folded(&text, "", "  ", WIDTH))?;
    }
    Ok(())
}

/// Of which host and moment of a recording, and what is known of that.
fn past(view: &View<'_>, out: &mut BytesMut) -> Result<()> {
    let host = escape::text(view.sink.host.as_bytes());
    let zone = view.sink.zone.clone();
    match view.sink.clock.at(view.at) {
        Some(ts) => write!(out, "{host}, {}", ts.to_zoned(zone).strftime("%F %T %Z"))?,
        None => write!(out, "{host}")?,
    }
    match view.looked() {
        Some(ago) if ago < AT_ONCE => writeln!(out, "; looked at then")?,
        Some(ago) => writeln!(out, "; looked at {} before", age::short(ago))?,
        None => writeln!(out, "; no look at the sockets is recorded")?,
    }
    Ok(())
}

/// As it was typed, nearly.
fn brief(duration: std::time::Duration) -> String {
    let text = age::short(duration);
    text.replace(".000s", "s")
}

fn tell(view: &View<'_>, group: &Group, out: &mut BytesMut) -> Result<()> {
    let example = &view.sockets[group.example];
    let port = group.port;
    let never = group
        .causes
        .iter()
        .filter(|(cause, _)| *cause == Cause::NeverAccepted)
        .count();
    let several = group.pids.len() > 1;
    let is_had = example.looked.is_some() && example.holders.is_empty() && !group.pids.is_empty();
    let verb = match (never, several) {
        // Nobody is seen that has it now.
        (0, _) if is_had => "had",
        (0, false) => "holds",
        (0, true) => "hold",
        (n, false) if n == group.causes.len() => "has not accepted",
        (n, true) if n == group.causes.len() => "have not accepted",
        // Some it has.
        (_, false) => "has",
        (_, true) => "have",
    };
    let who = if group.pids.is_empty() {
        "nobody that can be seen".to_owned()
    } else {
        names(view, group, example)
    };
    let each = if group.one_each { ", one each" } else { "" };
    let oldest = age::short(group.oldest.at_least);
    let oldest = match (group.oldest.exact, group.oldest.at_least.is_zero()) {
        (true, _) => format!("; the oldest for {oldest}"),
        (false, false) => format!("; the oldest for {oldest} or longer"),
        (false, true) => String::new(),
    };
    let head = format!(
        "{who} {verb} {} in {} {port}{each}{oldest}",
        group.sockets, group.state,
    );
    writeln!(out, "\n{}", age::folded(&head, "", "    ", WIDTH))?;
    for (cause, count) in &group.causes {
        let first = if *cause == example.cause {
            Some(example)
        } else {
            let of = |s: &&StuckSocket| s.cause == *cause && group.has(s);
            view.sockets.iter().find(of)
        };
        let evidence = first.map_or("", |s| s.evidence.as_str());
        let oldest = if *count > 1 { ", the oldest" } else { "" };
        let told = format!("{} {count}{oldest}: {evidence}", cause.name());
        writeln!(out, "{}", age::folded(&told, "  ", "      ", WIDTH))?;
    }
    // Who has one has no more files than ever.
    let counted = if group.one_each { 0 } else { MAX_NAMED };
    for pid in group.pids.iter().take(counted) {
        files(view.engine, view.leaks.as_slice(), *pid, group, out)?;
    }
    if let Some(advice) = next(view, group, example) {
        let told = format!("next: {advice}");
        writeln!(out, "{}", age::folded(&told, "  ", "      ", WIDTH))?;
    }
    Ok(())
}

/// Of the first of them.
fn names(view: &View<'_>, group: &Group, example: &StuckSocket) -> String {
    let more = match group.pids.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = group.pids.iter().take(MAX_NAMED);
    let named: Vec<String> = named.map(|pid| name(view, *pid, example)).collect();
    named.join(", ") + &more
}

fn name(view: &View<'_>, pid: u32, example: &StuckSocket) -> String {
    let process = view.engine.process(pid);
    let comm = process
        .as_ref()
        .map_or("-".into(), |p| escape::text(p.name.bytes()));
    let cgroup = process
        .and_then(|p| view.sink.cgroups.get(&p.cgroup))
        .filter(|path| path.as_ref() != "/")
        .map(|path| format!(", {}", escape::text(path.as_bytes())))
        .unwrap_or_default();
    let user = match example.uid {
        Some(uid) if uid != 0 => format!(", uid {uid}"),
        _ => String::new(),
    };
    format!("{comm} (pid {pid}{user}{cgroup})")
}

/// Open files, and where that leads.
fn files(
    engine: &Engine,
    leaks: &[Leak],
    pid: u32,
    group: &Group,
    out: &mut BytesMut,
) -> std::fmt::Result {
    let alone = group.pids.len() == 1 && group.state == TcpState::CloseWait;
    let leak = leaks
        .iter()
        .filter(|_| alone)
        .find(|l| l.key.pid == pid && l.key.port == group.port);
    if let Some(leak) = leak.filter(|l| l.opened_per_s.is_some()) {
        write!(
            out,
            "  {}: {} open, {:.1} came and {:.1} went per second",
            leak.verdict.name(),
            leak.open,
            leak.opened_per_s.unwrap_or(0.0),
            leak.closed_per_s.unwrap_or(0.0),
        )?;
        if leak.verdict == Verdict::NotEnoughData {
            write!(out, " in {}", age::short(leak.watched))?;
        }
        if let Some(growth) = leak.growth_per_s {
            write!(out, "; {growth:.2} per second stay")?;
        }
        writeln!(out)?;
    }
    let Some(files) = engine.looks().descriptors_of(pid) else {
        return Ok(());
    };
    let limit = files
        .limit
        .map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    write!(out, "  files of pid {pid}: {} of {limit}", files.open)?;
    if let Some(left) = leak.and_then(|leak| until_limit(engine, leak)) {
        write!(out, "; the limit is reached in {}", age::short(left))?;
    }
    writeln!(out)
}

/// What the evidence suggests to do.
fn next(view: &View<'_>, group: &Group, example: &StuckSocket) -> Option<String> {
    let past = view.sink.options.past;
    let pid = group.pids.first().copied();
    let is_stopped = |pid: &&u32| view.engine.looks().is_stopped(**pid);
    if let Some(pid) = group.pids.iter().find(is_stopped) {
        return Some(format!(
            "pid {pid} is stopped, by a signal or a debugger: by whom, and why? kill -CONT {pid} \
             lets it go on"
        ));
    }
    // Of a recording there is nobody to look at.
    let doing = |who: &str| {
        let pid = pid.filter(|_| !past);
        pid.map_or_else(String::new, |pid| {
            let how = threads(view.engine, pid);
            format!(" What are {who} doing? {how}")
        })
    };
    let cause = group.causes.first().map(|(cause, _)| *cause)?;
    Some(match cause {
        Cause::NeverAccepted => {
            let doing = doing("they");
            format!("the application doesn't call accept(): are its threads all busy?{doing}")
        }
        Cause::UnreadData => format!(
            "the peer has closed, and the application doesn't read so far: it is busy with something \
             else, or has forgotten the connection.{}",
            doing("its threads")
        ),
        Cause::Shared => {
            "each of these processes has to close it: the parent after fork(), the child at its end"
                .to_owned()
        }
        Cause::NotClosed => match (pid, example.holders.first()) {
            (Some(pid), Some(holder)) if group.one_each && !past => format!(
                "each has read to the end and goes on: what does it wait for? ps --ppid {pid} shows \
                 what the oldest has started; its connection is /proc/{pid}/fd/{}",
                holder.fd
            ),
            (Some(pid), Some(holder)) if past => format!(
                "a close() is missing after the end of file; the oldest was descriptor {} of pid {pid}",
                holder.fd
            ),
            (Some(pid), Some(holder)) => format!(
                "a close() is missing after the end of file; the oldest is /proc/{pid}/fd/{}",
                holder.fd
            ),
            _ => return None,
        },
        Cause::Draining | Cause::Unacknowledged => {
            "the peer doesn't acknowledge: is it gone, or its window closed? ss -tnoi".to_owned()
        }
        Cause::PeerOpen => "the peer has to close; an orphan goes after tcp_fin_timeout".to_owned(),
        Cause::NoAnswer => "is the peer up, and a firewall in between?".to_owned(),
        Cause::Unknown => return None,
    })
}

/// What shows the stacks of all threads of a process.
fn threads(engine: &Engine, pid: u32) -> String {
    let process = engine.process(pid);
    let comm = process.as_ref().map_or(&b""[..], |p| p.name.bytes());
    match comm {
        b"java" => format!("jstack {pid}"),
        _ if comm.starts_with(b"python") => format!("py-spy dump --pid {pid}"),
        _ => format!("cat /proc/{pid}/task/*/stack; gdb -p {pid}"),
    }
}

fn table(view: &View<'_>, out: &mut BytesMut) -> Result<()> {
    let options = &view.sink.options;
    let limit = match options.limit {
        0 => usize::MAX,
        limit => limit,
    };
    let several = LINGERING
        .iter()
        .filter(|s| options.states.contains(**s))
        .count()
        > 1;
    writeln!(out)?;
    let shown = &view.sockets[..view.sockets.len().min(limit)];
    // As wide as they are: IPv4 leaves room for the evidence.
    let addresses = [
        |s: &StuckSocket| s.tuple.local,
        |s: &StuckSocket| s.tuple.remote,
    ]
    .map(|end| {
        let lengths = shown.iter().map(|s| or_dash(known_address(&end(s))).len());
        lengths.max().unwrap_or(0).max("LADDR".len())
    });
    let [local, remote] = addresses;
    if options.wide {
        writeln!(
            out,
            "{:<9} {:<7} {:<15} {:<11} {:<11} {:<local$} {:<5} {:<remote$} {:<5} {:>9} {:>9} {:<10} {:<14} EVIDENCE",
            "AGE",
            "PID",
            "COMM",
            "FD",
            "STATE",
            "LADDR",
            "LPORT",
            "RADDR",
            "RPORT",
            "UNREAD",
            "UNSENT",
            "NETNS",
            "CAUSE"
        )?;
    } else {
        let third = if several { "STATE" } else { "COMM" };
        writeln!(
            out,
            "{:<9} {:<7} {third:<11} {:<5} {:<15} {:<5} {:>7} CAUSE",
            "AGE", "PID", "LPORT", "RADDR", "RPORT", "UNREAD"
        )?;
    }
    for socket in shown {
        if options.wide {
            wide(view, socket, addresses, out)?;
        } else {
            narrow(view, socket, several, out)?;
        }
    }
    let more = view.sockets.len().saturating_sub(limit);
    if more > 0 {
        writeln!(out, "... and {more} more (--limit 0 shows all)")?;
    }
    Ok(())
}

fn narrow(view: &View<'_>, s: &StuckSocket, several: bool, out: &mut BytesMut) -> std::fmt::Result {
    let (pid, comm) = owner(view.engine, s);
    let third = if several {
        s.state.name().to_owned()
    } else {
        comm
    };
    writeln!(
        out,
        "{:<9} {pid:<7} {third:<11.11} {:<5} {:<15} {:<5} {:>7} {}",
        age::at_least(s.age.at_least, s.age.exact),
        or_dash(s.tuple.local.port()),
        or_dash(known_address(&s.tuple.remote)),
        or_dash(s.tuple.remote.port()),
        or_dash(s.unread),
        s.cause.name(),
    )
}

fn wide(
    view: &View<'_>,
    s: &StuckSocket,
    [local, remote]: [usize; 2],
    out: &mut BytesMut,
) -> std::fmt::Result {
    let (pid, comm) = owner(view.engine, s);
    let fds: Vec<String> = s.holders.iter().map(|h| h.fd.to_string()).collect();
    let fds = if fds.is_empty() {
        "-".to_owned()
    } else {
        fds.join(",")
    };
    writeln!(
        out,
        "{:<9} {pid:<7} {comm:<15} {fds:<11} {:<11} {:<local$} {:<5} {:<remote$} {:<5} {:>9} {:>9} {:<10} {:<14} {}",
        age::at_least(s.age.at_least, s.age.exact),
        s.state,
        or_dash(known_address(&s.tuple.local).map(|ip: IpAddr| ip.to_string())),
        or_dash(s.tuple.local.port()),
        or_dash(known_address(&s.tuple.remote).map(|ip| ip.to_string())),
        or_dash(s.tuple.remote.port()),
        or_dash(s.unread),
        or_dash(s.unsent),
        or_dash((s.netns != 0).then_some(s.netns)),
        s.cause.name(),
        s.evidence,
    )
}

/// Process and name of who holds it: the owner, or how many there are.
fn owner(engine: &Engine, s: &StuckSocket) -> (String, String) {
    if s.owner.pid != 0 {
        let process = engine.process(s.owner.pid);
        let comm = process.map_or_else(
            || "-".to_owned(),
            |p| escape::text(p.name.bytes()).into_owned(),
        );
        return (s.owner.pid.to_string(), comm);
    }
    let comm = if s.descriptors > 1 {
        format!("({} fds)", s.descriptors)
    } else {
        "-".to_owned()
    };
    ("-".to_owned(), comm)
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
