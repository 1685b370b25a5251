//! Each finding is provoked on the real kernel, with the right subject and figures; what is sound gives
//! none; and following the advice makes it go away.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    clock::{mono_ns, until},
    lives::connect_from,
    netns::{Netns, leave_waiting_ports, sysctl},
    skip::{Noise, turn},
    spawn,
    tool::{PATIENCE, Tool, binary},
    workload::{Lane, listen},
};

/// Each test has a namespace of its own, with the tool in it: the addresses may be the same.
pub(crate) const TEST: u8 = 20;

/// What a rule said of the work, done in a namespace of its own with the tool in it. What the work gives
/// back stays until then.
pub(crate) fn diagnosed<T>(
    set: &[(&'static str, &'static str)],
    work: impl FnOnce() -> T + Send + 'static,
) -> Value {
    let set = set.to_vec();
    Netns::new(move |netns| {
        for (name, value) in set {
            sysctl(name, value);
        }
        let mut command = Command::new(binary());
        let netns = netns.to_string();
        command.args(["diagnose", "--format", "json", "--netns", &netns]);
        let tool = Tool::attached(&mut command);
        let _kept = work();
        thread::sleep(Duration::from_millis(300));
        let finished = tool.interrupt();
        finished.assert_success();
        serde_json::from_slice(&finished.stdout).unwrap()
    })
    .run()
}

pub(crate) fn findings<'a>(said: &'a Value, rule: &str) -> Vec<&'a Value> {
    let all = said["findings"].as_array().unwrap().iter();
    let found: Vec<_> = all.filter(|finding| finding["rule"] == rule).collect();
    for finding in &found {
        for key in ["severity", "subject", "summary", "verify", "avoid"] {
            assert!(
                finding[key].as_str().is_some_and(|text| !text.is_empty()),
                "{key}: {finding:#}"
            );
        }
        assert!(!finding["advice"].as_array().unwrap().is_empty());
    }
    found
}

/// The one finding of a rule.
pub(crate) fn finding<'a>(said: &'a Value, rule: &str) -> &'a Value {
    let found = findings(said, rule);
    assert_eq!(found.len(), 1, "{rule}: {said:#}");
    found[0]
}

pub(crate) fn is_fine(said: &Value, rule: &str) {
    let ok = said["ok"].as_array().unwrap();
    assert!(ok.iter().any(|name| name == rule), "{rule}: {said:#}");
}

pub(crate) fn ip(test: u8) -> IpAddr {
    Lane { test, space: 0 }.address(1)
}

/// Below the ephemeral ports.
fn listener(test: u8) -> (TcpListener, SocketAddr) {
    let address = SocketAddr::new(ip(test), Lane { test, space: 0 }.port(0));
    (listen(address).0, address)
}

/// Connections one after the other; this side's client closes first, or the server does.
pub(crate) fn connections(
    listener: &TcpListener,
    to: SocketAddr,
    count: usize,
    client_first: bool,
) {
    for _ in 0..count {
        let client = TcpStream::connect(to).unwrap();
        let (server, _) = listener.accept().unwrap();
        let (mut first, mut second) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        first.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
        spawn::close(second);
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
        spawn::close(first);
    }
}

#[test]
fn a_sound_host_yields_nothing() {
    let Some(_turn) = turn("a_sound_host_yields_nothing", Noise::Little) else {
        return;
    };
    let said = diagnosed(&[], || {
        let (listener, to) = listener(TEST);
        // One connection, used again and again, and a few that come and go.
        let mut client = TcpStream::connect(to).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for _ in 0..200 {
            client.write_all(b"?").unwrap();
            server.read_exact(&mut [0]).unwrap();
            server.write_all(b"!").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        connections(&listener, to, 10, true);
    });
    assert_eq!(said["findings"].as_array().unwrap().len(), 0, "{said:#}");
    assert_eq!(said["schema"], "tcpdwell.diagnose/1");
    is_fine(&said, "time_wait_pressure");
}

const NARROW: (&str, &str) = ("ip_local_port_range", "40000 40199");

/// By default TIME_WAIT on the loopback device can be reused after a second.
const NO_REUSE: (&str, &str) = ("tcp_tw_reuse", "0");

#[test]
fn ports_run_out_by_time_wait() {
    let Some(_turn) = turn("ports_run_out_by_time_wait", Noise::Little) else {
        return;
    };
    let said = diagnosed(&[NARROW, NO_REUSE], || {
        let (listener, to) = listener(TEST);
        connections(&listener, to, 160, true);
    });
    let found = finding(&said, "time_wait_pressure");
    let subject = found["subject"].as_str().unwrap();
    assert!(
        subject.ends_with(&format!("to {}", listener_address(TEST))),
        "{subject}"
    );
    assert_eq!(found["evidence"]["ports"], 200);
    assert_eq!(found["evidence"]["time_wait"], 160);
    assert_eq!(found["evidence"]["free"], 40);
    assert_eq!(found["severity"], "warning");
    let client = finding(&said, "who_should_keep_alive");
    assert_eq!(client["evidence"]["serves"], false);
    assert_eq!(client["evidence"]["closed_first_local"], 160);

    // Until connect fails: the same, and worse.
    let said = diagnosed(&[NARROW, NO_REUSE], || {
        let (listener, to) = listener(TEST);
        connections(&listener, to, 200, true);
        let refused = TcpStream::connect(to).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrNotAvailable);
    });
    let found = finding(&said, "time_wait_pressure");
    assert_eq!(found["severity"], "critical");
    assert_eq!(found["evidence"]["free"], 0);
    assert_eq!(found["evidence"]["connects_without_port"], 1);

    // As advised: ports are reused, or there are more.
    for mended in [
        ("tcp_tw_reuse", "1"),
        ("ip_local_port_range", "40000 40999"),
    ] {
        let said = diagnosed(&[NARROW, NO_REUSE, mended], || {
            let (listener, to) = listener(TEST);
            connections(&listener, to, 160, true);
        });
        is_fine(&said, "time_wait_pressure");
    }
}

