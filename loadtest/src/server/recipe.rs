use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Directory, Process, last_lines};

/// How a server is started and reached.
///
/// In its texts stand for something that only a run knows:
///
/// | | |
/// |---|---|
/// | `{config}` | the file with [`Self::config`] |
/// | `{dir}` | a directory of its own, removed afterwards |
/// | `{NAME_port}` | a free port of 127.0.0.1, the same wherever `NAME` is |
/// | `{core_list}` | its cores: `0` or `0,1`; ours if it may run anywhere |
/// | `{beside}` | the directory of the running program, where its siblings were built |
///
/// `{n}` in URLs is left for the number of the stream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name in tables.
    pub name: String,
    /// A shell command that becomes the server and stays in the foreground. Whatever it starts must
    /// stay in its process group.
    pub start: String,
    /// What to write to `{config}` first.
    pub config: Option<String>,
    /// Ready when this answers: `HOST:PORT`, or `http://HOST/PATH` with a status below 500. The
    /// publish URL's port otherwise.
    pub ready: Option<String>,
    /// Where to publish: `rtmp://HOST/APP/NAME{n}`.
    pub publish: String,
    /// Where to play, by the protocol's name in tables.
    pub play: BTreeMap<String, String>,
    /// Its cores, if not those of all servers.
    pub cores: Option<Vec<usize>>,
    /// A shell command whose first line of output tells what it is.
    pub version: Option<String>,
}

/// A server that runs. Ends when dropped, and everything it was given is removed.
#[derive(Debug)]
pub struct Server {
    /// Its process group.
    pub process: Process,
    /// Where to publish, `{n}` being the number of the stream.
    pub publish: String,
    /// Where to play, by the protocol's name.
    pub play: BTreeMap<String, String>,
    dir: Directory,
}

/// How long it may take to be ready.
const START: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

impl Recipe {
    /// A Corecast: the executable `program`, with `lines` added to its configuration. It plays as
    /// `HLS`, `HTTP-FLV`, `HTTP-TS`, `HTTP-fMP4`, `RTMP`, `WS-FLV`, `WS-TS` and `WS-fMP4`.
    pub fn corecast(program: &Path, lines: &str) -> Self {
        let program = program.display();
        let play = [
            ("HTTP-FLV", "http://127.0.0.1:{http_port}/live/x{n}.flv"),
            ("HLS", "http://127.0.0.1:{http_port}/live/x{n}.m3u8"),
            ("HTTP-TS", "http://127.0.0.1:{http_port}/live/x{n}.ts"),
            ("HTTP-fMP4", "http://127.0.0.1:{http_port}/live/x{n}.mp4"),
            ("RTMP", "rtmp://127.0.0.1:{rtmp_port}/live/x{n}"),
            ("WS-FLV", "ws://127.0.0.1:{http_port}/live/x{n}.flv"),
            ("WS-TS", "ws://127.0.0.1:{http_port}/live/x{n}.ts"),
            ("WS-fMP4", "ws://127.0.0.1:{http_port}/live/x{n}.mp4"),
        ];
        Self {
            name: "corecast".to_owned(),
            start: format!("'{program}' --config {{config}}"),
            config: Some(format!(
                "cores = [{{core_list}}]\n\
                 log.level = \"warn\"\n\
                 rtmp.listen = [\"127.0.0.1:{{rtmp_port}}\"]\n\
                 http.listen = [\"127.0.0.1:{{http_port}}\"]\n\
                 admin.enabled = false\n\
                 drain.delay = 0\n\
                 {lines}\n"
            )),
            ready: Some("127.0.0.1:{http_port}".to_owned()),
            publish: "rtmp://127.0.0.1:{rtmp_port}/live/x{n}".to_owned(),
            play: play.map(|(name, url)| (name.to_owned(), url.to_owned())).into(),
            cores: None,
            version: Some(format!("'{program}' --version")),
        }
    }

