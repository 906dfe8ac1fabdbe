use std::io;

use bytes::Bytes;
use glommio::io::BufferedFile;

use super::fd;

/// A file that is written through the page cache, from its beginning on, without blocking its core.
/// Direct I/O would need a file system that has it.
#[derive(Debug)]
pub struct File {
    file: BufferedFile,
    written: u64,
}

impl File {
    /// The same file, which is empty, to be written on this core.
    pub fn new(file: std::fs::File) -> Self {
        Self { file: fd::file(file.into()), written: 0 }
    }

    /// Bytes that were appended.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// True if nothing was.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Appends all of `bytes`.
    ///
    /// # Errors
    /// What the kernel says. A part may have been written then, behind [`Self::len`].
    pub async fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut at = self.written;
        while !bytes.is_empty() {
            // The runtime wants a buffer of its own for as long as the kernel has it.
            let taken = self.file.write_at(bytes.to_vec(), at).await.map_err(io::Error::from)?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += taken as u64;
            bytes = &bytes[taken.min(bytes.len())..];
        }
        self.written = at;
        Ok(())
    }

    /// Has the disk hold what was appended.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn sync(&self) -> io::Result<()> {
        self.file.fdatasync().await.map_err(io::Error::from)
    }

    /// Takes away what lies behind what was appended: the beginning of what could not be.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn cut(&self) -> io::Result<()> {
        self.file.truncate(self.written).await.map_err(io::Error::from)
    }

    /// Done with it.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn close(self) -> io::Result<()> {
        self.file.close().await.map_err(io::Error::from)
    }
}

/// A file that is read through the page cache, without blocking its core.
#[derive(Debug)]
pub struct ReadFile(BufferedFile);

impl ReadFile {
    /// The same file, to be read on this core.
    pub fn new(file: std::fs::File) -> Self {
        Self(fd::file(file.into()))
    }

    /// Up to `most` bytes from `at` on, which are copied once; none at the end.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn read_at(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let read = self.0.read_at(at, most).await.map_err(io::Error::from)?;
        Ok(Bytes::copy_from_slice(&read))
    }
}