fn listener_address(test: u8) -> SocketAddr {
    SocketAddr::new(ip(test), Lane { test, space: 0 }.port(0))
}

#[test]
fn too_many_time_waits() {
    let Some(_turn) = turn("too_many_time_waits", Noise::Little) else {
        return;
    };
    let work = |test| {
        move || {
            let (listener, to) = listener(test);
            connections(&listener, to, 100, true);
        }
    };
    let said = diagnosed(&[("tcp_max_tw_buckets", "64")], work(TEST));
    let found = finding(&said, "time_wait_overflow");
    assert_eq!(found["evidence"]["tcp_max_tw_buckets"], 64);
    let figure = |name: &str| found["evidence"][name].as_u64().unwrap();
    assert_eq!(
        figure("overflow") + figure("time_wait_entered"),
        100,
        "{found:#}"
    );
    // The tool's own connections of its self-test may be among the 64.
    assert!(
        (60..=64).contains(&figure("time_wait_entered")),
        "{found:#}"
    );
    let said = diagnosed(&[("tcp_max_tw_buckets", "4096")], work(TEST));
    is_fine(&said, "time_wait_overflow");
}

#[test]
fn a_service_that_closes_first() {
    let Some(_turn) = turn("a_service_that_closes_first", Noise::Little) else {
        return;
    };
    let said = diagnosed(&[], || {
        let (listener, to) = listener(TEST);
        connections(&listener, to, 100, false);
    });
    let found = finding(&said, "who_should_keep_alive");
    assert_eq!(found["evidence"]["serves"], true);
    assert_eq!(found["evidence"]["port"], listener_address(TEST).port());
    assert_eq!(found["evidence"]["closed_first_local"], 100);
    assert_eq!(found["evidence"]["pid"], std::process::id());
}

#[test]
fn connects_that_fail() {
    let Some(_turn) = turn("connects_that_fail", Noise::Little) else {
        return;
    };
    let lane = Lane {
        test: TEST,
        space: 0,
    };
    let port = lane.closed_port(0);
    let said = diagnosed(&[], move || {
        let (listener, to) = listener(TEST);
        connections(&listener, to, 10, true);
        for _ in 0..12 {
            TcpStream::connect((ip(TEST), port)).unwrap_err();
        }
    });
    let found = finding(&said, "connect_failures");
    assert_eq!(found["subject"], format!("remote port {port}"));
    assert_eq!(found["evidence"]["connects"], 12);
    assert_eq!(found["evidence"]["refused"], 12);
    // As advised: somebody listens.
    let said = diagnosed(&[], move || {
        let address = SocketAddr::new(ip(TEST), port);
        let (listener, _) = listen(address);
        connections(&listener, address, 12, true);
    });
    is_fine(&said, "connect_failures");
}

#[test]
fn closing_with_unread_data() {
    let Some(_turn) = turn("closing_with_unread_data", Noise::Little) else {
        return;
    };
    let work = |test: u8, reads: bool, linger: bool| {
        move || {
            let (listener, to) = listener(test);
            for _ in 0..20 {
                let mut client = TcpStream::connect(to).unwrap();
                let (mut server, _) = listener.accept().unwrap();
                client.write_all(b"more than you want").unwrap();
                server.read_exact(&mut [0]).unwrap();
                if reads {
                    client.shutdown(std::net::Shutdown::Write).unwrap();
                    server.read_to_end(&mut Vec::new()).unwrap();
                }
                if linger {
                    spawn::reset(server);
                } else {
                    spawn::close(server);
                }
                let _ = client.read(&mut [0]);
                spawn::close(client);
            }
        }
    };
    let said = diagnosed(&[], work(TEST, false, false));
    let found = finding(&said, "reset_storm");
    assert_eq!(found["subject"], "close with unread data");
    assert_eq!(found["evidence"]["unread_data"], 20);
    assert_eq!(found["evidence"]["local_reset"], 20);
    assert_eq!(found["evidence"]["remote_reset"], 20);
    let said = diagnosed(&[], work(TEST, true, false));
    is_fine(&said, "reset_storm");
}

