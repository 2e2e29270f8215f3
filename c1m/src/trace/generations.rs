//! Facts of attempts whose tuples were used again. They are taken from their ring while the run lasts: it holds some 12,000, which a
//! program that is refused and connects again has used up in a second.

use std::{
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use aya::{
    Ebpf,
    maps::{Map, MapData, RingBuf},
};
use c1m_common::{fact::Facts, tuple::Tuple};

use super::preflight;

/// How often to look. With 12,000 at each, a quarter of a million in a second find room.
const PERIOD: Duration = Duration::from_millis(50);

/// What takes them.
pub(super) struct Generations {
    thread: Option<JoinHandle<Reader>>,
    over: Arc<AtomicBool>,
}

struct Reader {
    ring: RingBuf<MapData>,
    taken: Vec<(Tuple, Facts)>,
}

impl Reader {
    /// Takes what is there, until there are `most` in all.
    fn take(&mut self, most: usize) {
        while self.taken.len() < most
            && let Some(item) = self.ring.next()
        {
            self.taken.extend(generation(&item));
        }
    }
}

impl Generations {
    /// Takes them from now on, as long as there are fewer than `most`. Errors: the object has no ring for them, or there is no
    /// thread to be had.
    pub(super) fn listen(ebpf: &Ebpf, most: usize) -> anyhow::Result<Self> {
        let map = ebpf
            .map("GENERATIONS")
            .context("the eBPF object has no map GENERATIONS")?;
        let Map::RingBuf(data) = map else {
            bail!("GENERATIONS is no ring");
        };
        // Another descriptor of the same map, for the thread.
        let own = match data.fd().as_fd().try_clone_to_owned() {
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                return Err(preflight::too_few_descriptors());
            }
            own => MapData::from_fd(own?)?,
        };
        let mut reader = Reader {
            ring: RingBuf::try_from(Map::RingBuf(own))?,
            taken: Vec::new(),
        };
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let read = move || {
            while !is_over.load(Ordering::Relaxed) {
                reader.take(most);
                thread::park_timeout(PERIOD);
            }
            reader
        };
        let thread = thread::Builder::new()
            .name("generations".to_owned())
            .spawn(read)
            .context("a thread for what leaves the tracer's maps")?;
        Ok(Self {
            thread: Some(thread),
            over,
        })
    }

    /// All that there are, the rest of the ring among them; none the second time. Errors: what took them panicked.
    pub(super) fn finish(&mut self) -> anyhow::Result<Vec<(Tuple, Facts)>> {
        let Some(stopped) = self.stop() else {
            return Ok(Vec::new());
        };
        let Ok(mut reader) = stopped else {
            bail!("the ring of earlier attempts cannot be read");
        };
        reader.take(usize::MAX);
        Ok(reader.taken)
    }

    fn stop(&mut self) -> Option<thread::Result<Reader>> {
        let thread = self.thread.take()?;
        self.over.store(true, Ordering::Relaxed);
        thread.thread().unpark();
        Some(thread.join())
    }
}

impl Drop for Generations {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A record of the ring buffer: a tuple and its facts. None if it has another length.
fn generation(bytes: &[u8]) -> Option<(Tuple, Facts)> {
    const LEN: usize = size_of::<Tuple>() + size_of::<Facts>();
    if bytes.len() != LEN {
        return None;
    }
    let (tuple, facts) = bytes.split_at(size_of::<Tuple>());
    // SAFETY: both are `Pod` of exactly these lengths, and read unaligned.
    unsafe {
        Some((
            tuple.as_ptr().cast::<Tuple>().read_unaligned(),
            facts.as_ptr().cast::<Facts>().read_unaligned(),
        ))
    }
}
