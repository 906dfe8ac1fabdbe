use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files that recordings of this node have open, however long ago they were written to.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles(Mutex<HashSet<FileId>>);

/// A file, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// A file's place among those that are open, given back on drop.
#[derive(Debug)]
pub(crate) struct Open {
    files: Arc<OpenFiles>,
    file: FileId,
}

impl OpenFiles {
    /// True if a recording has it open.
    pub(crate) fn holds(&self, file: FileId) -> bool {
        self.lock().contains(&file)
    }

    /// From now on `file` is open.
    pub(crate) fn enter(self: &Arc<Self>, file: FileId) -> Open {
        self.lock().insert(file);
        Open { files: Arc::clone(self), file }
    }

    /// Held for a look alone: a core waits for it.
    fn lock(&self) -> MutexGuard<'_, HashSet<FileId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileId {
    /// The one that `about` is about.
    pub(crate) fn of(about: &Metadata) -> Self {
        Self { device: about.dev(), inode: about.ino() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.files.lock().remove(&self.file);
    }
}
