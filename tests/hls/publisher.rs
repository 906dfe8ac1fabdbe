//! A publisher whose pictures say when they were made.

use crate::support::child::Child;
use crate::support::machine::RunDir;
use crate::support::players::Ffmpeg;

/// Publishes pictures made at this moment, with a key frame each two seconds and no B-frames, and
/// sound. At the top of a picture stands a row of sixteen squares, black or white: the time it was
/// made at, in hundredths of a second, modulo 2^16, as a Gray code (neighbours differ in one square, so
/// one made while the time goes on is right too), the lowest bit on the left.
pub(crate) fn stamped(url: &str, dir: &RunDir) -> Child {
    const NOW: &str = "floor(mod(time(0)*100,65536)";
    // One graph is one input: ffmpeg reads ahead where there are more.
    let graph = format!(
        "testsrc2=size=640x340:rate=25,format=yuv420p[picture];\
         color=black:size=16x1:rate=25,format=gray,\
         geq=lum='255*mod({NOW}/pow(2,X))+{NOW}/pow(2,X+1)),2)',\
         scale=640:20:flags=neighbor,format=yuv420p[time];\
         [time][picture]vstack[out0];sine=frequency=440:sample_rate=44100[out1]"
    );
    let mut command = Ffmpeg::Debian.command();
    command.args(["-re", "-f", "lavfi", "-i", &graph]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"]);
    command.args(["-g", "50", "-b:v", "1M", "-c:a", "aac", "-flush_packets", "1"]);
    command.args(["-f", "flv", url]);
    Child::start(&mut command, &dir.file("stamped.log"))
}
