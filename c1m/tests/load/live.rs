//! The live view: on a terminal it comes and goes with the run, and its keys end it; elsewhere there are lines, without a
//! control character.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::rig::{Net, until};

/// A terminal of 80 × 24, and what is on the other side of it.
fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&ours).expect("it is ours");
    unlockpt(&ours).expect("it is ours");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let theirs = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().expect("a path"));
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let theirs: OwnedFd = theirs.expect("it opens").into();
    tcsetwinsize(&theirs, size).expect("a size");
    (File::from(ours), theirs)
}

#[test]
fn the_view_ends_with_the_run_and_the_report_comes() {
    let net = Net::new();
    let server = net.local_server("");
    for key in [b"q", b"\x03"] {
        let (mut ours, theirs) = terminal();
        let another = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_c1m"));
        let target = server.address.to_string();
        command
            .args([
                "client",
                "--target",
                &target,
                "--connections",
                "50",
                "--hold",
                "10m",
            ])
            .stdin(another())
            .stderr(another())
            .stdout(Stdio::piped());
        // SAFETY: makes system calls only, and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stderr())?)
            })
        };
        let mut child = net.run(|| command.spawn()).expect("it starts");
        drop((theirs, command));
        let drawn = Arc::new(Mutex::new(String::new()));
        let mut reader = ours.try_clone().expect("a descriptor");
        let into = Arc::clone(&drawn);
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when nobody has the other side any more.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                into.lock().expect("no panic").push_str(&text);
            }
        });
        let shows = |what: &str| drawn.lock().expect("no panic").contains(what);
        until("the view", || {
            (shows("\x1b[?1049h") && shows("connections")).then_some(())
        });
        server.wait_held(50);
        ours.write_all(key).expect("a key");
        let mut report = String::new();
        child
            .stdout
            .take()
            .expect("stdout")
            .read_to_string(&mut report)
            .expect("text");
        assert_eq!(child.wait().expect("its end").code(), Some(0), "{report}");
        reading.join().expect("no panic");
        assert!(
            shows("\x1b[?1049l") && shows("\x1b[?25h"),
            "the terminal is as it was"
        );
        assert!(report.contains("50 attempted   50 standing"), "{report}");
        assert!(!report.contains('\x1b'), "{report}");
        server.wait_held(0);
    }
}

#[test]
fn without_a_terminal_there_are_lines() {
    let net = Net::new();
    let server = net.local_server("");
    let target = server.address.to_string();
    let args = [
        "client",
        "--target",
        &target,
        "--connections",
        "50",
        "--hold",
        "4s",
    ];
    let done = net.spawn(None, &args).wait_with_output().expect("its end");
    let said = String::from_utf8(done.stderr).expect("text");
    assert!(said.contains("c1m: 50 of 50 established"), "{said}");
    for text in [&said, &String::from_utf8(done.stdout).expect("text")] {
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
    }
    let done = net
        .spawn(None, &[&args[..], &["--live"]].concat())
        .wait_with_output()
        .expect("its end");
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("--live needs a terminal"));
}
