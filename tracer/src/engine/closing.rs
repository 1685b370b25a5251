//! Who closed first, and how a connection ended: the table of [`tracer_common::closing`], which the
//! kernel programs judge by, too, in the engine's words.

use tracer_common::closing;
pub use tracer_common::closing::{ClosedFirst, EndReason, Evidence};

use super::state::TcpState;

/// Who closed first, as far as this one change tells. `None`: it does not.
pub fn closed_first(
    from: TcpState,
    to: TcpState,
    evidence: Option<&Evidence>,
) -> Option<ClosedFirst> {
    closing::closed_first(from as u8, to as u8, evidence)
}

/// Who closed first, as far as the state tells that a connection is found in.
pub fn was_closed_first(state: TcpState) -> Option<ClosedFirst> {
    closing::was_closed_first(state as u8)
}

/// Why a full socket went to `CLOSE` from `from`; `port`: whether it had a local port. `None` for a
/// listener.
pub fn end_reason(from: TcpState, port: bool, evidence: Option<&Evidence>) -> Option<EndReason> {
    closing::end_reason(from as u8, port, evidence)
}
