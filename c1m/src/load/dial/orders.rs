//! What a client's worker does when its supervisor says so: stop where it is, and close.

use std::time::Duration;

use super::{Dialer, Outcome, Stage};
use crate::{
    cli::Close,
    load::{
        open::end,
        worker::{command, event, now_ns, read_command, tell},
    },
};

impl Dialer<'_> {
    /// Whether to go on.
    pub(super) fn obey(&mut self) -> bool {
        match read_command() {
            command::FREEZE => self.freeze(),
            command::CLOSE => self.close(),
            command::HALT => {
                self.halted = true;
                return true;
            }
            _ => return true,
        }
        false
    }

    /// Takes in what has happened already, changes nothing from then on, and waits for the end.
    fn freeze(&mut self) {
        self.take_in();
        tell(event::FROZEN);
        loop {
            match read_command() {
                command::FREEZE => tell(event::FROZEN),
                command::CLOSE => return self.close(),
                _ => {}
            }
        }
    }

    /// Takes in what has happened already.
    pub(super) fn take_in(&mut self) {
        while let Ok(()) = self.epoll.wait(Some(Duration::ZERO)) {
            self.now_ns = now_ns();
            if let (0, _) = self.attend_all() {
                break;
            }
        }
    }

    /// Closes what stands as `--close` says.
    fn close(&mut self) {
        self.now_ns = now_ns();
        let ended_ms = self.since_start_ms();
        for (local, slot) in self.connections.iter_mut().enumerate() {
            let Some(socket) = slot.take() else { continue };
            end(socket, self.config.close);
            let index = self.config.first + local;
            let outcome = self.slab.get(index);
            if self.config.close != Close::None && outcome.stage == Stage::Established {
                let stage = Stage::Closed;
                let closed = Outcome {
                    stage,
                    ended_ms,
                    ..outcome
                };
                self.slab.set(index, closed);
            }
        }
    }
}
