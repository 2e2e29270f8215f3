//! What the kernel side has to say in words (`--verbose`): rare events, by aya-log.

use anyhow::Context as _;
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio::io::{Interest, unix::AsyncFd};

use crate::stderr::say;

/// Prints on stderr what it is given.
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        say(format_args!("kernel: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Shows messages from now on, as long as the runtime lasts. Errors if the object has no messages, or
/// without a tokio runtime.
pub(super) fn listen(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let logger =
        EbpfLogger::init_with_logger(ebpf, Stderr).context("the kernel side's messages")?;
    // SAFETY: the logger owns the fd of its map, and gives back the same one as long as it lives.
    let mut logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }?;
    tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
    Ok(())
}
