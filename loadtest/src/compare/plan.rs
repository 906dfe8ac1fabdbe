use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::publish::Sound;
use crate::server::Recipe;
use crate::stream::{Material, Shape};
use crate::{crowd, units};

/// What is compared, as a TOML file tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How often everything is measured; medians are taken.
    #[serde(default = "three")]
    pub rounds: usize,
    /// The same for all.
    #[serde(default)]
    pub load: Load,
    /// In this order; others are compared with the first.
    #[serde(rename = "server")]
    pub servers: Vec<Recipe>,
}

/// The load that each server gets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Streams, one publisher for each.
    pub streams: usize,
    /// Viewers of all streams together.
    pub viewers: usize,
    /// Bits per second of a made-up stream.
    #[serde(deserialize_with = "bitrate")]
    pub bitrate: u64,
    /// Its pictures per second.
    pub fps: u32,
    /// From one key frame of it to the next.
    #[serde(deserialize_with = "duration")]
    pub gop: Duration,
    /// Bits per second of its sound, or none.
    #[serde(deserialize_with = "sound")]
    pub audio: Sound,
    /// A file to publish instead of a made-up stream.
    pub clip: Option<PathBuf>,
    /// The floor sends to each viewer once per window: take that of the servers.
    #[serde(deserialize_with = "duration")]
    pub window: Duration,
    /// The floor sends to each viewer so often, instead of once per window.
    pub writes_per_second: Option<f64>,
    /// Viewers that join per second.
    #[serde(deserialize_with = "rate")]
    pub ramp: f64,
    /// Wait after the last has joined.
    #[serde(deserialize_with = "duration")]
    pub settle: Duration,
    /// How long each measurement takes.
    #[serde(deserialize_with = "duration")]
    pub duration: Duration,
    /// The share of the viewers that look at every byte.
    #[serde(deserialize_with = "share")]
    pub inspect: f64,
    /// The cores of each server in turn, and of the floor. None: any.
    pub server_cores: Vec<usize>,
    /// The cores of publishers and viewers. None: any.
    pub load_cores: Vec<usize>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            streams: 1,
            viewers: 1000,
            bitrate: 2_000_000,
            fps: 25,
            gop: Duration::from_secs(2),
            audio: Sound(Some(48_000)),
            clip: None,
            window: Duration::from_millis(350),
            writes_per_second: None,
            ramp: 500.0,
            settle: Duration::from_secs(4),
            duration: Duration::from_secs(15),
            inspect: 0.01,
            server_cores: vec![0],
            load_cores: vec![1],
        }
    }
}

impl Plan {
    /// Reads `path`. A clip in it is looked for beside it.
    ///
    /// # Errors
    /// It cannot be read, or says something unknown, with its place.
    pub fn read(path: &Path) -> io::Result<Self> {
        let wrap = |why: String| io::Error::other(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrap(error.to_string()))?;
        let mut plan = Self::parse(&text).map_err(wrap)?;
        let beside = path.parent().unwrap_or(Path::new("."));
        plan.load.clip = plan.load.clip.map(|clip| beside.join(clip));
        Ok(plan)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let plan: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if plan.rounds == 0 || plan.load.viewers == 0 || plan.load.streams == 0 {
            return Err("expected at least one round, one viewer and one stream".to_owned());
        }
        let Load { writes_per_second, window, .. } = plan.load;
        if writes_per_second.is_some_and(|writes| !units::is_frequency(writes)) {
            return Err("expected writes_per_second from 0.001 to 1000000".to_owned());
        }
        if !units::is_frequency(window.as_secs_f64().recip()) {
            return Err("expected a window above 0, of at most 1000s".to_owned());
        }
        for (at, server) in plan.servers.iter().enumerate() {
            if server.play.is_empty() {
                return Err(format!("{}: expected at least one URL under play", server.name));
            }
            if plan.load.streams > 1 && !server.publish.contains("{n}") {
                return Err(format!("{}: expected {{n}} in the URLs of streams", server.name));
            }
            if plan.servers[..at].iter().any(|other| other.name == server.name) {
                return Err(format!(
                    "expected servers of different names, found two {}",
                    server.name
                ));
            }
        }
        match plan.servers.is_empty() {
            true => Err("expected at least one [[server]]".to_owned()),
            false => Ok(plan),
        }
    }
}

