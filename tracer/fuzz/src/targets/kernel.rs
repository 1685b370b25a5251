//! What the kernel says of itself: BTF, and the `format` files of its tracepoints.

use tracer::ebpf::{Btf, format_fields};

use super::Target;

/// Looked for in whatever it is.
const PATHS: [&str; 6] = [
    "StateChange.tuple.local",
    "bpf_map_def.type",
    "sock.__sk_common.skc_state",
    "Record.__0",
    "u64.x",
    "",
];

pub const BTF: Target = Target {
    name: "btf",
    seeds: Vec::new,
    cases: 6_000,
    run: btf,
};

fn btf(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes) else {
        return;
    };
    for path in PATHS {
        let _ = btf.offset_of(path);
        let _ = btf.is_pointer(path);
    }
    let _ = btf.arguments("inet_csk_accept");
}

pub const FORMATS: Target = Target {
    name: "format",
    seeds: Vec::new,
    cases: 20_000,
    run: format,
};

fn format(bytes: &[u8]) {
    if let Ok(fields) = format_fields(&String::from_utf8_lossy(bytes)) {
        assert!(fields.len() <= bytes.len());
    }
}
