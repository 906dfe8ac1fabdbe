//! "Run it in production" of README.md, done as it stands there, and the unit that goes with it.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/secure.rs"]
mod secure;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use node::{connect, eventually, free_port};
use rustix::process::{Pid, Signal, kill_process};
use secure::Certificate;
use web::Web;

const README: &str = include_str!("../README.md");
const UNIT: &str = include_str!("../config/corecast.service");
/// Where the unit has the program.
const PROGRAM: &str = "/usr/local/bin/corecast";

/// What is typed: for the host, for the files, and for the start.
fn blocks() -> [&'static str; 3] {
    let section = README.split("\n## ").find(|text| text.starts_with("Run it in production"));
    let blocks = section.expect("a section").split("```sh\n").skip(1);
    let blocks = blocks.map(|text| text.split("```").next().expect("an end"));
    blocks.collect::<Vec<_>>().try_into().expect("three blocks")
}

/// What the unit says of `key`.
fn unit(key: &str) -> &'static str {
    let value = |line: &'static str| line.strip_prefix(key)?.strip_prefix('=');
    UNIT.lines().find_map(value).unwrap_or_else(|| panic!("the unit says nothing of {key}"))
}

/// The configuration that the unit starts the program with.
fn unit_config() -> &'static str {
    let started = unit("ExecStart").strip_prefix(&format!("{PROGRAM} run --config "));
    started.expect("the program is run with a configuration")
}

/// A host with the directories that the first block and the unit make, and free ports.
struct Host {
    dir: PathBuf,
    certificate: Certificate,
    ports: Ports,
    child: Option<Child>,
}

struct Ports {
    rtmp: u16,
    http: u16,
    https: u16,
    admin: u16,
    admin_tls: u16,
    hooks: u16,
}

impl Host {
    fn new() -> Self {
        let name = format!("production-{}", std::process::id());
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let [etc, log] = ["etc", "log"].map(|name| dir.join(name));
        fs::create_dir_all(&etc).and_then(|()| fs::create_dir_all(log)).expect("scratch");
        let certificate = Certificate::new(0, &["edge.example"]);
        fs::copy(certificate.cert(), etc.join("cert.pem")).expect("room for it");
        fs::copy(certificate.key(), etc.join("key.pem")).expect("room for it");
        let [rtmp, http, https, admin, admin_tls, hooks] = [(); 6].map(|()| free_port());
        let ports = Ports { rtmp, http, https, admin, admin_tls, hooks };
        Self { dir, certificate, ports, child: None }
    }

