#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn nightly() -> Compiler {
    Compiler {
        rustc: "/opt/.rustup/toolchains/nightly-x86_64-unknown-linux-gnu/bin/rustc".into(),
        cargo: "/opt/.rustup/toolchains/nightly-x86_64-unknown-linux-gnu/bin/cargo".into(),
        core: Core::FromSource {
            toolchain: "nightly-x86_64-unknown-linux-gnu".to_owned(),
        },
        version: (1, 97),
        llvm_major: 22,
    }
}

fn distribution() -> Compiler {
    Compiler {
        rustc: "/usr/bin/rustc".into(),
        cargo: "/usr/bin/cargo".into(),
        core: Core::Prebuilt,
        version: (1, 96),
        llvm_major: 22,
    }
}

fn workspace() -> Paths {
    Paths {
        root: "/src/c1m".into(),
        cargo_home: "/opt/.cargo".into(),
        target_dir: "/src/c1m/target/ebpf".into(),
        linker: "/opt/.cargo/bin/bpf-linker".into(),
        llvm_dir: "/src/c1m/target/ebpf-llvm".into(),
    }
}

#[test]
fn what_is_here_is_used_and_rustups_first() {
    let both = Machine {
        compilers: vec![distribution(), nightly()],
        ..Machine::default()
    };
    assert_eq!(choose(&both), Plan::Use(nightly()));
    let one = Machine {
        compilers: vec![distribution()],
        is_root: true,
        has_rustup: true,
        ..Machine::default()
    };
    assert_eq!(choose(&one), Plan::Use(distribution()));
}

#[test]
fn a_compiler_that_cannot_build_is_passed_over() {
    let unfit = [
        Compiler {
            version: (1, 94),
            ..nightly()
        },
        Compiler {
            llvm_major: 21,
            ..nightly()
        },
        Compiler {
            llvm_major: 23,
            ..nightly()
        },
        Compiler {
            core: Core::None,
            ..distribution()
        },
    ];
    let machine = Machine {
        compilers: unfit.to_vec(),
        is_root: true,
        has_rustup: true,
        ..Machine::default()
    };
    assert_eq!(choose(&machine), Plan::Rustup);
}

#[test]
fn root_installs_packages_before_a_nightly() {
    let machine = Machine {
        is_root: true,
        has_rustup: true,
        packages: Some(PACKAGES[1]),
        ..Machine::default()
    };
    assert_eq!(
        choose(&machine),
        Plan::Apt(["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"])
    );
}

#[test]
fn a_user_gets_the_exact_line() {
    let with_rustup = Machine {
        has_rustup: true,
        packages: Some(PACKAGES[0]),
        ..Machine::default()
    };
    let line = "rustup toolchain install nightly-2026-05-20 --profile minimal --component rust-src";
    assert_eq!(choose(&with_rustup), Plan::Ask(line.to_owned()));

    let with_apt = Machine {
        packages: Some(PACKAGES[0]),
        ..Machine::default()
    };
    let packages = "rustc cargo libstd-rust-dev-bpf";
    let line =
        format!("sudo apt-get update && sudo apt-get install --no-install-recommends {packages}");
    assert_eq!(choose(&with_apt), Plan::Ask(line));

    let with_nothing = Machine {
        is_root: true,
        ..Machine::default()
    };
    assert!(matches!(choose(&with_nothing), Plan::Ask(line) if line.contains("https://rustup.rs")));
}

#[test]
fn a_nightly_builds_core_itself() {
    let line = nightly().line("build", &workspace(), &[]);
    assert_eq!(line.program, nightly().cargo);
    assert_eq!(
        line.args.join(" "),
        "build --release --locked --package c1m-ebpf --target bpfel-unknown-none \
         --target-dir /src/c1m/target/ebpf -Z build-std=core"
    );
    let env = |name: &str| {
        line.env
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(env("RUSTC"), nightly().rustc.to_str());
    assert_eq!(env("RUSTC_BOOTSTRAP"), None);
    assert_eq!(env("LD_LIBRARY_PATH"), Some("/src/c1m/target/ebpf-llvm"));
    assert_eq!(
        env("CARGO_ENCODED_RUSTFLAGS")
            .unwrap()
            .split('\x1f')
            .collect::<Vec<_>>(),
        [
            "-Clinker=/opt/.cargo/bin/bpf-linker",
            "-Cdebuginfo=2",
            "-Clink-arg=--btf",
            "--remap-path-prefix=/src/c1m=.",
            "--remap-path-prefix=/opt/.cargo=cargo",
        ]
    );
}

#[test]
fn a_distributions_compiler_has_core() {
    let line = distribution().line("check", &workspace(), &["-Dwarnings"]);
    assert_eq!(line.program, Path::new("/usr/bin/cargo"));
    assert_eq!(line.args[0], "check");
    assert!(!line.args.iter().any(|arg| arg.contains("build-std")));
    assert!(line.env.contains(&("RUSTC_BOOTSTRAP", "1".to_owned())));
    assert!(line.env.contains(&("RUSTC", "/usr/bin/rustc".to_owned())));
    let flags = &line
        .env
        .iter()
        .find(|(key, _)| *key == "CARGO_ENCODED_RUSTFLAGS")
        .unwrap()
        .1;
    assert!(flags.ends_with("\x1f-Dwarnings"));
}

#[test]
fn versions_are_read() {
    let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nhost: x\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
    assert_eq!(parse_versions(text), Some(((1, 97), 22)));
    assert_eq!(parse_versions("rustc 1.97.0"), None);
}

#[test]
fn apt_candidates_are_compared() {
    assert!(is_new_enough(
        "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n"
    ));
    assert!(is_new_enough("rustc:\n  Candidate: 1:1.95.0+dfsg1-1\n"));
    assert!(!is_new_enough(
        "rustc:\n  Installed: (none)\n  Candidate: 1.63.0+dfsg1-2\n"
    ));
    assert!(!is_new_enough(
        "libstd-rust-dev-bpf:\n  Candidate: (none)\n"
    ));
    assert!(!is_new_enough(""));
}

#[test]
fn llvm_is_found_among_the_libraries() {
    let rustups = "\tlibdl.so.2 => /lib/libdl.so.2 (0x00007f2d73de0000)\n\tlibLLVM.so.22.1-rust-1.97.0-nightly => \
                   /opt/a b/.rustup/lib/libLLVM.so.22.1-rust-1.97.0-nightly (0x00007f2d61000000)\n";
    let expected = PathBuf::from("/opt/a b/.rustup/lib/libLLVM.so.22.1-rust-1.97.0-nightly");
    assert_eq!(parse_ldd(rustups), Some(expected));
    assert_eq!(parse_ldd("\tlibLLVM.so.22.1 => not found\n"), None);
    assert_eq!(parse_ldd("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n"), None);
}