    /// Starts it on its own cores, or `cores` if it has none, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start, ends, or is not ready in time; with the last lines of its log.
    pub fn start(&self, cores: &[usize]) -> io::Result<Server> {
        let cores = self.cores.as_deref().unwrap_or(cores);
        let dir = Directory::new()?;
        let mut words = Words::new(dir.path(), cores);
        let config = self.config.as_ref().map(|text| words.fill(text)).transpose()?;
        if let Some(text) = config {
            std::fs::write(dir.path().join(CONFIG), text)?;
        }
        let start = words.fill(&self.start)?;
        let publish = words.fill(&self.publish)?;
        let ready = match &self.ready {
            Some(text) => Ready::parse(&words.fill(text)?)?,
            None => Ready::parse(&host_of(&publish)?)?,
        };
        let play = self.play.iter().map(|(name, url)| Ok((name.clone(), words.fill(url)?)));
        let play = play.collect::<io::Result<_>>()?;
        let log = dir.path().join(LOG);
        // exec: the number is the server's own, not a shell's.
        let command = ["sh".to_owned(), "-c".to_owned(), format!("exec {start}")];
        drop(words);
        let process = Process::start(&command, cores, Some(&log))?;
        let wrap = |why: String| {
            let tail = last_lines(&log, 10).join("\n    ");
            io::Error::other(format!("{}: {why}\n  command: {start}\n    {tail}", self.name))
        };
        let begin = Instant::now();
        while !ready.is_met() {
            if let Some(how) = process.ended()? {
                return Err(wrap(format!("expected it to run, found that it ended: {how}")));
            }
            if begin.elapsed() > START {
                let seconds = START.as_secs();
                return Err(wrap(format!("expected an answer of {ready} within {seconds} s")));
            }
            std::thread::sleep(LOOK);
        }
        Ok(Server { process, publish, play, dir })
    }

    /// What it says it is, if it can be asked.
    pub fn version(&self) -> Option<String> {
        let command = Words::new(Path::new("."), &[]).fill(self.version.as_ref()?).ok()?;
        let output = Command::new("sh").args(["-c", &command]).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }
}

impl Server {
    /// The last lines of what it said.
    pub fn log_tail(&self) -> String {
        last_lines(&self.dir.path().join(LOG), 20).join("\n")
    }

    /// Stops it and waits until nothing of it is left.
    ///
    /// # Errors
    /// Something of it survives.
    pub fn stop(self) -> io::Result<()> {
        self.process.stop()
    }
}

const CONFIG: &str = "config";
const LOG: &str = "log";

/// What the words in braces stand for.
struct Words {
    known: BTreeMap<String, String>,
    /// Held until all are known, so that none is given twice.
    ports: Vec<TcpListener>,
}

impl Words {
    fn new(dir: &Path, cores: &[usize]) -> Self {
        let list = match cores {
            [] => super::own_cores(),
            cores => cores.to_vec(),
        };
        let list = list.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let beside = std::env::current_exe().unwrap_or_default();
        let beside = beside.parent().unwrap_or(Path::new("."));
        let known = [
            ("dir", dir.display().to_string()),
            ("config", dir.join(CONFIG).display().to_string()),
            ("core_list", list),
            ("beside", beside.display().to_string()),
        ];
        let known = known.map(|(name, text)| (name.to_owned(), text)).into();
        Self { known, ports: Vec::new() }
    }

    /// `text` with its words filled in. Other braces stay as they are: configurations are full of
    /// them.
    fn fill(&mut self, text: &str) -> io::Result<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let name = after.split_once('}').map(|(name, _)| name);
            match name.map(|name| self.word(name)).transpose()?.flatten() {
                Some(word) => {
                    filled.push_str(&word);
                    rest = &after[name.map_or(0, str::len) + 1..];
                }
                None => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn word(&mut self, name: &str) -> io::Result<Option<String>> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !self.known.contains_key(name) && name.ends_with("_port") && name.chars().all(is_name) {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port().to_string();
            self.known.insert(name.to_owned(), port);
            self.ports.push(listener);
        }
        Ok(self.known.get(name).cloned())
    }
}

