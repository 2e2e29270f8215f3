//! Which protocol a socket has.

use crate::{kernel::Object, maps::offset};

/// `IPPROTO_TCP`
pub(crate) const TCP: u16 = 6;
/// `IPPROTO_MPTCP`
pub(crate) const MPTCP: u16 = 262;

/// Whether a socket is TCP's (`inet_sock_set_state` fires for MPTCP, DCCP and SCTP too).
#[inline(always)]
pub(crate) fn is_tcp(sk: impl Object) -> bool {
    protocol(sk) == Some(TCP)
}

/// Its protocol.
#[inline(always)]
pub(crate) fn protocol(sk: impl Object) -> Option<u16> {
    if offset!(sk_protocol_bytes) == 1 {
        sk.read::<u8>(offset!(sk_protocol)).map(u16::from)
    } else {
        sk.read::<u16>(offset!(sk_protocol))
    }
}
