//! Embeds the eBPF object that `cargo xtask build-ebpf` made, or an empty stub: a plain `cargo build`
//! works without it, and `c1m trace` then says how to get it.

use std::{env, fs, path::Path};

fn main() {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let object = Path::new(&manifest).join("../target/c1m-ebpf.o");
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("c1m-ebpf.o");
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = fs::read(&object).unwrap_or_default();
    fs::write(&out, bytes).expect("OUT_DIR is writable");
}
