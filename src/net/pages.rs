use std::cell::{Cell, OnceCell};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::process::{Resource, getrlimit};

use super::fd::Mapping;
use crate::bytes::{Place, Slice};
use crate::plane::hls::{Heap, Store};

/// Parts in a file that is nowhere but in memory (memfd_create(2)), one of each core. The kernel can send
/// them from there without copying them, and without a copy the core's caches keep what it works with:
/// 2000 viewers of segments of 500 KB cost a fifth less.
///
/// What lies in the file counts as shared memory of the program's control group, and among its resident
/// memory only what was read here. Where the kernel refuses, parts lie on the heap.
#[derive(Debug, Default)]
pub struct Pages {
    /// Of the segment that is made, and how much of it is written.
    region: Option<(Arc<Region>, usize)>,
    /// A region that begins now has room for so much.
    expected: usize,
    has_warned: bool,
}

/// The file of a core.
#[derive(Debug)]
struct CoreFile {
    file: Arc<OwnedFd>,
    /// Where the next region begins.
    end: Cell<u64>,
}

thread_local! {
    static FILE: OnceCell<Option<CoreFile>> = const { OnceCell::new() };
}

/// A piece of the file.
#[derive(Debug)]
struct Region {
    // It goes before its memory does: there is less to be done then.
    mapping: Mapping,
    hole: Hole,
    len: usize,
}

/// Memory that is free when nobody has a part of the region any more.
#[derive(Debug)]
struct Hole {
    file: Arc<OwnedFd>,
    offset: u64,
    len: u64,
}

/// A part, which lies in a region.
struct Part {
    region: Arc<Region>,
    range: Range<usize>,
}

/// Of address space, for the first segment and one that is larger than the one before; memory is taken as
/// it is written.
const REGION_MIN: usize = 1 << 20;
/// Of the process, which may have 65 530 mappings (vm.max_map_count); further parts lie on the heap.
const REGIONS_MAX: usize = 16_384;
static REGIONS: AtomicUsize = AtomicUsize::new(0);

impl CoreFile {
    fn new() -> io::Result<Self> {
        if getrlimit(Resource::Fsize).current.is_some() {
            // Who writes beyond it is killed, and the file only grows, holes and all.
            return Err(io::Error::other(
                "expected no limit of file sizes (RLIMIT_FSIZE), found one",
            ));
        }
        let create = |flags| rustix::fs::memfd_create("corecast-hls", MemfdFlags::CLOEXEC | flags);
        // Some hosts want it said (vm.memfd_noexec), and kernels before 6.3 do not know it.
        let file = create(MemfdFlags::NOEXEC_SEAL).or_else(|_| create(MemfdFlags::empty()))?;
        Ok(Self { file: Arc::new(file), end: Cell::new(0) })
    }

    /// Takes `work` to the file of this core.
    fn with<T>(work: impl FnOnce(&Self) -> io::Result<T>) -> Option<io::Result<T>> {
        let found = FILE.try_with(|file| {
            let file = file.get_or_init(|| Self::new().inspect_err(warn).ok());
            file.as_ref().map(work)
        });
        // The thread's storage may be gone when the executor drops its last tasks.
        found.ok().flatten()
    }

    fn region(&self, bytes: usize) -> io::Result<Region> {
        let found = REGIONS.load(Ordering::Relaxed);
        if found >= REGIONS_MAX {
            let why = format!("expected at most {REGIONS_MAX} segments, found {found}");
            return Err(io::Error::other(why));
        }
        let (file, offset) = (Arc::clone(&self.file), self.end.get());
        let len = bytes.next_multiple_of(rustix::param::page_size());
        rustix::fs::ftruncate(&file, offset + len as u64)?;
        let mapping = Mapping::new(file.as_fd(), offset, len)?;
        let hole = Hole { file, offset, len: (len as u64).next_multiple_of(huge_page()) };
        self.end.set(offset + hole.len);
        REGIONS.fetch_add(1, Ordering::Relaxed);
        Ok(Region { mapping, hole, len })
    }
}

/// The largest page of a file in memory: as many as one page names by 8 bytes each.
///
/// Regions begin where one may begin, so that none belongs to two. The kernel may still be sending from a
/// region that is freed: a page that goes as a whole keeps what is in it until that is sent, but of one
/// that stays in part the rest would be overwritten with zeros at once.
fn huge_page() -> u64 {
    let page = rustix::param::page_size() as u64;
    page * (page / 8)
}

fn warn(error: &io::Error) {
    tracing::warn!(%error, "HLS: no memory that can be sent as a file; segments are copied");
}

impl Pages {
    /// One of them, as a hub wants it.
    pub fn store() -> Box<dyn Store> {
        Box::new(Self::default())
    }

    fn warn_once(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            warn(error);
        }
    }

    fn write(&mut self, file: &CoreFile, part: &[u8]) -> io::Result<Slice> {
        let (region, used) = match self.region.take() {
            Some((region, used)) if part.len() <= region.len - used => (region, used),
            _ => (Arc::new(file.region(self.expected.max(part.len()).max(REGION_MIN))?), 0),
        };
        let offset = region.hole.offset + used as u64;
        let mut written = 0;
        while written < part.len() {
            match rustix::io::pwrite(&file.file, &part[written..], offset + written as u64)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => written += count,
            }
        }
        let range = used..used + part.len();
        self.region = Some((Arc::clone(&region), range.end));
        let place = Place { file: Arc::clone(&file.file), offset };
        Ok(Slice::in_file(Bytes::from_owner(Part { region, range }), place))
    }
}

