//! BTF that would be looked through for ever.

use std::time::Duration;

use tracer::ebpf::Btf;

/// Nothing takes this long but a loop without an end.
const LONG: Duration = Duration::from_secs(10);

/// A struct whose members have no names and are all the struct itself.
#[test]
fn btf_that_leads_nowhere() {
    const STRUCT: u32 = 4;
    let names = b"\0a\0";
    let members: u32 = 2000;
    let mut types = vec![1, STRUCT << 24 | members, 8];
    for _ in 0..members {
        types.extend([0, 1, 0]);
    }
    let types: Vec<u8> = types
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect();
    let length = u32::try_from(types.len()).unwrap();
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, length, length, 3] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(types);
    bytes.extend(names);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let btf = Btf::parse(&bytes).unwrap();
        tell.send(btf.offset_of("a.x").is_err()).unwrap();
    });
    assert_eq!(
        told.recv_timeout(LONG),
        Ok(true),
        "it is looked through for ever"
    );
}
