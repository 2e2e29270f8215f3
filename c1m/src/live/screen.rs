//! The terminal: taken while the view lasts, given back however it ends, and its keys.

use std::{
    io::{self, IsTerminal as _, Stderr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use tokio::sync::mpsc;

use super::{draw::draw, scene::Scene};

/// How long a key may go unnoticed.
const KEYS_EVERY: Duration = Duration::from_millis(100);

/// The terminal, as long as the view is on it.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    over: Arc<AtomicBool>,
    keys: Option<JoinHandle<()>>,
}

/// Whether stderr is a terminal that is ours to draw on: who is in the background would be stopped by it.
pub(super) fn is_there() -> bool {
    let stderr = io::stderr();
    let foreground = rustix::termios::tcgetpgrp(&stderr);
    stderr.is_terminal() && foreground.is_ok_and(|group| group == rustix::process::getpgrp())
}

impl Screen {
    /// Takes the terminal. A key that is to end the run (q, Ctrl-C) comes by `asked`.
    pub(super) fn open(asked: mpsc::UnboundedSender<()>) -> io::Result<Self> {
        give_back_on_panic();
        enable_raw_mode()?;
        let taken = || {
            execute!(io::stderr(), EnterAlternateScreen)?;
            let mut terminal = Terminal::new(CrosstermBackend::new(io::stderr()))?;
            terminal.hide_cursor()?;
            Ok::<_, io::Error>(terminal)
        };
        let terminal = taken().inspect_err(|_| give_back())?;
        let over = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&over);
        let keys = std::thread::spawn(move || listen(&watched, &asked));
        Ok(Self {
            terminal,
            over,
            keys: Some(keys),
        })
    }

    /// Shows a scene.
    pub(super) fn show(&mut self, scene: &Scene) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame, scene)).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(keys) = self.keys.take() {
            // Or what is typed for the shell would go to it.
            let _ = keys.join();
        }
        let _ = self.terminal.show_cursor();
        give_back();
    }
}

/// The terminal as it was. Nothing to do about one that is gone.
fn give_back() {
    let _ = execute!(io::stderr(), LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// A panic's words are of no use on a screen that goes away.
fn give_back_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        give_back();
        before(info);
    }));
}

fn listen(over: &AtomicBool, asked: &mpsc::UnboundedSender<()>) {
    while !over.load(Ordering::Relaxed) {
        match event::poll(KEYS_EVERY) {
            Ok(false) => continue,
            Ok(true) => {}
            // The terminal is gone: SIGHUP ends the run, if it is to end.
            Err(_) => return,
        }
        let ends = match event::read() {
            Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => match key.code {
                KeyCode::Char('q' | 'Q') => true,
                KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
                _ => false,
            },
            Ok(_) => false,
            Err(_) => return,
        };
        if ends {
            // Nobody waits for it any more when the run is over.
            let _ = asked.send(());
        }
    }
}
