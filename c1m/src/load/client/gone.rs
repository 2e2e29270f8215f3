//! What becomes of the attempts of a worker that is gone, or never came; and what workers found no room for.

use std::ops::Range;

use super::{ClientRun, Outcome, Stage, Worker};

impl ClientRun {
    /// How often a worker found no descriptor, and no file: EMFILE, ENFILE.
    pub fn no_file(&self) -> [u64; 2] {
        let workers = self.pool.workers.values();
        workers.fold([0, 0], |[descriptors, files], worker| {
            let stats = self.pool.stats.worker(worker.slot);
            [descriptors + stats.emfile.get(), files + stats.enfile.get()]
        })
    }

    /// Attempts whose worker there was no process for: fork() failed with EAGAIN.
    pub fn no_process(&self) -> u64 {
        self.no_process
    }

    /// How often epoll had no room for a connection.
    pub fn unwatched(&self) -> u64 {
        let workers = self.pool.workers.values();
        let of = |worker: &Worker| self.pool.stats.worker(worker.slot).unwatched.get();
        workers.map(of).sum()
    }

    /// From the start of the run.
    pub(super) fn now_ms(&self) -> u32 {
        u32::try_from(self.started.0.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    /// What stopped their worker stopped them.
    pub(super) fn cannot_start(&mut self, attempts: Range<usize>, errno: i32) {
        let started_ms = self.now_ms();
        self.gone.begun += attempts.len() as u64;
        self.gone.failed += attempts.len() as u64;
        if errno == libc::EAGAIN {
            self.no_process += attempts.len() as u64;
        }
        for index in attempts {
            let outcome = Outcome {
                stage: Stage::Unstarted,
                tries: 1,
                errno: errno as u16,
                started_ms,
                first_ms: started_ms,
                ..Outcome::default()
            };
            self.slab.set(index, outcome);
        }
    }

    /// A worker that dies before its first attempt would do so again.
    pub(super) fn abandon(&mut self, attempts: Range<usize>, ended_ms: u32) {
        self.gone.begun += attempts.len() as u64;
        for index in attempts {
            self.lose(index, ended_ms);
        }
    }

    /// Records that an attempt went with its worker.
    pub(super) fn lose(&mut self, index: usize, ended_ms: u32) {
        let outcome = Outcome {
            stage: Stage::WorkerDied,
            ended_ms,
            ..self.slab.get(index)
        };
        self.slab.set(index, outcome);
        self.gone.lost += 1;
    }
}
