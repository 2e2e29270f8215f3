//! Hooks of kernel functions: one handler each, entered by a kprobe where there is no trampoline for it, and by
//! fentry or fexit where there is.

use aya_ebpf::{
    EbpfContext as _,
    programs::{FEntryContext, FExitContext, ProbeContext},
};

use crate::{kernel::Ptr, maps::window};

/// The arguments of a function, from wherever it was entered.
pub(super) trait Arguments {
    /// The `n`th.
    fn pointer(&self, n: usize) -> Ptr;
}

impl Arguments for ProbeContext {
    #[inline(always)]
    fn pointer(&self, n: usize) -> Ptr {
        Ptr(self.arg(n).unwrap_or(0))
    }
}

impl Arguments for FEntryContext {
    #[inline(always)]
    fn pointer(&self, n: usize) -> Ptr {
        Ptr(self.arg(n))
    }
}

impl Arguments for FExitContext {
    #[inline(always)]
    fn pointer(&self, n: usize) -> Ptr {
        Ptr(self.arg(n))
    }
}

/// What a function returned, which stands behind its `args` arguments; none if their number is not known. Fewer are as good a place:
/// there is the argument of that number.
/// `bpf_get_func_ret` would need 5.17, and the verifier lets nobody read a context at a place that is not a constant of the
/// code: so it is copied like any other memory of the kernel.
#[inline(always)]
pub(super) fn returned(ctx: &FExitContext, args: u32) -> Option<u64> {
    match args {
        0 => None,
        args => Ptr(ctx.as_ptr() as u64).read(args as usize * 8),
    }
}

/// Two programs for the entry of one function: by kprobe and by fentry. `$handler` takes [`Arguments`].
macro_rules! at_entry {
    ($kprobe:ident, $fentry:ident, $handler:path) => {
        #[aya_ebpf::macros::kprobe]
        pub(crate) fn $kprobe(ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            let _ = $handler(&ctx);
            0
        }

        #[aya_ebpf::macros::fentry]
        pub(crate) fn $fentry(ctx: aya_ebpf::programs::FEntryContext) -> i32 {
            let _ = $handler(&ctx);
            0
        }
    };
}
pub(super) use at_entry;

/// Two programs for the return of one function: by kretprobe and by fexit. `$handler` takes the value, which is
/// found behind as many arguments as the configured `$args` says.
macro_rules! at_return {
    ($kretprobe:ident, $fexit:ident, $args:ident, $handler:path) => {
        #[aya_ebpf::macros::kretprobe]
        pub(crate) fn $kretprobe(ctx: aya_ebpf::programs::RetProbeContext) -> u32 {
            let _ = $handler(ctx.ret::<u64>());
            0
        }

        #[aya_ebpf::macros::fexit]
        pub(crate) fn $fexit(ctx: aya_ebpf::programs::FExitContext) -> i32 {
            if let Some(value) =
                $crate::hooks::function::returned(&ctx, $crate::maps::config!($args))
            {
                let _ = $handler(value);
            }
            0
        }
    };
}
pub(super) use at_return;

/// At the entry of a function that looks at one socket: notes it for the return.
#[inline(always)]
pub(super) fn note_sock(args: &impl Arguments) -> Option<()> {
    window()?.sock = args.pointer(0).0;
    Some(())
}

/// At the return: the socket that the entry noted.
#[inline(always)]
pub(super) fn noted_sock() -> Option<Ptr> {
    Some(Ptr(core::mem::take(&mut window()?.sock)))
}

/// Whether a pointer that a function returned is an error number (`IS_ERR`).
#[inline(always)]
pub(super) fn is_error(pointer: u64) -> bool {
    pointer > u64::MAX - 4095
}

/// Whether a function that answers yes or no said no: the upper bytes mean nothing.
#[inline(always)]
pub(super) fn is_false(value: u64) -> bool {
    value as u8 == 0
}
