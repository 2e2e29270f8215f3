//! A BTF blob, read where it lies: of 150,000 types a trace asks for two hundred, so nothing is kept of the others but where they
//! begin. (Documentation/bpf/btf.rst is the format.)

use std::ops::Range;

use anyhow::{Context as _, ensure};

/// What a type is: `BTF_KIND_…`, as far as it is asked for.
pub(super) mod kind {
    pub(in super::super) const INT: u8 = 1;
    pub(in super::super) const PTR: u8 = 2;
    pub(in super::super) const STRUCT: u8 = 4;
    pub(in super::super) const UNION: u8 = 5;
    pub(in super::super) const ENUM: u8 = 6;
    pub(super) const FWD: u8 = 7;
    pub(in super::super) const TYPEDEF: u8 = 8;
    pub(in super::super) const VOLATILE: u8 = 9;
    pub(in super::super) const CONST: u8 = 10;
    pub(in super::super) const FUNC: u8 = 12;
    pub(in super::super) const FUNC_PROTO: u8 = 13;
    pub(in super::super) const TYPE_TAG: u8 = 18;
}

/// The first two bytes, in the order of this machine.
const MAGIC: u16 = 0xeb9f;
/// `struct btf_header`
const HEADER_BYTES: usize = 24;
/// `struct btf_type`: name, kind and number of members, size or other type.
const TYPE_BYTES: usize = 12;

/// A BTF blob whose bounds have been checked.
pub(super) struct Blob {
    bytes: Vec<u8>,
    strings: Range<usize>,
    /// Where the type with the number of this index and 1 begins.
    types: Vec<u32>,
    /// Hashes of names, with the numbers of the types that have them, sorted.
    names: Vec<(u32, u32)>,
}

/// One type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    pub(super) id: u32,
    pub(super) kind: u8,
    /// Its size in bytes, or the number of the type that it refers to.
    pub(super) refers: u32,
    /// How many members, values or parameters it has.
    pub(super) len: usize,
    name: u32,
    /// Offsets of its members have a bit field's size in their upper byte.
    bit_fields: bool,
    at: usize,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// Empty if it is an anonymous struct or union.
    pub(super) name: &'a [u8],
    pub(super) id: u32,
    pub(super) bit_offset: u32,
}

impl Blob {
    /// Errors: what is not whole, or not BTF.
    pub(super) fn new(bytes: Vec<u8>) -> anyhow::Result<Self> {
        ensure!(
            bytes.len() >= HEADER_BYTES && bytes[..2] == MAGIC.to_ne_bytes(),
            "not BTF"
        );
        let header = word(&bytes, 4) as usize;
        let section = |offset: usize, length: usize| {
            let start = header.checked_add(word(&bytes, offset) as usize)?;
            let end = start.checked_add(word(&bytes, length) as usize)?;
            (end <= bytes.len()).then_some(start..end)
        };
        let whole = section(8, 12).zip(section(16, 20));
        let (types, strings) = whole.context("a section is not whole")?;
        let mut blob = Self {
            strings,
            types: Vec::with_capacity(types.len() / 22),
            names: Vec::new(),
            bytes,
        };
        blob.find_types(types)?;
        blob.find_names();
        Ok(blob)
    }

    fn find_types(&mut self, section: Range<usize>) -> anyhow::Result<()> {
        let mut at = section.start;
        while at < section.end {
            ensure!(at + TYPE_BYTES <= section.end, "a type is not whole");
            self.types.push(u32::try_from(at)?);
            let info = word(&self.bytes, at + 4);
            at += TYPE_BYTES + members_bytes(kind_of(info), (info & 0xffff) as usize)?;
        }
        ensure!(at == section.end, "the last type is not whole");
        Ok(())
    }

    fn find_names(&mut self) {
        let named = (1..).zip(&self.types).filter_map(|(id, &at)| {
            let name = self.string(word(&self.bytes, at as usize));
            (!name.is_empty()).then(|| (hash(name), id))
        });
        let mut names: Vec<(u32, u32)> = named.collect();
        names.sort_unstable();
        self.names = names;
    }

    /// The string at an offset of the strings; empty if there is none.
    pub(super) fn string(&self, offset: u32) -> &[u8] {
        let strings = &self.bytes[self.strings.clone()];
        let from = strings.get(offset as usize..).unwrap_or_default();
        let end = from.iter().position(|&byte| byte == 0).unwrap_or(0);
        &from[..end]
    }

    /// The type of a number; None for void.
    pub(super) fn get(&self, id: u32) -> Option<Type> {
        let at = *self.types.get((id as usize).checked_sub(1)?)? as usize;
        let info = word(&self.bytes, at + 4);
        Some(Type {
            id,
            kind: kind_of(info),
            refers: word(&self.bytes, at + 8),
            len: (info & 0xffff) as usize,
            name: word(&self.bytes, at),
            bit_fields: info >> 31 == 1,
            at: at + TYPE_BYTES,
        })
    }

