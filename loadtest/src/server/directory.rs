use std::fs::DirBuilder;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A directory that nobody else can enter, removed with all that is in it when dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

/// Names that may all be taken before it is given up.
const NAMES: usize = 8;

impl Directory {
    /// An empty one.
    ///
    /// # Errors
    /// The system's temporary directory takes none.
    pub fn new() -> io::Result<Self> {
        Self::within(&std::env::temp_dir(), "set TMPDIR")
    }

    /// An empty one in memory: of a server's files that no disk is to slow down.
    ///
    /// # Errors
    /// There is no `/dev/shm`, or it takes none.
    pub fn in_memory() -> io::Result<Self> {
        Self::within(Path::new("/dev/shm"), "mount tmpfs there")
    }

    fn within(place: &Path, cure: &str) -> io::Result<Self> {
        for _ in 0..NAMES {
            // Seeded by the kernel, so that nobody can lie in wait for it.
            let random = RandomState::new().hash_one(());
            let path = place.join(format!("corecast-load-{}-{random:016x}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                // One that is there is a stranger's.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let why = format!("{}: {error} (cure: {cure})", place.display());
                    return Err(io::Error::new(error.kind(), why));
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Whatever is left lies in the system's directory for such.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_its_owner_may_enter_a_directory_and_nothing_is_left_of_it() {
        let new = || Directory::new().expect("there is room for it");
        let (one, other) = (new(), new());
        assert_ne!(one.path(), other.path());
        std::fs::write(one.path().join("file"), "text").expect("it is there");
        let path = one.path().to_owned();
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(one);
        assert!(!path.exists());
    }
}