#[test]
fn peers_that_never_close() {
    let Some(_turn) = turn("peers_that_never_close", Noise::Little) else {
        return;
    };
    let work = |test: u8, mends: bool| {
        move || {
            let (listener, to) = listener(test);
            let mut never_closed = Vec::new();
            for _ in 0..15 {
                let client = connect_from(SocketAddr::new(ip(test), 0), to);
                let (server, _) = listener.accept().unwrap();
                spawn::close(client);
                if !mends {
                    never_closed.push(server);
                }
            }
            thread::sleep(Duration::from_secs(4));
        }
    };
    let said = diagnosed(&[("tcp_fin_timeout", "2")], work(TEST, false));
    let found = finding(&said, "fin_wait2_orphans");
    assert_eq!(found["evidence"]["fin_timeout"], 15);
    assert_eq!(found["evidence"]["tcp_fin_timeout_s"], 2);
    // The setting itself is folklore, in case it was meant for TIME_WAIT.
    let folklore = finding(&said, "folklore");
    assert_eq!(folklore["subject"], "net.ipv4.tcp_fin_timeout=2");
    let said = diagnosed(&[], work(TEST, true));
    is_fine(&said, "fin_wait2_orphans");
    is_fine(&said, "folklore");
}

#[test]
fn settings_that_do_nothing() {
    let Some(_turn) = turn("settings_that_do_nothing", Noise::Little) else {
        return;
    };
    let said = diagnosed(&[("tcp_tw_reuse", "1"), ("tcp_timestamps", "0")], || {});
    let found = finding(&said, "folklore");
    assert_eq!(found["subject"], "net.ipv4.tcp_tw_reuse=1");
    assert!(found["summary"].as_str().unwrap().contains("timestamps"));
    let said = diagnosed(&[("tcp_tw_reuse", "1")], || {});
    is_fine(&said, "folklore");
}

#[test]
fn a_service_in_the_way_of_the_kernel() {
    let Some(_turn) = turn("a_service_in_the_way_of_the_kernel", Noise::Little) else {
        return;
    };
    let serve = || {
        let (listener, _) = listen(SocketAddr::new(ip(TEST), 40_100));
        // It must be there when the window ends.
        std::mem::forget(listener);
    };
    let said = diagnosed(&[NARROW], serve);
    let found = finding(&said, "listen_port_in_ephemeral_range");
    assert_eq!(found["evidence"]["ports"], serde_json::json!([40_100]));
    let said = diagnosed(&[NARROW, ("ip_local_reserved_ports", "40100")], serve);
    is_fine(&said, "listen_port_in_ephemeral_range");
}

#[test]
fn a_forecast_comes_true() {
    let Some(_turn) = turn("a_forecast_comes_true", Noise::Little) else {
        return;
    };
    let (said, ended, failed) = Netns::new(|netns| {
        sysctl("ip_local_port_range", "40000 41199");
        leave_waiting_ports();
        let mut command = Command::new(binary());
        let netns = netns.to_string();
        command.args(["diagnose", "--format", "json", "--netns", &netns]);
        let tool = Tool::attached(&mut command);
        let (listener, to) = listener(TEST);
        let made = AtomicU64::new(0);
        thread::scope(|scope| {
            let runs = scope.spawn(|| {
                // At a steady pace until no port is left.
                let began = mono_ns();
                for i in 1..=2000 {
                    if TcpStream::connect(to).map(drop).is_err() {
                        break;
                    }
                    drop(listener.accept().unwrap());
                    made.store(i, Ordering::Relaxed);
                    let due = began + i * 10_000_000;
                    thread::sleep(Duration::from_nanos(due.saturating_sub(mono_ns())));
                }
                mono_ns()
            });
            // Four of five ports are taken, however long that took.
            let enough = || (made.load(Ordering::Relaxed) >= 960).then_some(());
            until(PATIENCE, enough).expect("so many connections");
            let ended = mono_ns();
            let finished = tool.interrupt();
            finished.assert_success();
            let said: Value = serde_json::from_slice(&finished.stdout).unwrap();
            (said, ended, runs.join().unwrap())
        })
    })
    .run();
    let found = finding(&said, "time_wait_pressure");
    let forecast = found["evidence"]["exhausted_in_s"].as_f64().unwrap();
    let truth = Duration::from_nanos(failed - ended).as_secs_f64();
    eprintln!("forecast {forecast:.2} s, it took {truth:.2} s");
    assert!(
        (forecast - truth).abs() <= 0.2 * truth,
        "{forecast} s, it took {truth} s: {found:#}"
    );
}
