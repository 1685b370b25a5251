//! Records from before the kernel programs had the filter: held against it here, by the same rules.

use std::mem::offset_of;

use tracer_common::record::{FLAG_UNWANTED, StateChange};

use crate::{decode::Decoder, engine::EventBody, filter::Filter};

/// Where every record of a change has its flags: those that hold more begin with it.
const FLAGS: usize = offset_of!(StateChange, flags);

/// Whether a record is to be delivered. One by which a connection turns out not to be wanted is, and
/// says so.
pub(super) fn sift(record: &mut [u8], decoder: &Decoder, filter: &Filter) -> bool {
    let Ok(mut event) = decoder.event(record) else {
        return true;
    };
    let is_admitted = filter.admits(&mut event.body);
    if let EventBody::StateChange(change) = event.body
        && change.unwanted
        && let Some(flags) = record.get_mut(FLAGS)
    {
        *flags |= FLAG_UNWANTED;
    }
    is_admitted
}

#[cfg(test)]
mod tests {
    use tracer_common::{
        filter::{LPORT, add_port},
        record::{Aborted, KIND_ABORTED, KIND_STATE_CHANGE, room},
        state::{CLOSE, ESTABLISHED, FIN_WAIT1, SYN_SENT},
    };

    use super::*;

    /// A change of a connection from port 40000 to port 80.
    fn record<T>(kind: u8, oldstate: u8, newstate: u8) -> Vec<u8> {
        let mut record = vec![0; room::<T>()];
        record[..4].copy_from_slice(&[kind, 0, oldstate, newstate]);
        record[offset_of!(StateChange, family)] = 2;
        record[offset_of!(StateChange, sport)..][..2].copy_from_slice(&40_000_u16.to_ne_bytes());
        record[offset_of!(StateChange, dport)..][..2].copy_from_slice(&80_u16.to_ne_bytes());
        record
    }

    #[test]
    fn the_rules_are_those_of_the_kernel_programs() {
        let mut filter = Filter::default();
        filter.kernel.criteria = LPORT;
        add_port(&mut filter.kernel.lports, 443);
        let sift = |mut record: Vec<u8>| {
            let delivered = sift(&mut record, &Decoder::default(), &filter);
            (delivered, record[FLAGS] & FLAG_UNWANTED != 0)
        };
        // Its opening had no port yet, and was delivered.
        let opened = record::<StateChange>(KIND_STATE_CHANGE, SYN_SENT, ESTABLISHED);
        assert_eq!(sift(opened), (true, true));
        let closing = record::<StateChange>(KIND_STATE_CHANGE, ESTABLISHED, FIN_WAIT1);
        assert_eq!(sift(closing), (false, false));
        let aborted = record::<Aborted>(KIND_ABORTED, FIN_WAIT1, CLOSE);
        assert_eq!(sift(aborted), (false, false));
    }
}
