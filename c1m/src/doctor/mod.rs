//! `c1m doctor`: what so many connections would meet on this host, before they do.
//!
//! [`facts`] reads the host, once; [`table`] has a row for each limit, whose judgement is a pure function of the facts and
//! of what is asked ([`ask`]); [`predict`] puts them in the order in which they bind. The client's defaults come from the
//! same prediction ([`fitted`]).

pub mod ask;
pub mod facts;
pub mod limit;
pub mod predict;
pub mod table;

mod apply;
mod buffers;
mod burst;
mod cgroup;
mod count;
mod measure;
mod network;
mod persist;
mod print;
mod state;
mod tracing;

use self::{ask::Ask, facts::Facts, predict::Prediction};
use crate::{
    cli::{ClientArgs, DoctorArgs},
    options::Identity,
    report::text,
    run,
};

/// Runs the command. The exit status is 1 if fewer would stand than were asked for.
pub fn main(args: &DoctorArgs) -> anyhow::Result<u8> {
    if args.hooks {
        return run::list::hooks(crate::cli::Hooks::Auto);
    }
    if args.restore {
        return apply::restore(&args.state, &args.etc);
    }
    let ask = Ask::of_doctor(args)?;
    if args.measure {
        return measure::tcp_mem(&ask);
    }
    let run_as = Identity::of_sudo();
    let facts = Facts::read(&ask, run_as.as_ref())?;
    let prediction = Prediction::new(&facts, &ask);
    text::print(&print::render(
        &facts,
        &ask,
        &prediction,
        text::width_of_stdout(),
    ))?;
    if args.fix {
        apply::fix(&prediction, &args.state)?;
    }
    if args.persist {
        persist::persist(&prediction, &args.state, &args.etc)?;
    }
    if !args.fix {
        return Ok(u8::from(prediction.binding().is_some()));
    }
    let after = Prediction::new(&Facts::read(&ask, run_as.as_ref())?, &ask);
    text::print(&format!("\n  now: {}\n", print::headline(&after)))?;
    Ok(u8::from(after.binding().is_some()))
}

/// The client's options with as many connections as this host can hold for `run_as`, where nobody said how many; and a
/// sentence that says so. Where the host tells nothing, they stay as they are.
pub fn fitted(args: &ClientArgs, run_as: Option<&Identity>) -> (ClientArgs, Option<String>) {
    let mut args = args.clone();
    let said = args.connections.is_some() || args.per_ip.is_some() || args.unchecked;
    // What is wrong with the options, their check will say.
    let Some(prediction) = (!said).then(|| prediction(&args, run_as)).flatten() else {
        return (args, None);
    };
    let stands = prediction.stands();
    let Some(binding) = prediction.binding().filter(|_| stands > 0) else {
        return (args, None);
    };
    args.connections = Some(stands);
    let sentence = format!(
        "{} connections instead of {}: {} allows no more here; `c1m doctor --connections {}` says why, --connections N \
         insists",
        text::thousands(stands),
        text::thousands(prediction.asked),
        binding.limit.name,
        prediction.asked
    );
    (args, Some(sentence))
}

fn prediction(args: &ClientArgs, run_as: Option<&Identity>) -> Option<Prediction> {
    let ask = Ask::of_client(args).ok()?;
    let mut facts = Facts::read(&ask, run_as).ok()?;
    if args.dev.is_some() {
        // They will be put there.
        facts.sources_missing.clear();
    }
    Some(Prediction::new(&facts, &ask))
}

#[cfg(test)]
mod tests;
