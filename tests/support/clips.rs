//! Media made once with ffmpeg and kept below the target directory.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::frames::Recording;
use super::players::Ffmpeg;

/// A file to publish from.
#[derive(Debug, Clone)]
pub(crate) struct Clip {
    /// An FLV file.
    pub(crate) path: PathBuf,
    /// Pictures from key frame to key frame.
    pub(crate) gop: usize,
    /// The ffmpeg that can read it.
    pub(crate) tool: Ffmpeg,
}

impl Clip {
    /// What a publisher that copies this clip sends. Copying may rewrite a configuration record,
    /// so the file is copied the same way first.
    pub(crate) fn sent(&self) -> Recording {
        self.sent_with(&[])
    }

    /// The same with more options, see [`Recording::of_file_with`].
    pub(crate) fn sent_with(&self, options: &[&str]) -> Recording {
        let copy = self.path.with_extension("sent");
        if !copy.exists() {
            let input = ["-i".as_ref(), self.path.as_os_str()];
            write_once(self.tool, &input, &["-c", "copy"], &copy);
        }
        Recording::of_file_with(self.tool, &copy, options)
    }
}

const PICTURES: [&str; 4] = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"];
const SOUND: [&str; 4] = ["-f", "lavfi", "-i", "aevalsrc=exprs=0.3*sin(2*PI*(300+20*t)*t):s=44100"];
const H264: [&str; 20] = [
    "-c:v",
    "libx264",
    "-preset",
    "fast",
    "-pix_fmt",
    "yuv420p",
    "-bf",
    "2",
    "-g",
    "50",
    "-sc_threshold",
    "0",
    "-b:v",
    "2M",
    "-maxrate",
    "2M",
    "-bufsize",
    "2M",
    "-x264-params",
    "nal-hrd=cbr:force-cfr=1",
];
const AAC: [&str; 4] = ["-c:a", "aac", "-b:a", "128k"];
const GOP: usize = 50;

/// 10 s of 2 Mbit/s H.264 with B-frames, a key frame every 2 s, and AAC.
pub(crate) fn h264_aac() -> Clip {
    make("h264_aac", Ffmpeg::Debian, GOP, &[&PICTURES, &SOUND, &H264, &AAC])
}

/// The same without audio.
pub(crate) fn h264() -> Clip {
    make("h264", Ffmpeg::Debian, GOP, &[&PICTURES, &H264])
}

/// AAC alone.
pub(crate) fn aac() -> Clip {
    make("aac", Ffmpeg::Debian, 1, &[&SOUND, &AAC])
}

/// H.264 and MP3.
pub(crate) fn h264_mp3() -> Clip {
    let mp3 = ["-c:a", "libmp3lame", "-b:a", "128k"];
    make("h264_mp3", Ffmpeg::Debian, GOP, &[&PICTURES, &SOUND, &H264, &mp3])
}

/// Pictures of few bytes, with a key frame each second and AAC: about 60 kbit/s in all.
pub(crate) fn small() -> Clip {
    let pictures = ["-f", "lavfi", "-i", "testsrc2=size=128x72:rate=10"];
    let h264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "1", "-g", "10", "-b:v", "40k"];
    let aac = ["-c:a", "aac", "-b:a", "24k", "-ar", "22050", "-t", "6"];
    make("small", Ffmpeg::Debian, 10, &[&pictures, &SOUND, &h264, &aac])
}

/// 20 s of a picture each second, with a key frame each five, and AAC.
pub(crate) fn slideshow() -> Clip {
    let pictures = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=1"];
    let h264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "0", "-g", "5"];
    make("slideshow", Ffmpeg::Debian, 5, &[&pictures, &SOUND, &h264, &AAC, &["-t", "20"]])
}

/// H.265 with B-frames, and AAC.
pub(crate) fn h265_aac() -> Clip {
    let h265 = [
        "-c:v",
        "libx265",
        "-preset",
        "superfast",
        "-pix_fmt",
        "yuv420p",
        "-b:v",
        "1M",
        "-x265-params",
        "log-level=error:keyint=50:min-keyint=50:scenecut=0:bframes=2:open-gop=0",
    ];
    make("h265_aac", Ffmpeg::Current, GOP, &[&PICTURES, &SOUND, &h265, &AAC])
}

