//! HAProxy and nginx before our nodes, with the configurations that we ship: only addresses and
//! ports are put in.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use super::child::Child;
use super::machine::{RunDir, eventually, free_port, root, secs};
use super::server::Server;

/// Where balancers of the tests come from: the address that the nodes trust.
pub(crate) const SOURCE: &str = "127.0.0.9";

/// A running balancer before two nodes.
pub(crate) struct Balancer {
    child: Child,
    pub(crate) rtmp: u16,
    pub(crate) http: u16,
    _dir: RunDir,
}

impl Balancer {
    /// `config/haproxy.cfg`.
    pub(crate) fn haproxy(nodes: [&Server; 2]) -> Self {
        let (rtmp, http) = (free_port(), free_port());
        let mut config = Config::read("haproxy.cfg");
        for (address, node) in ADDRESSES.into_iter().zip(nodes) {
            let checked = format!("127.0.0.1:{} port {}", node.rtmp, node.http);
            config.put(&format!("{address}:1935 port 8080"), &checked);
        }
        config.nodes("8080", nodes.map(|node| node.http));
        config.put("bind :8080", &format!("bind 127.0.0.1:{http}"));
        config.put("bind :1935", &format!("bind 127.0.0.1:{rtmp}"));
        config.put("default-server check ", &format!("default-server source {SOURCE} check "));
        // As many as anyone may open.
        config.put("maxconn 50000", "maxconn 1000");
        let mut command = Command::new("/usr/sbin/haproxy");
        Self::start(&mut command, ["-db", "-f"].map(str::to_owned), &config, [rtmp, http])
    }

    /// `config/nginx-stream.conf`.
    pub(crate) fn nginx_stream(nodes: [&Server; 2]) -> Self {
        let (rtmp, http) = (free_port(), free_port());
        let mut config = Config::read("nginx-stream.conf");
        config.nodes("1935", nodes.map(|node| node.rtmp));
        config.nodes("8080", nodes.map(|node| node.http));
        config.put("listen 1935;", &format!("listen 127.0.0.1:{rtmp};"));
        config.put("listen 8080;", &format!("listen 127.0.0.1:{http};"));
        config.put("proxy_protocol on;", &format!("proxy_protocol on; proxy_bind {SOURCE};"));
        Self::nginx(&config, [rtmp, http])
    }

    /// `config/nginx-http.conf`. It serves no RTMP.
    pub(crate) fn nginx_http(nodes: [&Server; 2]) -> Self {
        let http = free_port();
        let mut config = Config::read("nginx-http.conf");
        config.nodes("8080", nodes.map(|node| node.http));
        config.put("listen 8080;", &format!("listen 127.0.0.1:{http};"));
        config.put(
            "proxy_pass http://nodes;",
            &format!("proxy_pass http://nodes; proxy_bind {SOURCE};"),
        );
        // Its own are for one user alone.
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let places = kinds.map(|kind| format!("{kind}_temp_path {kind};")).join(" ");
        config.put("access_log off;", &format!("access_log off; {places}"));
        Self::nginx(&config, [http, http])
    }

    fn nginx(config: &Config, ports: [u16; 2]) -> Self {
        let mut command = Command::new("/usr/sbin/nginx");
        let globals = "daemon off; master_process off; pid nginx.pid;";
        let arguments = ["-e", "stderr", "-g", globals, "-c"].map(str::to_owned);
        Self::start(&mut command, arguments, config, ports)
    }

    fn start<const N: usize>(
        command: &mut Command,
        arguments: [String; N],
        config: &Config,
        [rtmp, http]: [u16; 2],
    ) -> Self {
        let dir = RunDir::new("balancer");
        let path = dir.file("balancer.conf");
        fs::write(&path, &config.0).expect("the run directory is ours");
        if command.get_program() == "/usr/sbin/nginx" {
            command.arg("-p").arg(dir.path());
        }
        let mut child = Child::start(command.args(arguments).arg(&path), &dir.file("balancer.log"));
        let accepts = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        let up =
            eventually(secs(30), || child.ended().is_some() || (accepts(rtmp) && accepts(http)));
        assert!(up && child.ended().is_none(), "it does not start:\n{}", child.log_tail());
        Self { child, rtmp, http, _dir: dir }
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        self.child.log()
    }
}

/// The nodes' addresses in our examples.
const ADDRESSES: [&str; 2] = ["192.0.2.11", "192.0.2.12"];

/// An example configuration on its way to one for a test.
struct Config(String);

impl Config {
    fn read(name: &str) -> Self {
        let path = root().join("config").join(name);
        Self(fs::read_to_string(path).expect("the example is there"))
    }

    fn nodes(&mut self, port: &str, ports: [u16; 2]) {
        for (address, real) in ADDRESSES.into_iter().zip(ports) {
            self.put(&format!("{address}:{port}"), &format!("127.0.0.1:{real}"));
        }
    }

    /// Everywhere but in comments.
    #[track_caller]
    fn put(&mut self, text: &str, instead: &str) {
        let mut found = false;
        let lines = self.0.lines().map(|line| match line.trim_start().starts_with('#') {
            true => line.to_owned(),
            false => {
                found |= line.contains(text);
                line.replace(text, instead)
            }
        });
        let lines: Vec<_> = lines.collect();
        assert!(found, "expected {text:?} in the example");
        self.0 = lines.join("\n") + "\n";
    }
}