    /// `text` with the paths and ports of this host.
    fn here(&self, text: &str) -> String {
        let Ports { https, admin_tls, hooks, .. } = self.ports;
        let dir = self.dir.to_str().expect("our names are text");
        // The directory last: there may be any number in its name.
        [
            (":8443\"", format!(":{https}\"")),
            (":8444\"", format!(":{admin_tls}\"")),
            (":3000/", format!(":{hooks}/")),
            ("/etc/corecast", format!("{dir}/etc")),
            ("/var/log/corecast", format!("{dir}/log")),
        ]
        .iter()
        .fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    /// The program, where it listens by default on the ports of this host.
    fn corecast(&self, arguments: &str) -> Command {
        let Ports { rtmp, http, admin, .. } = self.ports;
        let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
        command
            .args(self.here(arguments).split(' '))
            .env("CORECAST_CORES", "1")
            .env("CORECAST_RTMP__LISTEN", format!("[::]:{rtmp}"))
            .env("CORECAST_HTTP__LISTEN", format!("[::]:{http}"))
            .env("CORECAST_ADMIN__LISTEN", format!("127.0.0.1:{admin}"));
        command
    }

    #[track_caller]
    fn start(&mut self) {
        let said = File::create(self.dir.join("said")).expect("room for it");
        let arguments = unit("ExecStart").strip_prefix(PROGRAM).expect("it is the program").trim();
        let mut command = self.corecast(arguments);
        let child = command.stdin(Stdio::null()).stderr(said).spawn().expect("it was built");
        self.child = Some(child);
        let admin = self.ports.admin;
        eventually("its API listens", || {
            let child = self.child.as_mut().expect("just started");
            let said = fs::read_to_string(self.dir.join("said")).expect("it is there");
            assert!(child.try_wait().expect("our child").is_none(), "it ended: {said}");
            TcpStream::connect(("127.0.0.1", admin)).is_ok()
        });
        // It answers when everything else listens and has its certificates. A core that others keep off
        // its CPU for a second makes the node unwell.
        eventually("it is ready", || web::get(admin, "/readyz").status == 200);
    }

    /// The status of a GET by https.
    #[track_caller]
    fn get(&self, port: u16, path: &str, header: &str) -> u16 {
        let socket = self.certificate.connect(&connect(port), "edge.example");
        let mut web = Web::on(socket);
        web.send(&format!("GET {path} HTTP/1.1\r\nHost: edge.example\r\n{header}\r\n"));
        web.answer().status
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

#[track_caller]
fn expect_done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_files_of_the_readme_run_a_node_as_they_stand() {
    let mut host = Host::new();
    let [_, files, start] = blocks();
    let typed = Command::new("sh").args(["-e", "-c", &host.here(files)]).output();
    expect_done(&typed.expect("a shell"));
    let config = host.here(unit_config());
    for file in [&config, &host.here("/etc/corecast/token")] {
        let mode = fs::metadata(file).expect("it was made").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{file}: for root, and to read for the group");
    }

    let check = start.lines().next().and_then(|line| line.split_once(" -- corecast "));
    let (_, check) = check.expect("the program is asked first");
    let printed = expect_done(&host.corecast(check).output().expect("it was built"));
    let text = fs::read_to_string(&config).expect("it was made");
    let secret = text.split("sign_secret = \"").nth(1).and_then(|rest| rest.split('"').next());
    let secret = secret.expect("there is one");
    assert!(secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()), "{secret}");
    assert!(printed.contains("sign_secret = \"(hidden)\"") && !printed.contains(secret));

    host.start();
    let log = || fs::read_to_string(host.here("/var/log/corecast/corecast.log"));
    eventually("its log is there", || log().is_ok_and(|log| log.contains("listening")));
    let log = log().expect("it was there");
    // That the machine let a thread wait says nothing of the files.
    let waited = ["slept past its deadline", "slept through its start"];
    let complaints = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
    let about_us = complaints.filter(|line| !waited.iter().any(|text| line.contains(text)));
    assert_eq!(about_us.collect::<Vec<_>>(), [""; 0], "{log}");
    let Ports { https, admin_tls, .. } = host.ports;
    eventually("it is ready", || host.get(https, "/readyz", "") == 200);
    assert_eq!(host.get(https, "/live/x.flv", ""), 403, "it takes a signature");
    let token = fs::read_to_string(host.here("/etc/corecast/token")).expect("it was made");
    let token = format!("Authorization: Bearer {}\r\n", token.trim());
    assert_eq!(host.get(admin_tls, "/api/v1/info", ""), 401);
    assert_eq!(host.get(admin_tls, "/api/v1/info", &token), 200);

    let child = host.child.as_mut().expect("it was started");
    kill_process(Pid::from_child(child), Signal::TERM).expect("it runs");
    let mut end = None;
    eventually("it ends", || {
        end = child.try_wait().expect("our child");
        end.is_some()
    });
    assert_eq!(end.and_then(|end| end.code()), Some(0));
}

#[test]
fn the_readme_and_the_unit_mean_the_same_user_and_files() {
    let [host, files, start] = blocks();
    assert!(files.contains(&format!("> {} <<", unit_config())));
    assert!(start.contains(&format!("corecast check --config {}", unit_config())));
    let logs = format!("log.file = \"/var/log/{}/", unit("LogsDirectory"));
    assert!(files.contains(&logs), "{logs}");
    let (user, group) = (unit("User"), unit("Group"));
    let made = |line: &str| line.starts_with("useradd ") && line.ends_with(&format!(" {user}"));
    assert!(host.lines().any(made), "{user}");
    assert!(host.contains(&format!("-g {group} /etc/corecast")), "{group}");
    assert!(start.contains(&format!("runuser -u {user} -- ")), "{user}");
    // Nothing is named that the service could not read or write.
    for path in files.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/')) {
        let ours = ["/etc/corecast/", "/var/log/corecast/"].iter().any(|dir| path.starts_with(dir));
        assert!(ours, "{path}");
    }
    // What the unit's own head says is what the README says.
    for line in host.lines().filter(|line| !line.starts_with("install -m")) {
        let line = line.split("    #").next().expect("a first part");
        assert!(UNIT.contains(&format!("#   {line}\n")), "{line}");
    }
}
