//! Every filter shows exactly the subset of the unfiltered run that it names.

use std::{net::IpAddr, sync::mpsc, thread};

use crate::{
    child,
    netns::Netns,
    row::{Identity, Row},
    skip::{Noise, is_scaled_down, turn},
    small::{SMALL, of_netns, work},
    tool::{self, Tool, trace},
    workload::{Lane, listen},
};

const COMM: &str = "dwell-child";

type Meaning = Box<dyn Fn(&Row) -> bool>;

const LANE: Lane = Lane { test: 4, space: 0 };

#[test]
fn filters_agree() {
    let Some(_turn) = turn("filters_agree", Noise::Little) else {
        return;
    };
    let lane = LANE;
    let (tell_child, child) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let space = Netns::new(move |netns| {
        let address = (lane.address(50), lane.port(20)).into();
        let (listener, _) = listen(address);
        let mut child = child::connects(address, 10, COMM.as_bytes());
        tell_child.send(child.id()).unwrap();
        wait.recv().unwrap();
        drop(child.stdin.take());
        thread::scope(|scope| {
            scope.spawn(|| child::serve(&listener, 10));
            work(netns, lane, SMALL);
        });
        assert!(tool::wait(&mut child).success());
    });
    let inode = space.inode;
    let running = space.start();
    let mut cases = cases(lane, inode, child.recv().unwrap());
    if is_scaled_down() {
        // There the verifier takes seconds for each.
        let mut i = 0;
        cases.retain(|_| {
            i += 1;
            i % 3 == 1
        });
    }
    let start = |args: &[String]| {
        let mut command = trace(["--format", "ndjson", "--ring-size", "1M"]);
        Tool::attached(command.args(args))
    };
    let unfiltered = start(&[]);
    let filtered: Vec<Tool> = cases.iter().map(|(args, _)| start(args)).collect();
    let all = || std::iter::once(&unfiltered).chain(&filtered);
    go.send(()).unwrap();
    running.join().unwrap();
    all().for_each(Tool::settle);

    let unfiltered = rows(unfiltered, inode);
    for ((args, means), tool) in cases.iter().zip(filtered) {
        let expected: Vec<&Row> = unfiltered.iter().filter(|row| means(row)).collect();
        let got = rows(tool, inode);
        assert!(!expected.is_empty(), "{args:?} is a test of something");
        let (expected, got) = (identities(expected), identities(&got));
        let missing: Vec<_> = expected.iter().filter(|i| !got.contains(i)).collect();
        let extra: Vec<_> = got.iter().filter(|i| !expected.contains(i)).collect();
        assert!(
            expected == got,
            "{args:?}: {} expected, {} printed; missing {missing:#?}; extra {extra:#?}",
            expected.len(),
            got.len()
        );
    }
}

/// Filters, and what they mean.
fn cases(lane: Lane, inode: u32, child: u32) -> Vec<(Vec<String>, Meaning)> {
    let (p0, p1, dual) = (lane.port(0), lane.port(1), lane.port(32));
    let pair0 = lane.address(1);
    let in_space = move |ip: Option<IpAddr>| match (ip, lane.address(0)) {
        (Some(IpAddr::V4(ip)), IpAddr::V4(space)) => ip.octets()[..3] == space.octets()[..3],
        _ => false,
    };
    let v6_loopback = |ip: Option<IpAddr>| ip.is_some_and(|ip| ip.is_ipv6() && ip.is_loopback());
    let state = |name: &'static str| move |r: &Row| r.from == name || r.to == name;
    let list: Vec<(String, Meaning)> = vec![
        (format!("-L {p0}"), Box::new(move |r| r.lport == Some(p0))),
        (
            format!("-L {p0},{dual}"),
            Box::new(move |r| r.lport == Some(p0) || r.lport == Some(dual)),
        ),
        (format!("-D {p1}"), Box::new(move |r| r.rport == Some(p1))),
        (
            format!("-D {p0},{dual}"),
            Box::new(move |r| r.rport == Some(p0) || r.rport == Some(dual)),
        ),
        (
            format!("--laddr {pair0}"),
            Box::new(move |r| r.laddr == Some(pair0)),
        ),
        (
            format!("--laddr {}/24", lane.address(0)),
            Box::new(move |r| in_space(r.laddr)),
        ),
        (
            format!("--raddr {}/24", lane.address(0)),
            Box::new(move |r| in_space(r.raddr)),
        ),
        (
            "--raddr ::1/128".into(),
            Box::new(move |r| v6_loopback(r.raddr)),
        ),
        ("-4".into(), Box::new(|r| r.family == 4)),
        ("-6".into(), Box::new(|r| r.family == 6)),
        (
            format!("--netns {inode}"),
            Box::new(move |r| r.netns == Some(inode)),
        ),
        (
            format!("--comm {COMM}"),
            Box::new(|r| r.comm.as_deref() == Some(COMM)),
        ),
        (
            format!("-p {child}"),
            Box::new(move |r| r.pid == Some(child)),
        ),
        ("--state CLOSE_WAIT".into(), Box::new(state("CLOSE_WAIT"))),
        ("--state syn-sent".into(), Box::new(state("SYN_SENT"))),
        (
            format!("-4 -D {p0} --netns {inode}"),
            Box::new(move |r| r.family == 4 && r.rport == Some(p0)),
        ),
    ];
    list.into_iter()
        .map(|(args, means)| (args.split(' ').map(Into::into).collect(), means))
        .collect()
}

fn rows(tool: Tool, inode: u32) -> Vec<Row> {
    let finished = tool.interrupt();
    finished.assert_success();
    assert_eq!(finished.completeness().lost, 0);
    let rows = finished.rows();
    // The last of TIME_WAIT comes with the end of the namespace, or after that of the tool.
    let late = |row: &&Row| row.from == "TIME_WAIT" || row.to == "TIME_WAIT";
    let rows = of_netns(&rows, &[inode], LANE).into_iter();
    rows.filter(|row| !late(row)).cloned().collect()
}

fn identities<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<Identity> {
    let mut identities: Vec<_> = rows.into_iter().map(Row::identity).collect();
    identities.sort();
    identities
}
