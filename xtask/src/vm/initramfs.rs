//! What a machine has inside: busybox, `c1m`, the programs that labs call, modules, and a script that runs the work.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};

use super::{
    kernels::Kernel,
    make_dir, modules,
    qemu::{EXIT, KERNEL_LOG},
};
use crate::{command, ebpf, setup};

/// Programs of this host that go in, beside `c1m`; those that are not here are left out.
const PROGRAMS: [&str; 5] = ["ip", "nft", "tc", "ss", "strace"];

/// The machine's first process. The work runs on a terminal of its own, so that Ctrl-C reaches it.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
exec </dev/console >/dev/console 2>&1
/bin/busybox --install -s /bin
export PATH=/usr/local/bin:/bin HOME=/ TERM=linux
mkdir -p /dev/pts /dev/shm
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
mount -t tracefs tracing /sys/kernel/tracing 2>/dev/null
mount -t cgroup2 cgroup /sys/fs/cgroup 2>/dev/null
while read module; do insmod "/modules/$module" || echo "no module $module"; done </modules/order
hostname c1m-vm
ip link set lo up
ulimit -n 1048576
# What is written at the end of a session is dropped, as it is when the machine goes off. stty sets only what is set, and
# waits first until all is out.
setsid cttyhack sh -c 'sh /work; status=$?; stty opost; exit $status'
status=$?
dmesg | grep -B 2 -A 30 -E 'WARNING: |BUG: |Oops: ' >/run/log
# Before 6.1 the kernel says this once of any hash map that takes memory as it fills. The programs that fill ours run
# in the network stack, never inside the allocator.
grep -q 'trace type BPF program uses run-time allocation' /run/log &&
    [ "$(grep -c -E 'WARNING: |BUG: |Oops: ' /run/log)" = 1 ] || sed 's/^/KERNEL_LOG /' /run/log
echo "EXIT_LINE $status"
stty opost
poweroff -f
"#;

/// Builds the archive for one kernel and one piece of work. It is this process's own: others may run the same kernel.
pub(super) fn build(kernel: &Kernel, work: &str) -> Result<PathBuf> {
    sweep(&kernel.dir)?;
    let name = format!("{NAME}{}", std::process::id());
    let root = kernel.dir.join(&name);
    for dir in [
        "bin",
        "usr/local/bin",
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "etc",
        "modules",
    ] {
        make_dir(&root.join(dir))?;
    }
    copy(&busybox()?, &root.join("bin/busybox"))?;
    // The places of a Debian host's libraries and interpreters are links into usr.
    let programs = PROGRAMS
        .iter()
        .filter_map(|program| command::which(program));
    for program in programs.chain([ebpf::c1m()]) {
        add_program(&program, &root)?;
    }
    add_modules(kernel, &root.join("modules"))?;
    fs::write(root.join("work"), work).context("cannot write the work")?;
    let init = INIT
        .replace("EXIT_LINE", EXIT)
        .replace("KERNEL_LOG", KERNEL_LOG);
    fs::write(root.join("init"), init).context("cannot write init")?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))
        .context("cannot make init a program")?;
    let nobody = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
    fs::write(root.join("etc/passwd"), nobody).context("cannot write passwd")?;
    // `ip xfrm` looks there.
    fs::write(root.join("etc/protocols"), "tcp 6 TCP\nudp 17 UDP\n")
        .context("cannot write protocols")?;
    symlink("/proc/self/mounts", root.join("etc/mtab")).context("cannot link mtab")?;
    // Not root alone looks at it inside, whatever our umask.
    command::run(command::clean("chmod").args(["-R", "a+rX"]).arg(&root))?;
    archive(&root, &kernel.dir.join(format!("{name}.cpio")))
}

/// How the names of trees and archives begin, before the pid of who made them.
const NAME: &str = "initramfs-";

/// Removes those of this process, and of processes that are gone.
fn sweep(dir: &Path) -> Result<()> {
    let all = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in all.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let Some(maker) = name.to_str().and_then(|name| name.strip_prefix(NAME)) else {
            continue;
        };
        let maker = maker.trim_end_matches(".cpio");
        let is_other = maker != std::process::id().to_string();
        if is_other && Path::new("/proc").join(maker).exists() {
            continue;
        }
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        match removed {
            // Somebody else swept it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.with_context(|| format!("cannot remove {}", path.display()))?,
        }
    }
    Ok(())
}

