//! Where the kernel's functions lie, from /proc/kallsyms.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    ops::Range,
};

use anyhow::Context as _;

/// Function addresses of the running kernel, sorted.
#[derive(Debug, Default)]
pub struct Symbols {
    functions: Vec<Function>,
    /// All their names in one piece: a hundred thousand small ones would take more room and time.
    names: String,
}

/// Its address, and where in the names its name lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Function {
    address: u64,
    name_start: u32,
    name_end: u32,
}

impl Symbols {
    /// Reads /proc/kallsyms. Without the right to see addresses the table is empty.
    pub fn load() -> anyhow::Result<Self> {
        let path = "/proc/kallsyms";
        let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut symbols = Self::default();
        let mut line = String::new();
        while reader
            .read_line(&mut line)
            .with_context(|| format!("cannot read {path}"))?
            > 0
        {
            if let Some((address, name)) = parse(&line) {
                symbols.add(address, name);
            }
            line.clear();
        }
        symbols.functions.sort_unstable();
        Ok(symbols)
    }

    fn add(&mut self, address: u64, name: &str) {
        let name_start = self.names.len() as u32;
        self.names.push_str(name);
        self.functions.push(Function {
            address,
            name_start,
            name_end: self.names.len() as u32,
        });
    }

    fn name_of(&self, function: Function) -> &str {
        &self.names[function.name_start as usize..function.name_end as usize]
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().map(|&it| self.name_of(it))
    }

    /// Where the function `name` begins and the next one does.
    pub fn range(&self, name: &str) -> Option<Range<u64>> {
        let at = self.iter().position(|its| its == name)?;
        let start = self.functions[at].address;
        let end = self.functions[at..]
            .iter()
            .find(|it| it.address > start)?
            .address;
        Some(start..end)
    }

    /// The symbol of the function `name`, or of the variant of it that the compiler made (`name.isra.0`): its arguments
    /// may be others, its result is the same.
    pub fn variant(&self, name: &str) -> Option<&str> {
        let is_variant = |symbol: &str| {
            let rest = symbol.strip_prefix(name).unwrap_or("?");
            rest.is_empty() || rest.starts_with(".isra.") || rest.starts_with(".constprop.")
        };
        self.iter().find(|symbol| is_variant(symbol))
    }

    /// The function that `address` lies in.
    pub fn name(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|it| it.address <= address);
        self.functions[..after].last().map(|&it| self.name_of(it))
    }
}

/// A line of /proc/kallsyms, if it is a function with an address: `ffff… T name [module]`.
fn parse(line: &str) -> Option<(u64, &str)> {
    let mut parts = line.split_ascii_whitespace();
    let address = u64::from_str_radix(parts.next()?, 16).ok()?;
    let kind = parts.next()?;
    let name = parts.next()?;
    (address != 0 && matches!(kind, "T" | "t" | "W" | "w")).then_some((address, name))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn symbols(functions: &[(u64, &str)]) -> Symbols {
        let mut symbols = Symbols::default();
        for (address, name) in functions {
            symbols.add(*address, name);
        }
        symbols
    }

    #[test]
    fn a_line_is_a_function_or_nothing() {
        assert_eq!(
            parse("ffffffff81000000 T _text").unwrap(),
            (0xffff_ffff_8100_0000, "_text")
        );
        assert_eq!(parse("ffffffffc0000000 t f\t[nf_tables]").unwrap().1, "f");
        assert_eq!(parse("0000000000000000 T hidden"), None);
        assert_eq!(parse("ffffffff81000000 D data"), None);
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let symbols = symbols(&[(10, "a"), (20, "b"), (20, "b_alias"), (30, "c")]);
        assert_eq!(symbols.range("b"), Some(20..30));
        assert_eq!(symbols.range("c"), None);
        assert_eq!(symbols.name(19), Some("a"));
        assert_eq!(symbols.name(9), None);
    }

    #[test]
    fn a_function_may_be_there_as_a_variant() {
        let symbols = symbols(&[(10, "a.isra.0"), (20, "b.cold")]);
        assert_eq!(symbols.variant("a"), Some("a.isra.0"));
        assert_eq!(symbols.variant("b"), None);
    }
}
