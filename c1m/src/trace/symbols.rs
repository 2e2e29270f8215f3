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
    functions: Vec<(u64, Box<str>)>,
}

impl Symbols {
    /// Reads /proc/kallsyms. Without the right to see addresses the table is empty.
    pub fn load() -> anyhow::Result<Self> {
        let path = "/proc/kallsyms";
        let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
        let mut functions = Vec::with_capacity(100_000);
        for line in BufReader::with_capacity(1 << 16, file).lines() {
            if let Some(function) = parse(&line.with_context(|| format!("cannot read {path}"))?) {
                functions.push(function);
            }
        }
        functions.sort_unstable();
        Ok(Self { functions })
    }

    /// Where the function `name` begins and the next one does.
    pub fn range(&self, name: &str) -> Option<Range<u64>> {
        let at = self.functions.iter().position(|(_, its)| **its == *name)?;
        let start = self.functions[at].0;
        let end = self.functions[at..]
            .iter()
            .find(|(address, _)| *address > start)?
            .0;
        Some(start..end)
    }

    /// The symbol of the function `name`, or of the variant of it that the compiler made (`name.isra.0`): its arguments
    /// may be others, its result is the same.
    pub fn variant(&self, name: &str) -> Option<&str> {
        let is_variant = |symbol: &str| {
            let rest = symbol.strip_prefix(name).unwrap_or("?");
            rest.is_empty() || rest.starts_with(".isra.") || rest.starts_with(".constprop.")
        };
        self.functions
            .iter()
            .map(|(_, symbol)| &**symbol)
            .find(|symbol| is_variant(symbol))
    }

    /// The function that `address` lies in.
    pub fn name(&self, address: u64) -> Option<&str> {
        let after = self
            .functions
            .partition_point(|(start, _)| *start <= address);
        self.functions[..after].last().map(|(_, name)| &**name)
    }
}

/// A line of /proc/kallsyms, if it is a function with an address: `ffff… T name [module]`.
fn parse(line: &str) -> Option<(u64, Box<str>)> {
    let mut parts = line.split_ascii_whitespace();
    let address = u64::from_str_radix(parts.next()?, 16).ok()?;
    let kind = parts.next()?;
    let name = parts.next()?;
    (address != 0 && matches!(kind, "T" | "t" | "W" | "w")).then(|| (address, name.into()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_line_is_a_function_or_nothing() {
        assert_eq!(
            parse("ffffffff81000000 T _text").unwrap(),
            (0xffff_ffff_8100_0000, "_text".into())
        );
        assert_eq!(
            parse("ffffffffc0000000 t f\t[nf_tables]").unwrap().1,
            "f".into()
        );
        assert_eq!(parse("0000000000000000 T hidden"), None);
        assert_eq!(parse("ffffffff81000000 D data"), None);
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let functions = vec![
            (10, "a".into()),
            (20, "b".into()),
            (20, "b_alias".into()),
            (30, "c".into()),
        ];
        let symbols = Symbols { functions };
        assert_eq!(symbols.range("b"), Some(20..30));
        assert_eq!(symbols.range("c"), None);
        assert_eq!(symbols.name(19), Some("a"));
        assert_eq!(symbols.name(9), None);
    }

    #[test]
    fn a_function_may_be_there_as_a_variant() {
        let functions = vec![(10, "a.isra.0".into()), (20, "b.cold".into())];
        let symbols = Symbols { functions };
        assert_eq!(symbols.variant("a"), Some("a.isra.0"));
        assert_eq!(symbols.variant("b"), None);
    }
}
