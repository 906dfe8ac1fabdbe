use std::io;
use std::os::unix::fs::MetadataExt;

use procfs::process::{FDTarget, Process};

use super::Handles;

/// Proportional share of `pid`'s memory. None if it has just ended.
///
/// # Errors
/// It may not be looked at.
pub(super) fn pss_bytes(pid: i32) -> io::Result<Option<u64>> {
    let rollup = match Process::new(pid).and_then(|process| process.smaps_rollup()) {
        Ok(rollup) => rollup,
        Err(procfs::ProcError::NotFound(_)) => return Ok(Some(0)),
        Err(error) => return Err(io::Error::other(error)),
    };
    let pss = rollup.memory_map_rollup.0.first().and_then(|all| all.extension.map.get("Pss"));
    Ok(pss.copied())
}

/// Bytes of memory that `pid` holds as files (memfd_create(2)) and that are not resident: it has not read
/// them itself. Zero if it has just ended.
pub(super) fn files_bytes(pid: i32) -> u64 {
    let Ok(process) = Process::new(pid) else { return 0 };
    let mut held = 0;
    for file in process.fd().into_iter().flatten().flatten() {
        if let FDTarget::MemFD(_) = file.target {
            // What closes meanwhile holds nothing.
            let path = format!("/proc/{pid}/fd/{}", file.fd);
            held += std::fs::metadata(path).map_or(0, |file| file.blocks() * 512);
        }
    }
    let resident_kib = process.status().ok().and_then(|status| status.rssshmem);
    held.saturating_sub(resident_kib.unwrap_or(0) * 1024)
}

/// Descriptors and threads of `pid`; zero if it has just ended.
pub(super) fn handles(pid: i32) -> Handles {
    let Ok(process) = Process::new(pid) else {
        return Handles { fds: Some(0), threads: Some(0) };
    };
    let threads = process.stat().map_or(0, |stat| stat.num_threads.unsigned_abs());
    let fds = process.fd_count().ok().map(|count| count as u64);
    Handles { fds, threads: Some(threads) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn memory_that_is_a_file_counts_though_nobody_has_read_it() {
        const HELD: usize = 32 << 20;
        let own = std::process::id().cast_signed();
        let before = files_bytes(own);
        let file = memfd_create("held", MemfdFlags::CLOEXEC).expect("the kernel has it");
        File::from(file.try_clone().expect("a descriptor"))
            .write_all(&vec![1; HELD])
            .expect("room");
        // Others of this process may read memory that they share meanwhile.
        let much = before + HELD as u64 / 2;
        assert!(files_bytes(own) > much);
        drop(file);
        assert!(files_bytes(own) < much);
    }
}
