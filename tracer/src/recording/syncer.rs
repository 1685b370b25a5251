//! Has the disk keep what it was given, on a thread of its own: blocks are written on while a busy disk
//! takes its time, so that a kill costs what was not written yet, and not what was not kept yet.

use std::{
    fs::File,
    io,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread,
};

/// See the module.
pub(super) struct Syncer {
    to: SyncSender<File>,
    from: Receiver<io::Result<()>>,
    is_busy: bool,
}

impl Syncer {
    /// The thread has the capabilities of the one that asks for it.
    pub(super) fn start() -> io::Result<Self> {
        let (to, files) = sync_channel::<File>(1);
        let (tell, from) = sync_channel(1);
        thread::Builder::new()
            .name("recorder-sync".to_owned())
            .spawn(move || {
                for file in files {
                    if tell.send(file.sync_data()).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            to,
            from,
            is_busy: false,
        })
    }

    /// Whether the disk can be asked; an error is that of the last time.
    pub(super) fn is_idle(&mut self) -> io::Result<bool> {
        if self.is_busy {
            match self.from.try_recv() {
                Ok(kept) => {
                    self.is_busy = false;
                    kept?;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(ended()),
            }
        }
        Ok(!self.is_busy)
    }

    /// Asks the disk to keep what this file was given so far, if it is idle.
    pub(super) fn sync(&mut self, file: File) -> io::Result<()> {
        self.to.send(file).map_err(|_| ended())?;
        self.is_busy = true;
        Ok(())
    }

    /// Until it has answered; an error is that of the last time.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_busy) {
            return Ok(());
        }
        self.from.recv().unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that asks the disk has ended")
}
