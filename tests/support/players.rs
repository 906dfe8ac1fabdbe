//! Publishers and players that no one here wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::child::Child;
use super::clips::Clip;
use super::frames::Recording;
use super::http;
use super::machine::{RunDir, eventually, root, secs};
use super::server::Server;

/// The two ffmpegs of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ffmpeg {
    /// Debian's, 5.1: no Enhanced RTMP.
    Debian,
    /// A current one, from the Python environment: Enhanced RTMP both ways.
    Current,
}

impl Ffmpeg {
    pub(crate) fn path(self) -> PathBuf {
        match self {
            Self::Debian => PathBuf::from("/usr/bin/ffmpeg"),
            Self::Current => in_python_environment("imageio_ffmpeg/binaries", "ffmpeg-linux"),
        }
    }

    pub(crate) fn command(self) -> Command {
        let mut command = Command::new(self.path());
        command.args(["-nostdin", "-hide_banner", "-nostats", "-v", "info"]);
        command
    }
}

/// A file of a package in .venv, by the folder it is in and how its name begins.
fn in_python_environment(folder: &str, begins: &str) -> PathBuf {
    let entries = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    entries(&root().join(".venv/lib"))
        .iter()
        .flat_map(|python| entries(&python.join("site-packages").join(folder)))
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(begins)))
        .unwrap_or_else(|| panic!("no {begins}* in .venv; run tests/install.sh"))
}

/// Publishes `clip` as fast as it plays, untouched. Ends when the clip does.
pub(crate) fn publish(clip: &Clip, url: &str, dir: &RunDir) -> Child {
    publish_with(clip, url, dir, &[], &[])
}

/// The same with more input options (`-stream_loop`, `-t`) and output options. By RTMP at once whatever
/// there is to send: ffmpeg hangs up without having read all that it was told, and what its kernel has
/// held back until then (Nagle) is lost with that.
pub(crate) fn publish_with(
    clip: &Clip,
    url: &str,
    dir: &RunDir,
    input: &[&str],
    output: &[&str],
) -> Child {
    let mut command = clip.tool.command();
    command.arg("-re").args(input).arg("-i").arg(&clip.path);
    command.args(["-c", "copy"]).args(output);
    if clip.tool == Ffmpeg::Current {
        command.args(["-rtmp_enhanced_codecs", "hvc1,av01,vp09,Opus,fLaC,ac-3,mp4a"]);
    }
    if url.starts_with("rtmp://") {
        command.args(["-tcp_nodelay", "1"]);
    }
    command.args(["-f", "flv", url]);
    Child::start(&mut command, &dir.file("publish.log"))
}

/// Publishes `clip` with GStreamer's own RTMP stack. `to_file` writes the same stream into a file
/// instead, as fast as it goes.
pub(crate) fn publish_gst(clip: &Clip, to: GstSink<'_>, dir: &RunDir) -> Child {
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q").arg("filesrc").arg(format!("location={}", clip.path.display()));
    command.args("! flvdemux name=d flvmux name=m streamable=true".split(' '));
    command.args("d.video ! queue ! h264parse ! m.video".split(' '));
    command.args("d.audio ! queue ! aacparse ! m.audio m. !".split(' '));
    match to {
        GstSink::Rtmp(url) => {
            command.args(["rtmp2sink", "sync=true"]).arg(format!("location={url}"))
        }
        GstSink::File(path) => command.arg("filesink").arg(format!("location={}", path.display())),
    };
    Child::start(&mut command, &dir.file("gst-publish.log"))
}

