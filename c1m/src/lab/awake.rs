//! Keeps the CPUs from idling while labs run.
//!
//! Seen on a paravirtual guest of 6.18 (preemptible kernel, two CPUs): in some timer interrupts, several within a tenth of a
//! second, the kernel runs none of the eBPF programs at its tracepoints, for as long as the interrupt's work lasts, and counts
//! no miss. ftrace's own probe at the same tracepoint sees the events. Of 20 sockets whose timers are due together, a tracer
//! then sees none. Labs met it in every second or third run of all where CPUs idled, and more rarely since they do not; that
//! is all that is known.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A thread for each CPU that runs whenever nothing else wants to (`SCHED_IDLE`), until it is dropped.
#[derive(Debug)]
pub(super) struct Awake {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    pub(super) fn keep() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ours = sched_getaffinity(None).unwrap_or_default();
        let cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| ours.is_set(cpu));
        let threads = cpus.map(|cpu| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut only = CpuSet::new();
                only.set(cpu);
                // At any other priority it would take the time of the labs.
                if sched_setaffinity(None, &only).is_ok() && yield_to_all() {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { over, threads }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It holds nothing whose loss would matter.
            let _ = thread.join();
        }
    }
}

/// Gives this thread the lowest priority there is; whether it has it.
fn yield_to_all() -> bool {
    // SAFETY: an integers-only struct, for which all zeros is a value.
    let param: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is the calling thread, and `param` outlives the call.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const param) == 0 }
}
