//! Timer interrupts in which the kernel ran none of the programs at its tracepoints, and counted no miss: what timers did then, a
//! time-out or a retransmit, was not seen. Seen on a paravirtual guest of 6.18.

use std::fs;

use super::{attach::Tracer, hooks::Fact};

/// Where the kernel counts them.
const INTERRUPTS: &str = "/proc/interrupts";

impl Tracer {
    /// The run has begun: what was counted before is not its.
    pub(super) fn begin_interrupts(&mut self) {
        if self.choice.has(Fact::TimerInterrupts) {
            self.interrupts_before = local_timer();
        }
    }

    /// The run is about to end. At least so many were skipped, as it was counted for a little less than programs ran.
    pub(super) fn end_interrupts(&mut self) {
        let counted = self.interrupts_before.zip(local_timer());
        let Some((before, now)) = counted else { return };
        let Ok(stats) = self.stats() else { return };
        let all = now.saturating_sub(before);
        self.interrupts_skipped = all.saturating_sub(stats.timer_interrupts);
    }
}

/// How many timer interrupts there were, on all CPUs; None where the kernel does not tell.
fn local_timer() -> Option<u64> {
    sum(&fs::read_to_string(INTERRUPTS).ok()?)
}

fn sum(interrupts: &str) -> Option<u64> {
    let mut lines = interrupts.lines();
    let counts = lines.find_map(|line| line.trim_start().strip_prefix("LOC:"))?;
    let counts = counts.split_whitespace().map_while(|it| it.parse().ok());
    Some(counts.fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_interrupts_of_all_cpus_are_summed() {
        let text = "           CPU0       CPU1\n  0:  5  0  IO-APIC  2-edge  timer\n\
                    LOC:  1200  34  Local timer interrupts\nSPU:  0  0  Spurious interrupts\n";
        assert_eq!(sum(text), Some(1234));
        assert_eq!(
            sum("           CPU0\n 11:  5  GICv3  27 Level  arch_timer\n"),
            None
        );
    }
}