/// Where GStreamer publishes to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GstSink<'a> {
    Rtmp(&'a str),
    File(&'a Path),
}

/// A running player that writes down what it gets.
pub(crate) struct Player {
    pub(crate) child: Child,
    output: PathBuf,
    form: Form,
    /// Exit codes of an ordinary end.
    ends_with: &'static [i32],
}

enum Form {
    /// The text of `-f framemd5`, written packet by packet.
    Frames,
    /// A container file, to be read with this ffmpeg.
    File(Ffmpeg),
}

impl Player {
    /// Waits for the first media, at most `within`.
    #[track_caller]
    pub(crate) fn plays(&self, within: Duration) {
        let begun = eventually(within, || self.bytes() > 2000);
        assert!(begun, "nothing to play after {within:?}:\n{}", self.child.log_tail());
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        fs::metadata(&self.output).map_or(0, |file| file.len())
    }

    /// Waits for its end, at most `within`, and reads what it wrote.
    #[track_caller]
    pub(crate) fn finish(mut self, within: Duration) -> Recording {
        let Some(status) = self.child.wait(within) else {
            panic!("the player still runs after {within:?}:\n{}", self.child.log_tail());
        };
        let code = status.code();
        let fine = code.is_some_and(|code| self.ends_with.contains(&code));
        assert!(fine, "the player ended with {status}:\n{}", self.child.log_tail());
        match self.form {
            Form::Frames => Recording::parse(&fs::read_to_string(&self.output).unwrap_or_default()),
            Form::File(tool) => Recording::of_file(tool, &self.output),
        }
    }

    /// Waits until it has got nothing for `quiet`, at most `within`. For servers that do not tell
    /// players of the end: they are to be stopped then, for a player that is stopped itself loses
    /// what it still holds.
    pub(crate) fn falls_quiet(&self, quiet: Duration, within: Duration) {
        let mut last = (self.bytes(), Instant::now());
        eventually(within, || {
            if self.bytes() != last.0 {
                last = (self.bytes(), Instant::now());
            }
            last.1.elapsed() > quiet
        });
    }

    /// The file it writes.
    pub(crate) fn output(&self) -> &Path {
        &self.output
    }
}

/// Plays `url` (RTMP or HTTP) with ffmpeg, packets untouched.
pub(crate) fn play(tool: Ffmpeg, url: &str, dir: &RunDir) -> Player {
    let output = dir.file("play.framemd5");
    let mut command = tool.command();
    command.args(["-copyts", "-i", url, "-c", "copy", "-f", "framemd5", "-flush_packets", "1"]);
    let child = Child::start(command.arg("-y").arg(&output), &dir.file("play.log"));
    Player { child, output, form: Form::Frames, ends_with: &[0] }
}

/// Plays `url` with rtmpdump.
pub(crate) fn play_rtmpdump(tool: Ffmpeg, url: &str, dir: &RunDir) -> Player {
    let output = dir.file("rtmpdump.flv");
    let mut command = Command::new("rtmpdump");
    command.args(["--live", "-r", url, "-o"]).arg(&output);
    let child = Child::start(&mut command, &dir.file("rtmpdump.log"));
    // 2: it cannot know that a live stream is complete.
    Player { child, output, form: Form::File(tool), ends_with: &[0, 2] }
}

/// Plays `url` with GStreamer's own RTMP stack.
pub(crate) fn play_gst(tool: Ffmpeg, url: &str, dir: &RunDir) -> Player {
    let output = dir.file("gst.flv");
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "rtmp2src"]).arg(format!("location={url}"));
    command.args(["!", "filesink", "buffer-mode=unbuffered"]);
    command.arg(format!("location={}", output.display()));
    let child = Child::start(&mut command, &dir.file("gst.log"));
    Player { child, output, form: Form::File(tool), ends_with: &[0] }
}

/// Plays `url` (HTTP) with curl.
pub(crate) fn play_curl(tool: Ffmpeg, url: &str, dir: &RunDir) -> Player {
    let output = dir.file("curl.flv");
    let mut command = Command::new("curl");
    command.args(["-sS", "-f", "-N", "-o"]).arg(&output).arg(url);
    let child = Child::start(&mut command, &dir.file("curl.log"));
    Player { child, output, form: Form::File(tool), ends_with: &[0] }
}

/// Plays `url` with VLC, which writes an MPEG-TS file: look at its pictures, see
/// [`pictures`]. VLC refuses to run as root, so then it runs as nobody.
pub(crate) fn play_vlc(url: &str, dir: &RunDir) -> Player {
    let output = dir.file("vlc.ts");
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "cvlc"]);
        command
    } else {
        Command::new("cvlc")
    };
    command.env("HOME", "/nonexistent").current_dir("/");
    command.args(["-I", "dummy", "--no-color", "--play-and-exit", "--network-caching=500"]);
    command.args(["--sout-keep", "--sout", "#std{access=file,mux=ts,dst=-}", url]);
    let child = Child::start_to(&mut command, &output, &dir.file("vlc.log"));
    Player { child, output, form: Form::File(Ffmpeg::Debian), ends_with: &[0] }
}

/// Waits until so many viewers wait for somebody to publish: programs may be long about their start, and
/// who is there later has missed the beginning. The server must serve its API.
#[track_caller]
pub(crate) fn wait_for_viewers(server: &Server, count: u32) {
    let waiting = || {
        let page = http::exchange(server.admin, &http::get("metrics")).text();
        let name = "corecast_stream_waiting_viewers{";
        let values = page.lines().filter(|line| line.starts_with(name));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let all = eventually(secs(40), || waiting() >= f64::from(count));
    assert!(all, "{} of {count} viewers wait", waiting());
}

/// Publishes `clip` to `live/a`, up to its end. What `view` begins before that, and once more in the
/// midst of a GOP.
pub(crate) fn early_and_late<V>(clip: &Clip, server: &Server, view: impl Fn() -> V) -> [V; 2] {
    let early = view();
    sleep(secs(1));
    let mut publisher = publish(clip, &server.rtmp("live/a"), &server.dir);
    // Counted from its begin, however long it takes to start: programs that are long about that
    // themselves have the rest of the clip for it.
    server.expect_log(" publish client=", secs(20));
    sleep(secs(3));
    let late = view();
    publisher.succeed(secs(40));
    [early, late]
}

/// The MD5 of each decoded picture of a file, in order.
pub(crate) fn pictures(tool: Ffmpeg, path: &Path) -> Vec<String> {
    decoded(tool, path, "0:v")
}

/// The MD5 of each decoded piece of sound of a file, in order.
pub(crate) fn sounds(tool: Ffmpeg, path: &Path) -> Vec<String> {
    decoded(tool, path, "0:a")
}

fn decoded(tool: Ffmpeg, path: &Path, streams: &str) -> Vec<String> {
    let mut command = tool.command();
    command.args(["-v", "fatal", "-i"]).arg(path).args(["-map", streams, "-f", "framemd5", "-"]);
    let output = command.output().expect("ffmpeg starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit(',').next()?.trim().to_owned())).collect()
}
