//! Tuples and their addresses, written and compared by words: the compiler's own way is a loop over bytes, which the verifier
//! follows as often as it is run.

use c1m_common::tuple::Tuple;

use crate::kernel::Side;

/// Sets the ports of `tuple`, as `side` sees them, and gives back the addresses to fill: its own, the other's.
#[inline(always)]
pub(crate) fn ends(
    tuple: &mut Tuple,
    side: Side,
    own_port: u16,
    other_port: u16,
) -> (&mut [u8; 16], &mut [u8; 16]) {
    match side {
        Side::Client => {
            tuple.client_port = own_port;
            tuple.server_port = other_port;
            (&mut tuple.client, &mut tuple.server)
        }
        Side::Server => {
            tuple.client_port = other_port;
            tuple.server_port = own_port;
            (&mut tuple.server, &mut tuple.client)
        }
    }
}

/// Makes the address of a [`Tuple`] IPv4-mapped, and gives back the four bytes to fill.
#[inline(always)]
pub(crate) fn v4_part(address: &mut [u8; 16]) -> &mut [u8] {
    set_word(&mut address[..4], V4_PREFIX[0]);
    set_word(&mut address[4..], V4_PREFIX[1]);
    set_word(&mut address[8..], V4_PREFIX[2]);
    &mut address[12..]
}

/// How an IPv4-mapped address begins, by words.
pub(crate) const V4_PREFIX: [u32; 3] = [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff])];

/// An address by words.
#[inline(always)]
pub(crate) fn words(address: &[u8; 16]) -> [u32; 4] {
    let word = |at: usize| {
        u32::from_ne_bytes([
            address[at],
            address[at + 1],
            address[at + 2],
            address[at + 3],
        ])
    };
    [word(0), word(4), word(8), word(12)]
}

/// Sets four bytes of an address of a [`Tuple`] at once.
#[inline(always)]
pub(crate) fn set_word(bytes: &mut [u8], word: u32) {
    if bytes.len() >= 4 {
        // SAFETY: so many are there, and a tuple's addresses are as aligned as the tuple: to four bytes.
        unsafe { bytes.as_mut_ptr().cast::<u32>().write(word) }
    }
}

/// Whether two tuples are the same, by words: the compiler's own way is a loop over bytes. Volatile, so that it ends at the
/// first that differs, and no combination of outcomes is left for the verifier to follow.
#[inline(always)]
pub(crate) fn is_same(one: &Tuple, other: &Tuple) -> bool {
    const WORDS: usize = size_of::<Tuple>() / 4;
    let (one, other) = (
        (&raw const *one).cast::<u32>(),
        (&raw const *other).cast::<u32>(),
    );
    let mut i = 0;
    while i < WORDS {
        // SAFETY: both have so many words, and are aligned to them.
        if unsafe { one.add(i).read_volatile() != other.add(i).read_volatile() } {
            return false;
        }
        i += 1;
    }
    true
}