impl Store for Pages {
    fn begin_segment(&mut self, bytes: usize) {
        self.region = None;
        self.expected = bytes;
    }

    fn keep(&mut self, part: &[u8]) -> Slice {
        if part.is_empty() {
            return Slice::default();
        }
        match CoreFile::with(|file| self.write(file, part)) {
            Some(Ok(slice)) => return slice,
            Some(Err(error)) => self.warn_once(&error),
            None => {}
        }
        Heap.keep(part)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        REGIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        let free = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(error) = rustix::fs::fallocate(&self.file, free, self.offset, self.len) {
            tracing::warn!(%error, "HLS: the memory of a segment is not freed");
        }
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.region.mapping.bytes(self.range.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::future::poll_fn;
    use std::io::Read;
    use std::net;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;
    use crate::bytes::Chain;
    use crate::net::{TcpStream, fd, rt};

    fn file() -> File {
        let file = CoreFile::with(|file| file.file.try_clone());
        File::from(
            file.expect("the kernel has memfd_create, and no limit of file sizes is set")
                .expect("descriptors are left"),
        )
    }

    #[test]
    fn parts_lie_one_behind_the_other_in_the_file_as_in_memory() {
        let mut pages = Pages::default();
        let file = file();
        pages.begin_segment(0);
        let parts: Vec<_> = (1..=5).map(|at| vec![at; 300_000 + usize::from(at)]).collect();
        let kept: Vec<_> = parts.iter().map(|part| pages.keep(part)).collect();
        pages.begin_segment(0);
        let next = pages.keep(b"the next segment");
        assert_eq!(&*next, b"the next segment");
        for (slice, part) in kept.iter().zip(&parts) {
            assert_eq!(**slice, **part);
            let place = slice.place().expect("it is in the file");
            let mut found = vec![0; part.len()];
            file.read_exact_at(&mut found, place.offset).expect("it is there");
            assert_eq!(found, *part);
        }
        // The first three fit in one region.
        let offsets = kept.iter().map(|slice| slice.place().expect("as above").offset);
        let offsets: Vec<_> = offsets.collect();
        assert_eq!(offsets[..3], [0, 300_001, 600_003]);
        assert_eq!(offsets[3..], [huge_page(), huge_page() + 300_004]);
    }

    #[test]
    fn memory_is_free_when_the_last_who_has_a_part_of_the_segment_lets_go() {
        let mut pages = Pages::default();
        let file = file();
        let held = || file.metadata().expect("it is open").blocks() * 512;
        for _ in 0..20 {
            pages.begin_segment(500_000);
            let first = pages.keep(&[1; 300_000]);
            let last = pages.keep(&[2; 100_000]);
            let viewer = last.clone();
            pages.begin_segment(0);
            drop((first, last));
            assert!(held() >= 400_000, "{}", held());
            assert_eq!(viewer[99_999], 2);
        }
        assert_eq!(held(), 0);
    }

    #[test]
    fn a_reader_with_little_room_gets_all_of_a_segment_from_its_file() {
        let listener = net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut peer = net::TcpStream::connect(address).expect("it listens");
        let (socket, _) = listener.accept().expect("just connected");
        SockRef::from(&socket).set_send_buffer_size(100_000).expect("TCP");
        SockRef::from(&peer).set_recv_buffer_size(50_000).expect("TCP");
        peer.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        let reader = std::thread::spawn(move || {
            let (mut heard, mut room) = (Vec::new(), [0; 30_000]);
            loop {
                match peer.read(&mut room).expect("it goes on") {
                    0 => return heard,
                    count => heard.extend_from_slice(&room[..count]),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let media: Vec<u8> = (0_u32..700_000).flat_map(u32::to_le_bytes).collect();
        let (sent, cut) = (media.clone(), 77_777);
        let main = move || async move {
            let mut pages = Pages::default();
            pages.begin_segment(sent.len());
            let mut chain = Chain::default();
            chain.push("head");
            sent.chunks(cut).for_each(|part| chain.push_slice(pages.keep(part)));
            chain.push("tail");
            // They stay for as long as they are to be sent.
            drop(pages);
            let mut stream = TcpStream::arrive(OwnedFd::from(socket).into());
            let written = poll_fn(|cx| stream.poll_write_all(cx, &mut chain)).await;
            written.expect("the reader takes it all");
            let never_blocks = fd::with_socket(stream.fd(), |socket| socket.nonblocking());
            assert!(never_blocks.expect("it is open"), "only what goes by file wants that");
        };
        rt::on_a_core(main);
        let heard = reader.join().expect("it has not panicked");
        assert_eq!(heard.len(), media.len() + 8);
        assert!(heard.starts_with(b"head") && heard.ends_with(b"tail"));
        assert!(heard[4..heard.len() - 4] == media);
    }

    #[test]
    fn without_a_file_parts_lie_on_the_heap() {
        // A thread has its file, or none, for good.
        let thread = std::thread::spawn(|| {
            FILE.with(|file| file.set(None)).expect("nobody has asked for it");
            let mut pages = Pages::default();
            let part = pages.keep(b"part");
            assert!(*part == *b"part" && part.place().is_none());
            assert!(pages.keep(b"").is_empty());
        });
        thread.join().expect("it has not panicked");
    }
}
