//! The one table of what the filter means, for kernel, tool and recordings alike.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tracer_common::{
    address::{AF_INET, AF_INET6, Address, UNSPECIFIED, mapped, words},
    filter::{
        Cidr, FilterConfig, LADDR, LPORT, NETNS, ONLY_V4, ONLY_V6, RADDR, RPORT, Subject,
        Verdict::{self, Pass, Reject, Undecided},
        add_port,
    },
    state::{ESTABLISHED, SYN_RECV, SYN_SENT},
};

fn v6(last: u8) -> Address {
    let mut address = UNSPECIFIED;
    (address[0], address[1], address[15]) = (0x20, 0x01, last);
    address
}

fn whole(family: u16, laddr: Address, raddr: Address) -> Subject {
    Subject {
        laddr: words(&laddr),
        raddr: words(&raddr),
        netns: 7,
        lport: 40_000,
        rport: 443,
        family,
        listens: 0,
        reserved: [0; 2],
    }
}

fn filter(build: impl FnOnce(&mut FilterConfig)) -> FilterConfig {
    let mut filter = FilterConfig::default();
    build(&mut filter);
    filter
}

fn lport(port: u16) -> FilterConfig {
    filter(|f| {
        f.criteria |= LPORT;
        add_port(&mut f.lports, port);
    })
}

fn rport(port: u16) -> FilterConfig {
    filter(|f| {
        f.criteria |= RPORT;
        add_port(&mut f.rports, port);
    })
}

fn raddr(address: Address, prefix: u8) -> FilterConfig {
    filter(|f| {
        f.criteria |= RADDR;
        f.raddrs[0] = Cidr::new(&address, prefix);
        f.raddr_count = 1;
    })
}

fn laddr(address: Address, prefix: u8) -> FilterConfig {
    filter(|f| {
        f.criteria |= LADDR;
        f.laddrs[0] = Cidr::new(&address, prefix);
        f.laddr_count = 1;
    })
}

fn netns(inode: u32) -> FilterConfig {
    filter(|f| {
        f.criteria |= NETNS;
        f.netns[0] = inode;
        f.netns_count = 1;
    })
}

fn only(bit: u32) -> FilterConfig {
    filter(|f| f.criteria |= bit)
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn the_table() {
    let v4 = whole(AF_INET, mapped([10, 0, 0, 1]), mapped([192, 0, 2, 9]));
    let dual = Subject {
        family: AF_INET6,
        ..v4
    };
    let six = whole(AF_INET6, v6(1), v6(2));
    let syn_sent = Subject {
        lport: 0,
        laddr: words(&mapped([0; 4])),
        ..v4
    };
    let cloned = Subject {
        rport: 0,
        raddr: [0; 2],
        laddr: [0; 2],
        ..dual
    };
    let no_netns = Subject { netns: 0, ..v4 };
    let table: Vec<(&str, FilterConfig, Subject, Verdict)> = vec![
        ("nothing asked", filter(|_| ()), v4, Pass),
        ("lport", lport(40_000), v4, Pass),
        ("other lport", lport(40_001), v4, Reject),
        ("lport not chosen yet", lport(40_000), syn_sent, Undecided),
        ("rport of a connect", rport(443), syn_sent, Pass),
        ("other rport of a connect", rport(80), syn_sent, Reject),
        ("rport of a clone", rport(443), cloned, Undecided),
        (
            "port 65535",
            lport(65_535),
            Subject {
                lport: 65_535,
                ..v4
            },
            Pass,
        ),
        ("-4", only(ONLY_V4), v4, Pass),
        ("-4, v4-mapped", only(ONLY_V4), dual, Pass),
        ("-4, IPv6", only(ONLY_V4), six, Reject),
        ("-4, dual-stack clone", only(ONLY_V4), cloned, Undecided),
        ("-6", only(ONLY_V6), six, Pass),
        ("-6, IPv4", only(ONLY_V6), v4, Reject),
        ("-6, v4-mapped", only(ONLY_V6), dual, Reject),
        (
            "-6, listener on ::",
            only(ONLY_V6),
            Subject {
                listens: 1,
                ..cloned
            },
            Pass,
        ),
        (
            "-4, listener on ::",
            only(ONLY_V4),
            Subject {
                listens: 1,
                ..cloned
            },
            Reject,
        ),
        ("raddr", raddr(mapped([192, 0, 2, 0]), 120), v4, Pass),
        (
            "raddr, v4-mapped",
            raddr(mapped([192, 0, 2, 0]), 120),
            dual,
            Pass,
        ),
        (
            "raddr outside",
            raddr(mapped([192, 0, 3, 0]), 120),
            v4,
            Reject,
        ),
        ("raddr everything IPv4", raddr(mapped([0; 4]), 96), v4, Pass),
        (
            "raddr everything IPv4, IPv6",
            raddr(mapped([0; 4]), 96),
            six,
            Reject,
        ),
        ("raddr ::/0", raddr(UNSPECIFIED, 0), six, Pass),
        ("raddr /128", raddr(v6(2), 128), six, Pass),
        ("raddr /128 next", raddr(v6(3), 128), six, Reject),
        ("raddr /63", raddr(v6(200), 63), six, Pass),
        ("raddr of a clone", raddr(v6(2), 128), cloned, Undecided),
        ("laddr", laddr(mapped([10, 0, 0, 0]), 104), v4, Pass),
        (
            "laddr not chosen yet",
            laddr(mapped([10, 0, 0, 0]), 104),
            syn_sent,
            Undecided,
        ),
        ("netns", netns(7), v4, Pass),
        ("other netns", netns(8), v4, Reject),
        ("netns not known", netns(7), no_netns, Undecided),
        (
            "reject wins over undecided",
            {
                let mut f = lport(1);
                f.criteria |= NETNS;
                (f.netns[0], f.netns_count) = (8, 1);
                f
            },
            syn_sent,
            Reject,
        ),
    ];
    for (what, filter, subject, expected) in table {
        assert_eq!(filter.verdict(&subject), expected, "{what}");
    }
}

#[test]
fn several_values_are_any_of_them() {
    let mut many = lport(1);
    add_port(&mut many.lports, 40_000);
    let v4 = whole(AF_INET, mapped([10, 0, 0, 1]), mapped([192, 0, 2, 9]));
    assert_eq!(many.verdict(&v4), Pass);
    let mut blocks = laddr(mapped([10, 9, 0, 0]), 112);
    blocks.laddrs = [blocks.laddrs[0]; 16];
    blocks.laddrs[15] = Cidr::new(&mapped([10, 0, 0, 0]), 112);
    blocks.laddr_count = 16;
    assert_eq!(blocks.verdict(&v4), Pass);
    blocks.laddr_count = 15;
    assert_eq!(blocks.verdict(&v4), Reject);
}

#[test]
fn what_was_unknown_at_the_opening() {
    let v4 = whole(AF_INET, mapped([10, 0, 0, 1]), mapped([192, 0, 2, 9]));
    let active = v4.at_opening(SYN_SENT).unwrap();
    assert_eq!((active.lport, active.rport), (0, 443));
    assert_eq!(lport(1).verdict(&active), Undecided);
    let passive = v4.at_opening(SYN_RECV).unwrap();
    assert_eq!((passive.lport, passive.rport), (40_000, 0));
    assert_eq!(rport(1).verdict(&passive), Undecided);
    assert_eq!(v4.at_opening(ESTABLISHED), None);
}
