//! Says what is being done if it takes long: whoever waits should know for what.

use std::{sync::mpsc, thread, time::Duration};

use crate::stderr::say;

/// Longer than this is long.
const QUIET: Duration = Duration::from_secs(2);

/// Something that is being done for as long as this lives.
#[must_use = "it lasts as long as it is kept"]
pub struct Slow(#[expect(dead_code, reason = "its end is what is heard")] mpsc::Sender<()>);

impl Slow {
    /// It begins; if it takes long, stderr says `what`.
    pub fn new(what: &'static str) -> Self {
        let (sender, end) = mpsc::channel::<()>();
        // Without another thread nobody says it, which is no reason not to do it.
        let _ = thread::Builder::new().spawn(move || {
            if end.recv_timeout(QUIET) == Err(mpsc::RecvTimeoutError::Timeout) {
                say(format_args!("{what} …"));
            }
        });
        Self(sender)
    }
}