    /// The first type of this kind and name.
    pub(super) fn find(&self, kind: u8, name: &str) -> Option<Type> {
        let hash = hash(name.as_bytes());
        let from = self.names.partition_point(|(its, _)| *its < hash);
        let same = self.names[from..]
            .iter()
            .take_while(|(its, _)| *its == hash);
        same.filter_map(|(_, id)| self.get(*id))
            .find(|it| it.kind == kind && self.string(it.name) == name.as_bytes())
    }

    /// The members of a struct or union.
    pub(super) fn members(&self, of: Type) -> impl Iterator<Item = Member<'_>> {
        let count = match of.kind {
            kind::STRUCT | kind::UNION => of.len,
            _ => 0,
        };
        (0..count).map(move |index| {
            let at = of.at + index * 12;
            let offset = word(&self.bytes, at + 8);
            Member {
                name: self.string(word(&self.bytes, at)),
                id: word(&self.bytes, at + 4),
                bit_offset: if of.bit_fields {
                    offset & 0x00ff_ffff
                } else {
                    offset
                },
            }
        })
    }

    /// The values of an enum, by name.
    pub(super) fn values(&self, of: Type) -> impl Iterator<Item = (&[u8], u32)> {
        let count = if of.kind == kind::ENUM { of.len } else { 0 };
        (0..count).map(move |index| {
            let at = of.at + index * 8;
            (
                self.string(word(&self.bytes, at)),
                word(&self.bytes, at + 4),
            )
        })
    }

    /// A blob in which only `wanted` have a name, and every type its number: what is enough to find their numbers, and
    /// takes a tenth of the time and memory to read.
    pub(super) fn only(&self, wanted: &[Type]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut types = vec![[0, u32::from(kind::FWD) << 24, 0]; self.types.len()];
        for it in wanted {
            types[it.id as usize - 1] = [strings.len() as u32, u32::from(it.kind) << 24, 0];
            strings.extend_from_slice(self.string(it.name));
            strings.push(0);
        }
        let types_bytes = (types.len() * TYPE_BYTES) as u32;
        let header = [
            HEADER_BYTES as u32,
            0,
            types_bytes,
            types_bytes,
            strings.len() as u32,
        ];
        let words = header.into_iter().chain(types.into_iter().flatten());
        let version_and_flags = [1, 0];
        let mut bytes = Vec::with_capacity(HEADER_BYTES + types_bytes as usize + strings.len());
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend(version_and_flags);
        bytes.extend(words.flat_map(u32::to_ne_bytes));
        bytes.extend(strings);
        bytes
    }
}

fn kind_of(info: u32) -> u8 {
    (info >> 24) as u8 & 0x1f
}

/// How many bytes follow a type. Errors: a kind that nobody knows, so that nobody knows where the next type begins.
fn members_bytes(kind: u8, len: usize) -> anyhow::Result<usize> {
    Ok(match kind {
        // An array; a struct, a union, a section, an enum of 64 bits.
        3 => 12,
        4 | 5 | 15 | 19 => 12 * len,
        // An enum; the parameters of a function.
        6 | 13 => 8 * len,
        // An integer, a variable, a tag of a declaration.
        1 | 14 | 17 => 4,
        2 | 7..=12 | 16 | 18 => 0,
        _ => anyhow::bail!("a type of kind {kind}, which is not known"),
    })
}

/// The number at `at`; 0 beyond the end.
fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|from| from.first_chunk());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// FNV-1a.
fn hash(name: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    name.iter().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn here() -> Blob {
        Blob::new(std::fs::read(super::super::VMLINUX).unwrap()).unwrap()
    }

    #[test]
    fn what_is_left_has_its_number() {
        let blob = here();
        let function = blob.find(kind::FUNC, "tcp_v4_rcv").unwrap();
        let typedef = blob.find(kind::TYPEDEF, "btf_trace_consume_skb").unwrap();
        let small = Blob::new(blob.only(&[function, typedef])).unwrap();
        assert_eq!(small.types.len(), blob.types.len());
        let id = |kind, name| small.find(kind, name).map(|it| it.id);
        assert_eq!(id(kind::FUNC, "tcp_v4_rcv"), Some(function.id));
        assert_eq!(id(kind::TYPEDEF, "btf_trace_consume_skb"), Some(typedef.id));
        assert_eq!(id(kind::FUNC, "tcp_v6_rcv"), None);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let whole = std::fs::read(super::super::VMLINUX).unwrap();
        for length in [0, 23, 24, 1000, whole.len() - 1] {
            assert!(Blob::new(whole[..length].to_vec()).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(head in proptest::array::uniform20(any::<u8>()), rest in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = MAGIC.to_ne_bytes().to_vec();
            bytes.extend([1, 0]);
            bytes.extend(head.map(|byte| byte & 0x3f));
            bytes.extend(rest);
            if let Ok(blob) = Blob::new(bytes) {
                for id in 0..40 {
                    if let Some(it) = blob.get(id) {
                        blob.members(it).count();
                        blob.values(it).count();
                    }
                }
            }
        }
    }
}
