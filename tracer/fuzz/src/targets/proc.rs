//! Text of /proc: what the tool reads itself, and what it has `procfs` read.

use procfs::{
    FromRead as _, ProcessCGroups,
    process::{StatM, Status},
    sys::kernel::Version,
};
use tracer::{
    ebpf::{Lockdown, recursion_misses_in},
    enrich::{max_open_files, socket_inode, state_in},
    stack::Symbols,
};

use super::{Target, inputs};

pub const PROC: Target = Target {
    name: "proc",
    seeds,
    cases: 20_000,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "socket:[123456]",
        "0::/system.slice/nginx.service\n",
        "12:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/\n",
        "prog_id:\t7\nrun_cnt:\t12\nrecursion_misses:\t3\n",
        "none [integrity] confidentiality\n",
        "6.18.0-rc3-amd64\n",
        "ffffffff81000000 T tw_timer_handler\nffffffff81000100 t tcp_v4_rcv.part.0\n",
        "1 (a) b) S 0 1 1 0 -1 4194560\n",
        "100 20 3 4 0 5 0\n",
        "Name:\ta\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t1\nNgid:\t0\nPid:\t1\nPPid:\t0\n\
         TracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t64\nGroups:\t0 \nThreads:\t1\n\
         SigQ:\t0/1\nSigPnd:\t0\nShdPnd:\t0\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t0\nCapInh:\t0\nCapPrm:\t0\n\
         CapEff:\t0\n",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max open files            1024                 unlimited            files     \n",
    ];
    inputs(texts)
}

fn run(bytes: &[u8]) {
    let _ = socket_inode(bytes);
    let text = String::from_utf8_lossy(bytes);
    let _ = recursion_misses_in(&text);
    let _ = Lockdown::parse(&text).name();
    let _ = text.parse::<Version>();
    let _ = ProcessCGroups::from_read(bytes);
    let _ = Status::from_read(bytes);
    let _ = state_in(bytes);
    let _ = StatM::from_read(bytes);
    let _ = max_open_files(&text);
    symbols(bytes, &text);
}

/// As `/proc/kallsyms` has them.
fn symbols(bytes: &[u8], text: &str) {
    let Ok(symbols) = Symbols::read(bytes) else {
        return;
    };
    let words = text.split_whitespace();
    let stack: Vec<u64> = words
        .filter_map(|word| u64::from_str_radix(word, 16).ok())
        .collect();
    let _ = symbols.nearest(&stack);
    let _ = symbols.aborted(&stack);
    let _ = symbols.frames();
}