/// How to see that a server is there.
#[derive(Debug)]
enum Ready {
    Port(SocketAddr),
    Page(String),
}

impl Ready {
    fn parse(text: &str) -> io::Result<Self> {
        if text.starts_with("http://") {
            return Ok(Self::Page(text.to_owned()));
        }
        let address = text.to_socket_addrs().ok().and_then(|mut found| found.next());
        address.map(Self::Port).ok_or_else(|| {
            io::Error::other(format!(
                "ready: expected HOST:PORT or http://HOST/PATH, found {text:?}"
            ))
        })
    }

    fn is_met(&self) -> bool {
        match self {
            Self::Port(address) => TcpStream::connect_timeout(address, START).is_ok(),
            Self::Page(url) => {
                let response = minreq::get(url).with_timeout(2).send();
                response.is_ok_and(|response| response.status_code < 500)
            }
        }
    }
}

impl std::fmt::Display for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(address) => write!(f, "{address}"),
            Self::Page(url) => f.write_str(url),
        }
    }
}

/// `HOST:PORT` of an RTMP URL.
fn host_of(publish: &str) -> io::Result<String> {
    let url: corecast::proto::rtmp::Url =
        publish.replace("{n}", "0").parse().map_err(io::Error::other)?;
    Ok(format!("{}:{}", url.host, url.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(start: &str) -> Recipe {
        Recipe {
            name: "test".to_owned(),
            start: start.to_owned(),
            config: Some("port={a_port} {dir} { events {} }".to_owned()),
            ready: Some("127.0.0.1:{a_port}".to_owned()),
            publish: "rtmp://127.0.0.1:{a_port}/live/x{n}".to_owned(),
            play: [("RTMP".to_owned(), "rtmp://127.0.0.1:{b_port}/live/x{n}".to_owned())].into(),
            cores: None,
            version: Some("echo; echo one 1.0; echo two".to_owned()),
        }
    }

    #[test]
    fn words_in_braces_are_filled_in_and_other_braces_stay() {
        let mut words = Words::new(Path::new("/d"), &[0, 1]);
        let port = words.fill("{a_port}").expect("there are ports");
        assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{port}");
        let other = words.fill("{b_port}").expect("there are ports");
        assert_ne!(port, other);
        let text = "a { b {a_port} } {config} {core_list} x{n} {unknown} {\"json\": 1} {";
        let filled = words.fill(text).expect("there are ports");
        let expected =
            format!("a {{ b {port} }} /d/config 0,1 x{{n}} {{unknown}} {{\"json\": 1}} {{");
        assert_eq!(filled, expected);
    }

    #[test]
    fn a_server_that_ends_is_told_with_its_log() {
        let error = recipe("sh -c 'cat {config}; exit 3'").start(&[]).expect_err("it ends");
        let text = error.to_string();
        assert!(text.starts_with("test: expected it to run, found that it ended"), "{text}");
        assert!(text.contains("exit status 3") && text.contains("{ events {} }"), "{text}");
    }

    #[test]
    fn a_directory_goes_with_its_server() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let ready = Some(listener.local_addr().expect("it is bound").to_string());
        let server = Recipe { ready, ..recipe("sleep 1000") }.start(&[]).expect("it runs");
        let dir = server.dir.path().to_owned();
        assert!(dir.join(CONFIG).exists());
        assert!(server.publish.starts_with("rtmp://127.0.0.1:") && server.publish.ends_with("{n}"));
        server.stop().expect("it ends");
        assert!(!dir.exists());
    }

    #[test]
    fn a_version_is_the_first_line_that_says_something() {
        assert_eq!(recipe("").version().as_deref(), Some("one 1.0"));
        let silent = Recipe { version: None, ..recipe("") };
        assert_eq!(silent.version(), None);
    }

    #[test]
    fn a_port_to_wait_for_is_taken_from_where_to_publish() {
        assert_eq!(host_of("rtmp://h/live/x{n}").expect("a URL"), "h:1935");
        assert!(Ready::parse("nonsense").is_err());
    }
}
