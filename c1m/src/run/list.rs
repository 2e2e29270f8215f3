//! What `c1m trace` lists instead of tracing: the hooks, and the programs behind them.

use super::filter;
use crate::{
    cli::Hooks,
    report::text,
    stderr::say,
    trace::{Tracer, btf::KernelTypes, hooks::HOOKS, load::Kernel, preflight, symbols::Symbols},
};

/// Prints which hook gives which fact here: every way to a fact, and which of them is taken. All that is taken is
/// attached for a moment, for only then is it certain that the kernel lets it.
pub(crate) fn hooks(hooks: Hooks) -> anyhow::Result<u8> {
    preflight::check()?;
    let types = KernelTypes::load()?;
    let symbols = Symbols::load()?;
    let kernel = Kernel {
        types: &types,
        symbols: &symbols,
    };
    let tracer = for_nobody(hooks)?;
    let choice = &tracer.choice;
    let mut lines = String::new();
    for hook in HOOKS {
        let refused = choice
            .unusable
            .iter()
            .find(|(backend, _)| *backend == hook.backend);
        let here = match (kernel.lacks_hook(hook), refused) {
            _ if !tracer.filter.wants(hook.fact, &types) => "not needed".to_owned(),
            (Some(why), _) => why.to_owned(),
            (None, Some((_, why))) => format!("refused: {why}"),
            _ if choice.taken.iter().any(|taken| std::ptr::eq(*taken, hook)) => "taken".to_owned(),
            // By nothing is this fact known here: refusals are told below.
            _ if choice.lacks(hook.fact) => "not taken".to_owned(),
            _ => "not needed".to_owned(),
        };
        lines += &format!(
            "{:<18} {:<10} {here:<38} {}\n",
            format!("{:?}", hook.fact),
            hook.backend.to_string(),
            hook.points()
        );
    }
    for refusal in &choice.refusals {
        lines += &format!("refused: {refusal}\n");
    }
    text::print(&lines)?;
    Ok(0)
}

/// Prints the programs that are attached here, each with its size and with what it took to verify, in instructions.
pub(super) fn programs(hooks: Hooks) -> anyhow::Result<u8> {
    let tracer = for_nobody(hooks)?;
    // What takes their place hides them.
    for refusal in &tracer.choice.refusals {
        say(format_args!("the kernel refused {refusal}"));
    }
    let mut lines = format!("{:<28} {:>8} {:>9}\n", "PROGRAM", "SIZE", "VERIFIED");
    for program in tracer.programs()? {
        // Kernels before 5.16 do not tell.
        let verified = match program.verified {
            Some(count) => count.to_string(),
            None => "-".to_owned(),
        };
        lines += &format!("{:<28} {:>8} {verified:>9}\n", program.name, program.size);
    }
    text::print(&lines)?;
    Ok(0)
}

/// A tracer with every hook that a run may have, on a port that nobody serves.
fn for_nobody(hooks: Hooks) -> anyhow::Result<Tracer> {
    let mut filter = filter(None, vec![DISCARD], false)?;
    filter.foreign = true;
    filter.backend = hooks.forced();
    Tracer::start(filter)
}

/// A port that nobody serves.
const DISCARD: u16 = 9;
