//! What a trace costs itself: its programs' runs, its maps, its process.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use anyhow::Context as _;
use aya::maps::Map;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::attach::Tracer;

/// What a trace has cost so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// From the first look at the kernel's types until everything was attached, in s.
    pub attach_s: f64,
    /// From the last attempt that settled to the table, without the time that the connections were held, in s; 0 where
    /// attempts are not ours.
    pub table_s: f64,
    /// CPU time of the tracer's process, in s, programs not included.
    pub cpu_s: f64,
    /// Memory of the tracer's process now, in bytes (VmRSS).
    pub memory_bytes: u64,
    /// The most that it had (VmHWM).
    pub memory_bytes_max: u64,
    /// Memory of all maps, as the kernel counts it, in bytes.
    pub maps_bytes: u64,
    /// Each program that is attached.
    pub programs: Vec<ProgramCost>,
}

/// What one program has cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramCost {
    /// Its name in the object.
    pub program: String,
    /// Where it is attached, in words.
    pub points: Vec<String>,
    /// How often it ran; 0 unless the kernel was told to count (`--run-times`).
    pub runs: u64,
    /// How long in all, in ns; likewise.
    pub run_ns: u64,
    /// Instructions after verification.
    pub instructions: u32,
    /// How many the verifier went through; 0 where the kernel does not tell.
    pub verified: u32,
}

impl Tracer {
    /// What it has cost so far. Errors: /proc cannot be read.
    pub fn cost(&self) -> anyhow::Result<Cost> {
        let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let maps = self.ebpf.maps().filter_map(|(_, map)| map_fd(map));
        Ok(Cost {
            attach_s: self.attach_time.as_secs_f64(),
            table_s: 0.0,
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            memory_bytes: number(&status, "VmRSS:") << 10,
            memory_bytes_max: number(&status, "VmHWM:") << 10,
            maps_bytes: maps.map(|map| number(&fdinfo(map), "memlock:")).sum(),
            programs: self.program_costs()?,
        })
    }

    fn program_costs(&self) -> anyhow::Result<Vec<ProgramCost>> {
        let cost = |loaded: super::attach::LoadedProgram<'_>| {
            let parts = self.choice.taken.iter().flat_map(|hook| hook.parts);
            let mut points: Vec<String> = parts
                .filter(|part| part.program == loaded.name)
                .map(|part| part.point.to_string())
                .collect();
            points.sort_unstable();
            points.dedup();
            let program = self.ebpf.program(loaded.name)?;
            let told = fdinfo(program.fd().ok()?.as_fd());
            Some(ProgramCost {
                program: loaded.name.to_owned(),
                points,
                runs: number(&told, "run_cnt:"),
                run_ns: number(&told, "run_time_ns:"),
                instructions: loaded.size,
                verified: loaded.verified.unwrap_or(0),
            })
        };
        Ok(self.programs()?.into_iter().filter_map(cost).collect())
    }
}

/// What the kernel tells of an open file; nothing if it does not.
fn fdinfo(fd: BorrowedFd<'_>) -> String {
    fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap_or_default()
}

fn map_fd(map: &Map) -> Option<BorrowedFd<'_>> {
    let data = match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::RingBuf(data) => data,
        _ => return None,
    };
    Some(data.fd().as_fd())
}

/// The number after `name`; 0 if there is none.
fn number(text: &str, name: &str) -> u64 {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name));
    let first = value.and_then(|value| value.split_whitespace().next());
    first.and_then(|first| first.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_stand_behind_their_names() {
        let text = "VmHWM:\t   78 kB\nrun_cnt:\t4711\n";
        assert_eq!(number(text, "VmHWM:"), 78);
        assert_eq!(number(text, "run_cnt:"), 4711);
        assert_eq!(number(text, "run_time_ns:"), 0);
    }
}
