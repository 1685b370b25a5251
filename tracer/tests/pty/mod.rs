//! A program in a terminal: what it draws is read as a person would see it, keys are typed, and its modes
//! are held against those it began with.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    num::NonZero,
    os::unix::fs::OpenOptionsExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    fs::OFlags,
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};

/// Nothing takes this long: 2 minutes of looking every 20 ms.
const LOOKS: usize = 6000;
const PAUSE: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Pty {
    child: Child,
    master: File,
    /// Held open, so that the modes can be asked for in the end.
    slave: File,
    before: Termios,
    parser: Arc<Mutex<vt100::Parser>>,
    reader: JoinHandle<()>,
}

impl Pty {
    /// Starts a program in a terminal of this size (columns, rows); all three of its streams are there.
    pub(crate) fn start(
        mut command: Command,
        (columns, rows): (u16, u16),
        spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
    ) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            // Else it becomes ours where we lead a session, and its end is ours.
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(name.to_str().unwrap())
            .unwrap();
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).unwrap();
        let before = tcgetattr(&slave).unwrap();
        let stream = || Stdio::from(slave.try_clone().unwrap());
        command
            .env("TERM", "xterm-256color")
            .stdin(stream())
            .stdout(stream())
            .stderr(stream());
        let child = spawn(&mut command).unwrap();
        // It holds the streams, too.
        drop(command);
        let master = File::from(master);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(some(rows), some(columns), 0)));
        let reader = read(master.try_clone().unwrap(), Arc::clone(&parser));
        Self {
            child,
            master,
            slave,
            before,
            parser,
            reader,
        }
    }

    /// What a person sees.
    pub(crate) fn screen(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Waits until the screen shows something.
    pub(crate) fn until(&mut self, what: &str, shows: impl Fn(&str) -> bool) {
        for _ in 0..LOOKS {
            if shows(&self.screen()) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "waiting for {what}, it ended ({status}):\n{}",
                    self.screen()
                );
            }
            thread::sleep(PAUSE);
        }
        panic!("{what} does not show:\n{}", self.screen());
    }

    /// Waits until a text is on the screen.
    pub(crate) fn shows(&mut self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Makes the terminal larger or smaller.
    pub(crate) fn resize(&self, (columns, rows): (u16, u16)) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        self.parser
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(some(rows), some(columns));
        tcsetwinsize(&self.slave, size).unwrap();
        // It is nobody's controlling terminal: the kernel tells no one.
        self.signal(Signal::WINCH);
    }

    /// Whether anything on the screen is coloured.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn has_colours(&self) -> bool {
        let parser = self.parser.lock().unwrap();
        let (rows, columns) = parser.screen().size();
        let (rows, columns) = (rows.get(), columns.get());
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| parser.screen().cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default)
    }

    /// Its process id.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether the terminal is as it was: modes, and no other screen.
    pub(crate) fn is_restored(&self) -> bool {
        let (now, then) = (tcgetattr(&self.slave).unwrap(), &self.before);
        let same_modes = now.input_modes == then.input_modes
            && now.output_modes == then.output_modes
            && now.control_modes == then.control_modes
            && now.local_modes == then.local_modes;
        let parser = self.parser.lock().unwrap();
        same_modes && !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
    }

    /// Waits for its end; what it has left on the screen, and whether that is restored.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, bool) {
        for _ in 0..LOOKS {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What it wrote last may still be on its way.
                for _ in 0..LOOKS / 10 {
                    if self.is_restored() {
                        break;
                    }
                    thread::sleep(PAUSE);
                }
                let restored = self.is_restored();
                // The last of its streams: the reader ends.
                let parser = Arc::clone(&self.parser);
                drop(self.slave);
                self.reader.join().unwrap();
                let screen = parser.lock().unwrap().screen().contents();
                return (status, screen, restored);
            }
            thread::sleep(PAUSE);
        }
        let _ = self.child.kill();
        panic!("it does not end:\n{}", self.screen());
    }
}

fn some(n: u16) -> NonZero<u16> {
    NonZero::new(n).unwrap()
}

fn read(mut master: File, parser: Arc<Mutex<vt100::Parser>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = master.read(&mut chunk) {
            parser.lock().unwrap().process(&chunk[..length]);
        }
    })
}
