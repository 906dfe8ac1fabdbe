//! nginx-rtmp, as a server that no one here wrote: it takes, pulls and pushes RTMP.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use super::child::Child;
use super::machine::{RunDir, eventually, free_port, secs};

/// A running nginx with the RTMP module, one process.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) port: u16,
    pub(crate) dir: RunDir,
}

impl Nginx {
    /// `chunk_size` bytes on what it sends; `application` is the body of its application `live`.
    pub(crate) fn start(chunk_size: u32, application: &str) -> Self {
        let dir = RunDir::new("nginx");
        let port = free_port();
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\n\
             daemon off; master_process off; pid nginx.pid; error_log stderr info;\n\
             events {{ worker_connections 200; }}\n\
             rtmp {{ access_log off; server {{\n\
               listen 127.0.0.1:{port}; chunk_size {chunk_size};\n\
               application live {{ live on; {application} }}\n\
             }} }}\n"
        );
        let path = dir.file("nginx.conf");
        fs::write(&path, config).expect("the run directory is ours");
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(&path).args(["-e", "stderr"]);
        let child = Child::start(&mut command, &dir.file("nginx.log"));
        let up = eventually(secs(30), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(up, "nginx does not start:\n{}", child.log_tail());
        Self { child, port, dir }
    }

    pub(crate) fn rtmp(&self, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{name}", self.port)
    }

    pub(crate) fn log(&self) -> String {
        self.child.log()
    }

    /// Waits until so many play `name` from it: who comes later has missed the beginning.
    #[track_caller]
    pub(crate) fn wait_for_players(&self, name: &str, count: usize) {
        let line = format!("play: name='{name}' args=");
        let all = eventually(secs(40), || self.log().matches(&line).count() >= count);
        assert!(all, "{count} are to play {name}:\n{}", self.child.log_tail());
    }
}
