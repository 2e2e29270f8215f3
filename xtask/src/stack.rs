//! How much stack each eBPF program takes, read from its instructions.
//!
//! The verifier tells it in its log alone, which a kernel writes only when asked to, and loaders ask when a program was
//! refused. What a program can reach of its 512 bytes lies in its code: every use of the frame pointer.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

/// `struct bpf_insn`: code, two registers, offset, immediate.
const INSTRUCTION_BYTES: usize = 8;
/// The read-only frame pointer.
const FRAME: u8 = 10;
/// `BPF_CLASS`
const CLASS: u8 = 0x07;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
/// `BPF_ALU64 | BPF_MOV | BPF_X`
const MOVE: u8 = 0xbf;
/// `BPF_ALU64 | BPF_ADD | BPF_K`
const ADD: u8 = 0x07;
/// `BPF_JMP | BPF_CALL`
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_CALL`: of another function of the object.
const PSEUDO_CALL: u8 = 1;
/// `BPF_LD | BPF_DW | BPF_IMM`, which takes two slots.
const LOAD_WIDE: u8 = 0x18;
/// Where the compiler puts functions that are no programs.
const FUNCTIONS: &str = ".text";

/// The stack of each program of an object, in bytes.
pub(crate) fn depths(object: &Path) -> Result<BTreeMap<String, u32>> {
    let bytes = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let file = object::File::parse(&*bytes).context("the eBPF object is no ELF file")?;
    let mut programs = BTreeMap::new();
    let mut called = 0;
    for symbol in file.symbols().filter(|it| it.kind() == SymbolKind::Text) {
        let Some(index) = symbol.section_index() else {
            continue;
        };
        let section = file.section_by_index(index)?;
        let from = symbol.address() as usize;
        let data = section.data()?;
        let Some(code) = data.get(from..from + symbol.size() as usize) else {
            bail!("the eBPF object's symbols do not fit its sections");
        };
        let frame = frame(code);
        match section.name()? {
            FUNCTIONS => called = called.max(frame.depth),
            _ => drop(programs.insert(symbol.name()?.to_owned(), frame)),
        }
    }
    let whole = |frame: Frame| match frame.calls {
        // Which one it calls only a relocation tells; the deepest is a bound.
        true => frame.depth + called,
        false => frame.depth,
    };
    Ok(programs
        .into_iter()
        .map(|(name, frame)| (name, whole(frame)))
        .collect())
}

/// A function's own stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    /// Bytes, as the verifier counts them: in words of 8.
    depth: u32,
    /// Whether it calls another function of the object.
    calls: bool,
}

/// The deepest place that the code names: in a load or store by the frame pointer, or by a register that was made from
/// it a moment before.
fn frame(code: &[u8]) -> Frame {
    let mut places: [Option<i64>; 16] = [None; 16];
    places[usize::from(FRAME)] = Some(0);
    let mut deepest = 0;
    let mut calls = false;
    let mut is_second_half = false;
    for insn in code.chunks_exact(INSTRUCTION_BYTES) {
        if std::mem::take(&mut is_second_half) {
            continue;
        }
        let (code, to, from) = (insn[0], insn[1] & 0xf, insn[1] >> 4);
        let offset = i64::from(i16::from_le_bytes([insn[2], insn[3]]));
        let number = i64::from(i32::from_le_bytes([insn[4], insn[5], insn[6], insn[7]]));
        let mut reach = |place: Option<i64>, offset: i64| {
            if let Some(place) = place {
                deepest = deepest.min(place + offset);
            }
        };
        let (to, from) = (usize::from(to), usize::from(from));
        match code {
            MOVE => places[to] = places[from],
            ADD => {
                places[to] = places[to].map(|place| place + number);
                reach(places[to], 0);
            }
            CALL => {
                calls |= insn[1] >> 4 == PSEUDO_CALL;
                places[..6].fill(None);
            }
            LOAD_WIDE => {
                places[to] = None;
                is_second_half = true;
            }
            _ => match code & CLASS {
                LDX => {
                    reach(places[from], offset);
                    places[to] = None;
                }
                ST | STX => reach(places[to], offset),
                // Jumps leave registers alone, and 32-bit or other arithmetic makes no address.
                0x05 | 0x06 => {}
                _ => places[to] = None,
            },
        }
        places[usize::from(FRAME)] = Some(0);
    }
    let depth = u32::try_from(-deepest).unwrap_or(0).next_multiple_of(8);
    Frame { depth, calls }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u8, to: u8, from: u8, offset: i16, number: i32) -> [u8; 8] {
        let mut bytes = [code, from << 4 | to, 0, 0, 0, 0, 0, 0];
        bytes[2..4].copy_from_slice(&offset.to_le_bytes());
        bytes[4..].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    #[test]
    fn the_deepest_place_counts() {
        let none = [insn(0xb7, 0, 0, 0, 0), insn(0x95, 0, 0, 0, 0)].concat();
        assert_eq!(
            frame(&none),
            Frame {
                depth: 0,
                calls: false
            }
        );
        // *(u64 *)(r10 - 20) = r1
        let store = insn(0x7b, 10, 1, -20, 0);
        assert_eq!(frame(&store).depth, 24);
        // r2 = r10; r2 += -64; *(u8 *)(r2 + 8) = 0
        let derived = [
            insn(MOVE, 2, 10, 0, 0),
            insn(ADD, 2, 0, 0, -64),
            insn(0x72, 2, 0, 8, 0),
        ];
        assert_eq!(frame(&derived.concat()).depth, 64);
        // The same register, made of something else meanwhile.
        let other = [
            insn(MOVE, 2, 10, 0, 0),
            insn(0x79, 2, 1, 0, 0),
            insn(ADD, 2, 0, 0, -64),
        ];
        assert_eq!(frame(&other.concat()).depth, 0);
    }

    #[test]
    fn calls_of_the_kernel_are_no_frames() {
        let helper = insn(CALL, 0, 0, 0, 14);
        let own = insn(CALL, 0, PSEUDO_CALL, 0, -1);
        assert!(!frame(&helper).calls && frame(&own).calls);
    }
}