/// AV1 and Opus.
pub(crate) fn av1_opus() -> Clip {
    // irefresh-type 2: closed GOPs, each with a key frame.
    let av1 = [
        "-c:v",
        "libsvtav1",
        "-preset",
        "10",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "50",
        "-crf",
        "40",
        "-svtav1-params",
        "irefresh-type=2",
    ];
    make("av1_opus", Ffmpeg::Current, GOP, &[&PICTURES, &SOUND, &av1, &OPUS])
}

/// VP9 and Opus.
pub(crate) fn vp9_opus() -> Clip {
    let vp9 = [
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-g",
        "50",
        "-keyint_min",
        "50",
        "-b:v",
        "800k",
    ];
    make("vp9_opus", Ffmpeg::Current, GOP, &[&PICTURES, &SOUND, &vp9, &OPUS])
}

/// H.264 and Opus.
pub(crate) fn h264_opus() -> Clip {
    make("h264_opus", Ffmpeg::Current, GOP, &[&PICTURES, &SOUND, &H264, &OPUS])
}

const OPUS: [&str; 6] = ["-c:a", "libopus", "-b:a", "96k", "-ar", "48000"];

/// H.264 and FLAC.
pub(crate) fn h264_flac() -> Clip {
    let flac = ["-c:a", "flac", "-sample_fmt", "s16"];
    make("h264_flac", Ffmpeg::Current, GOP, &[&PICTURES, &SOUND, &H264, &flac])
}

/// H.264 and AC-3.
pub(crate) fn h264_ac3() -> Clip {
    let ac3 = ["-c:a", "ac3", "-b:a", "192k"];
    make("h264_ac3", Ffmpeg::Current, GOP, &[&PICTURES, &SOUND, &H264, &ac3])
}

/// Runs ffmpeg once for these arguments; later runs find the file.
fn make(name: &str, tool: Ffmpeg, gop: usize, arguments: &[&[&str]]) -> Clip {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);

    let arguments = arguments.concat();
    let length: &[&str] = if arguments.contains(&"-t") { &[] } else { &["-t", "10"] };
    let mut hasher = DefaultHasher::new();
    (&arguments, length).hash(&mut hasher);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clips");
    fs::create_dir_all(&dir).expect("the target directory is ours");
    let path = dir.join(format!("{name}-{:016x}.flv", hasher.finish()));
    if !path.exists() {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        write_once(tool, &arguments, length, &path);
    }
    Clip { path, gop, tool }
}

/// Runs ffmpeg into a file elsewhere and moves it: others may look for `path` meanwhile.
fn write_once(tool: Ffmpeg, input: &[&OsStr], output: &[&str], path: &Path) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unfinished = path.with_extension(format!("{}-{number}.part", std::process::id()));
    let said = Command::new(tool.path())
        .args(["-nostdin", "-v", "error", "-y"])
        .args(input)
        .args(output)
        .args(["-f", "flv", "pipe:1"])
        .stdin(Stdio::null())
        // A pipe to ffmpeg: where it could go back, it would write other headers than to a server.
        .stdout(File::create(&unfinished).expect("the target directory is ours"))
        .stderr(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .expect("ffmpeg starts");
    let complaint = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "ffmpeg cannot make {}: {complaint}", path.display());
    fs::rename(&unfinished, path).expect("the target directory is ours");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clip_holds_what_its_name_says() {
        let both = [
            h264_aac(),
            h264_mp3(),
            h264_opus(),
            h265_aac(),
            av1_opus(),
            vp9_opus(),
            h264_flac(),
            h264_ac3(),
        ];
        for clip in both {
            let sent = clip.sent();
            assert_eq!(sent.video.len(), 250, "{clip:?}");
            assert!(sent.audio.len() > 90, "{clip:?}: {}", sent.audio.len());
        }
        assert_eq!((h264().sent().video.len(), h264().sent().audio.len()), (250, 0));
        assert!(aac().sent().video.is_empty() && aac().sent().audio.len() > 400);
        assert!(small().path.metadata().expect("it is there").len() < 100_000);
    }
}