impl Load {
    /// What to publish.
    ///
    /// # Errors
    /// The clip cannot be sent, or so few bits cannot hold so many frames.
    pub fn material(&self) -> io::Result<Material> {
        let &Self { bitrate, fps, gop, audio: Sound(sound), .. } = self;
        match &self.clip {
            Some(path) => Material::clip(path),
            None => Material::made_up(Shape { bitrate, fps, gop, sound, seed: 1 }),
        }
    }
}

fn three() -> usize {
    3
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    text(from, units::duration)
}

fn bitrate<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    text(from, units::bitrate)
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    text(from, units::rate)
}

fn share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    text(from, crowd::share_of)
}

fn sound<'de, D: Deserializer<'de>>(from: D) -> Result<Sound, D::Error> {
    text(from, str::parse)
}

/// A number with its unit, as on the command line.
fn text<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    parse(&String::deserialize(from)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "[[server]]\nname = 'a'\nstart = 'a'\npublish = 'rtmp://h/live/x{n}'\n\
                          play.RTMP = 'rtmp://h/live/x{n}'\n";

    #[test]
    fn what_is_not_said_has_a_default_and_numbers_have_units() {
        let plan = Plan::parse(SERVER).expect("enough");
        assert_eq!((plan.rounds, plan.load), (3, Load::default()));
        let text = format!("[load]\nbitrate = '500k'\naudio = 'none'\nwindow = '100ms'\n{SERVER}");
        let load = Plan::parse(&text).expect("units").load;
        let expected = Load {
            bitrate: 500_000,
            audio: Sound(None),
            window: Duration::from_millis(100),
            ..Load::default()
        };
        assert_eq!(load, expected);
    }

    #[test]
    fn the_plan_that_comes_with_us_can_be_read_and_so_can_what_is_commented_out() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/compare.toml");
        let names =
            |plan: &Plan| plan.servers.iter().map(|server| server.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&Plan::read(&path).expect("it is right")), ["corecast", "nginx-rtmp"]);
        let text = std::fs::read_to_string(path).expect("just read");
        let (before, rest) = text.split_once("# [[server]]").expect("there are some");
        let rest = rest.replace("\n# ", "\n").replace("\n#\n", "\n\n");
        let plan = Plan::parse(&format!("{before}[[server]]{rest}")).expect("it is right");
        assert_eq!(names(&plan)[2..], ["SRS", "ZLMediaKit", "lal"]);
        let load = Load { server_cores: vec![0], load_cores: vec![1], ..Load::default() };
        assert_eq!(plan.load, load, "the file says what is taken without it");
    }

    #[test]
    fn the_file_in_the_help_can_be_read() {
        let (_, file) = super::super::EXAMPLE.split_once("--help`):\n").expect("the example");
        let lines = file.lines().take_while(|line| line.starts_with(' ')).map(str::trim);
        let plan = Plan::parse(&lines.collect::<Vec<_>>().join("\n")).expect("it is right");
        assert_eq!((plan.servers[0].name.as_str(), plan.servers[0].play.len()), ("one", 2));
        let config = plan.servers[0].config.as_deref().unwrap_or_default();
        assert_eq!(config.lines().count(), 2, "{config}");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let errors = [
            ("", "server"),
            ("server = []", "at least one [[server]]"),
            ("[load]\nviewers = 0\n", "at least one round"),
            ("[load]\nviewer = 1\n", "unknown field `viewer`"),
            ("[load]\nsettle = '4'\n", "expected a duration"),
            ("[load]\nstreams = 2\n", "{n}"),
            ("[load]\nwrites_per_second = 0.0\n", "expected writes_per_second"),
            ("[load]\nwrites_per_second = -1\n", "expected writes_per_second"),
            ("[load]\nwindow = '0'\n", "expected a window"),
            (SERVER, "found two a"),
        ];
        for (before, expected) in errors {
            let server = match expected {
                "server" | "at least one [[server]]" => "",
                "{n}" => &SERVER.replace("x{n}", "x"),
                _ => SERVER,
            };
            let error = Plan::parse(&format!("{before}\n{server}")).expect_err(expected);
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