/// A busybox that needs no libraries: this host's, or else that of the package busybox-static, which cannot be installed beside
/// the other.
fn busybox() -> Result<PathBuf> {
    if let Some(found) = command::which("busybox")
        && libraries(&found)?.is_empty()
    {
        return Ok(found);
    }
    // Machines are made side by side.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = super::dir().join("busybox");
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| dir.join("root").join(place));
    let unpacked = || places.iter().find(|place| place.is_file()).cloned();
    if unpacked().is_none() {
        make_dir(&dir)?;
        if setup::is_root() {
            setup::apt_update()?;
        }
        println!("fetching busybox-static");
        let mut download = command::clean("apt-get");
        download.args(["download", "--quiet=2", "busybox-static"]);
        command::run(download.current_dir(&dir))?;
        let is_package = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "deb");
        let mut files = fs::read_dir(&dir)?.flatten().map(|entry| entry.path());
        let package = files.find(is_package).context("apt-get fetched nothing")?;
        let root = dir.join("root");
        command::run(command::clean("dpkg").arg("-x").arg(&package).arg(root))?;
        fs::remove_file(package)?;
    }
    unpacked().context("the package busybox-static has no busybox")
}

fn add_program(program: &Path, root: &Path) -> Result<()> {
    let name = program.file_name().context("a program without a name")?;
    copy(program, &root.join("usr/local/bin").join(name))?;
    for library in libraries(program)? {
        let to = root.join(library.trim_start_matches('/'));
        if !to.exists() {
            make_dir(to.parent().context("a library without a directory")?)?;
            copy(Path::new(&library), &to)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The shared libraries of a program, and its interpreter; none if it is static.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = command::clean("ldd")
        .arg(program)
        .output()
        .context("cannot start ldd")?;
    Ok(listed(&String::from_utf8_lossy(&output.stdout)))
}

/// The paths in `ldd`'s lines: `libx.so => /lib/libx.so (0x…)`, and `/lib64/ld-linux.so.2 (0x…)`.
fn listed(text: &str) -> Vec<String> {
    let path = |line: &str| {
        let mut words = line.split_whitespace();
        words.rfind(|word| word.starts_with('/')).map(str::to_owned)
    };
    let of_memory = |line: &&str| line.contains("(0x");
    text.lines().filter(of_memory).filter_map(path).collect()
}

/// Copies the modules, unpacked, with their order of loading.
fn add_modules(kernel: &Kernel, to: &Path) -> Result<()> {
    let file = kernel.modules.join("modules.dep");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut order = String::new();
    for module in modules::in_order(&text, modules::WANTED) {
        let name = format!("{}.ko", modules::name(&module));
        let from = kernel.modules.join(&module);
        let unpack = match Path::new(&module).extension().and_then(|ext| ext.to_str()) {
            Some("xz") => Some("xz"),
            Some("zst") => Some("zstd"),
            _ => None,
        };
        match unpack {
            None => copy(&from, &to.join(&name))?,
            Some(tool) => {
                let file = fs::File::create(to.join(&name)).context("cannot write a module")?;
                command::run(command::clean(tool).arg("-dcq").arg(&from).stdout(file))?;
            }
        }
        order.push_str(&name);
        order.push('\n');
    }
    fs::write(to.join("order"), order).context("cannot write the order of the modules")
}

/// Packs the tree. Not compressed: unpacking takes an emulated machine longer than reading.
fn archive(root: &Path, to: &Path) -> Result<PathBuf> {
    let mut names = command::clean("find");
    names.arg(".").current_dir(root).stdout(Stdio::piped());
    let mut find = names.spawn().context("cannot start find")?;
    let stdout = find.stdout.take().context("find has no output")?;
    let file = fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let mut cpio = command::clean("cpio");
    cpio.args(["--create", "--format=newc", "--owner=0:0", "--quiet"]);
    command::run(cpio.current_dir(root).stdin(stdout).stdout(file))?;
    find.wait().context("cannot wait for find")?;
    Ok(to.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_paths() {
        let text = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
             \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            listed(text),
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert!(listed("\tnot a dynamic executable\n").is_empty());
        assert!(listed("\tstatically linked\n").is_empty());
    }
}
