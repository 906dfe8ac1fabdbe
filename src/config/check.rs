mod access;
mod hls;
mod record;
mod ts_udp;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::app::{App, NO_APP_REC, REPLAY_APP};
use super::hooks::Hook;
use super::proxy::Proxy;
use super::schema::KeyPath;
use super::tree::{Admin, Config, Cores, Drain, Http, Limits, Log, Tcp};
use super::units::{duration, size};

/// Tells `complain` what is wrong with values that are well formed each: ranges, and values that
/// must agree. It is given the key, then the key that it disagrees with.
pub(super) fn check(config: &Config, mut complain: impl FnMut(&[KeyPath], String)) {
    let mut at = Section { path: vec![], complain: &mut complain };
    cores(&config.cores, &mut at);
    listeners(config, &mut at);
    let range = 128..=16_777_215;
    at.section("rtmp").require(range.contains(&config.rtmp.chunk_size), "chunk_size", || {
        format!("expected 128 to 16777215, found {}", config.rtmp.chunk_size)
    });
    http(&config.http, &mut at.section("http"));
    ts_udp::check(config, &mut at);
    proxy(&config.proxy, &mut at.section("proxy"));
    admin(&config.admin, &mut at.section("admin"));
    at.section("tls").time("watch", config.tls.watch, SECOND, DAY);
    hooks(config, &mut at);
    log(&config.log, &mut at.section("log"));
    drain(&config.drain, &mut at.section("drain"));
    tcp(&config.tcp, &mut at.section("tcp"));
    limits(&config.limits, &mut at.section("limits"));
    app(&config.app_defaults, &mut at.section("app_defaults"));
    for (name, settings) in &config.app {
        at.section("app").require(name != REPLAY_APP, name, || NO_APP_REC.to_owned());
        app(settings, &mut at.section("app").section(name));
    }
    record::check_places(config, &mut at);
}

fn cores(cores: &Cores, at: &mut Section<'_>) {
    let distinct = |list: &[usize]| list.iter().collect::<HashSet<_>>().len() == list.len();
    let found = match cores {
        Cores::Count(0) => "0",
        Cores::List(list) if list.is_empty() => "an empty list",
        Cores::List(list) if !distinct(list) => "a core twice",
        _ => return,
    };
    at.require(false, "cores", || {
        format!("expected \"all\", a count from 1 on, or a list of different cores, found {found}")
    });
}

fn listeners(config: &Config, at: &mut Section<'_>) {
    let mut seen: Vec<(SocketAddr, (&str, &str))> = Vec::new();
    let sections = [
        ("rtmp", "listen", config.rtmp.enabled, &config.rtmp.listen),
        ("rtmp", "tls_listen", config.rtmp.enabled, &config.rtmp.tls_listen),
        ("http", "listen", config.http.enabled, &config.http.listen),
        ("http", "tls_listen", config.http.enabled, &config.http.tls_listen),
        ("admin", "listen", config.admin.enabled, &config.admin.listen),
        ("admin", "tls_listen", config.admin.enabled, &config.admin.tls_listen),
        ("admin", "metrics_listen", true, &config.admin.metrics_listen),
    ];
    for (name, key, enabled, listen) in sections {
        if !enabled {
            continue;
        }
        let mut at = at.section(name);
        if key == "tls_listen" {
            at.agree(listen.is_empty() || !config.tls.certificates.is_empty(), &[key], || {
                "expected a certificate in tls.certificates, found none".to_owned()
            });
        } else if key == "listen" {
            let elsewhere = sections.iter().any(|(section, key, _, listen)| {
                *section == name && *key == "tls_listen" && !listen.is_empty()
            });
            at.require(elsewhere || !listen.is_empty(), key, || {
                format!(
                    "expected at least one address; to switch it off, set {name}.enabled = false"
                )
            });
        }
        for address in listen {
            let clash = seen.iter().find(|(other, section)| match *section == (name, key) {
                true => address == other && address.port() != 0,
                false => overlap(*address, *other),
            });
            if let Some((other, (section, other_key))) = clash {
                at.require(false, key, || {
                    format!("{address} meets {other} of {section}.{other_key}; choose another port")
                });
            }
            seen.push((*address, (name, key)));
        }
    }
}

/// Whether a connection could be meant for either.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let ips = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    ips && one.port() == other.port() && one.port() != 0
}

fn http(http: &Http, at: &mut Section<'_>) {
    at.bytes("head_bytes", http.head_bytes, 512, 1 << 20);
    at.time("head_timeout", http.head_timeout, MOMENT, DAY);
    at.time("keep_alive", http.keep_alive, MOMENT, DAY);
}

fn proxy(proxy: &Proxy, at: &mut Section<'_>) {
    at.time("header_timeout", proxy.header_timeout, MOMENT, DAY);
    let everyone = proxy.trusted.iter().find(|network| network.prefix_len() == 0);
    at.require(everyone.is_none(), "trusted", || {
        "expected the networks of your proxies, found every address there is: then any client could \
         say that it is another"
            .to_owned()
    });
}

fn admin(admin: &Admin, at: &mut Section<'_>) {
    let two = !admin.token.is_empty() && !admin.token_file.is_empty();
    at.require(!two, "token_file", || "expected token or token_file, found both".to_owned());
    let guarded = !admin.token.is_empty() || !admin.token_file.is_empty();
    for (key, listen) in [("listen", &admin.listen), ("tls_listen", &admin.tls_listen)] {
        let open = listen.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = open.filter(|_| admin.enabled && !guarded) {
            at.agree(false, &[key, "token"], || {
                format!(
                    "{address} can be reached from other hosts, and anyone there could end streams: \
                     set admin.token (or admin.token_file), or listen on 127.0.0.1"
                )
            });
        }
    }
    at.count("metrics_streams_max", admin.metrics_streams_max, 0, 1 << 20);
    let odd = admin.allow_origin.iter().find(|origin| !is_origin(origin));
    at.require(odd.is_none(), "allow_origin", || {
        let odd = odd.map_or("", String::as_str);
        format!("expected origins as browsers send them, \"https://HOST[:PORT]\", found {odd:?}")
    });
    let odd = admin.media_origins.iter().find(|origin| !is_source(origin));
    at.require(odd.is_none(), "media_origins", || {
        let odd = odd.map_or("", String::as_str);
        format!(
            "expected \"https://HOST[:PORT]\" or \"http://HOST[:PORT]\", HOST a name or an IPv4 \
             address in small letters, found {odd:?}"
        )
    });
}

/// An origin as a policy of content (CSP) can name it: it knows no IPv6 addresses.
fn is_source(text: &str) -> bool {
    let named = text.split_once("://").map_or("", |(_, host)| host);
    let (host, port) = named.split_once(':').unwrap_or((named, "443"));
    let known = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let numbered = port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_origin(text) && !host.is_empty() && host.chars().all(known) && numbered
}

/// Browsers send a scheme, a host and perhaps a port, in small letters and without a slash behind.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let odd = |c: char| !c.is_ascii_graphic() || c.is_ascii_uppercase() || "/?#@*".contains(c);
    host.is_some_and(|host| !host.is_empty() && !host.contains(odd))
}

fn hooks(config: &Config, at: &mut Section<'_>) {
    let hooks = &config.hooks;
    let (timeout, verdict) = (hooks.timeout, config.limits.verdict_timeout);
    let asked = [Hook::Connect, Hook::Publish, Hook::Play].iter().any(|hook| hooks.has(*hook));
    if asked && timeout >= verdict {
        let keys = [["hooks", "timeout"], ["limits", "verdict_timeout"]];
        let [timeout, verdict] = [timeout, verdict].map(duration::show);
        (at.complain)(
            &keys.map(|key| key.map(str::to_owned).to_vec()),
            format!("expected less than limits.verdict_timeout ({verdict}), found {timeout}"),
        );
    }
    let mut at = at.section("hooks");
    for hook in Hook::ALL {
        if let Some(Err(wrong)) = hooks.url(hook).map(url) {
            at.require(false, hook.key(), || wrong);
        }
    }
    at.time("timeout", hooks.timeout, MOMENT, DAY);
    at.time("retry_for", hooks.retry_for, Duration::ZERO, DAY);
    at.count("queue", hooks.queue, 1, 1 << 20);
    at.time("stats_interval", hooks.stats_interval, SECOND, DAY);
}

/// What is wrong with the URL of a hook. It is not shown: it may hold a token.
fn url(url: &str) -> Result<(), String> {
    const EXPECTED: &str = "expected http://HOST[:PORT]/PATH, or https://";
    let parsed: hyper::Uri = url.parse().map_err(|error| format!("{EXPECTED}: {error}"))?;
    let authority = parsed.authority().filter(|authority| !authority.host().is_empty());
    match (parsed.scheme_str(), authority) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => Err(
            "expected no user and password: set hooks.secret, by which requests are signed, or \
                 put a token into the query"
                .to_owned(),
        ),
        (Some("http" | "https"), Some(_)) => Ok(()),
        _ => Err(EXPECTED.to_owned()),
    }
}

/// A directive without `=` that is no level would be taken for the name of a module, and silence
/// everything else.
fn stray_directive(level: &str) -> Option<&str> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let ours = |word: &str| word == "corecast" || word.starts_with("corecast::");
    let mut words = level.split(',').map(str::trim);
    words.find(|word| !word.contains(['=', '[']) && !is_level(word) && !ours(word))
}

/// Whether `level` can be a `log.level`.
///
/// # Errors
/// What was expected.
pub fn check_log_level(level: &str) -> Result<(), String> {
    let expected = "expected a level (error, warn, info, debug, trace, off) or directives such as \
                    \"info,corecast::proto=trace\", found";
    if let Some(word) = stray_directive(level) {
        return Err(format!("{expected} {word:?}"));
    }
    match EnvFilter::builder().parse(level) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{expected} {level:?}: {error}")),
    }
}

fn log(log: &Log, at: &mut Section<'_>) {
    if let Err(expected) = check_log_level(&log.level) {
        at.require(false, "level", || expected);
    }
    if log.rotate_bytes > 0 {
        at.bytes("rotate_bytes", log.rotate_bytes, 64 << 10, 1 << 40);
    }
    at.count("keep", log.keep, 0, 1000);
    at.count("queue_lines", log.queue_lines, 1, 1 << 24);
    if !log.stats_interval.is_zero() {
        at.time("stats_interval", log.stats_interval, SECOND, DAY);
    }
}

fn drain(drain: &Drain, at: &mut Section<'_>) {
    at.count("rate", drain.rate as usize, 1, 1 << 24);
    at.time("timeout", drain.timeout, SECOND, DAY);
    at.agree(drain.delay < drain.timeout, &["delay", "timeout"], || {
        let (found, most) = (duration::show(drain.delay), duration::show(drain.timeout));
        format!("expected less than timeout ({most}), found {found}")
    });
}

fn tcp(tcp: &Tcp, at: &mut Section<'_>) {
    // The kernel takes whole seconds, at most 32767.
    at.time("keepalive", tcp.keepalive, SECOND, Duration::from_secs(9 * 3600));
    at.time("user_timeout", tcp.user_timeout, SECOND, DAY);
    at.count("backlog", tcp.backlog as usize, 1, 1 << 20);
    at.count("accept_per_turn", tcp.accept_per_turn, 1, 1 << 20);
}

fn limits(limits: &Limits, at: &mut Section<'_>) {
    let rate = limits.connects_per_second_per_address as usize;
    at.count("connects_per_second_per_address", rate, 0, 1 << 20);
    at.count("replays", limits.replays, 1, 1 << 20);
    at.count("reserved_fds", limits.reserved_fds, 16, 1 << 20);
    // A message's length has 24 bits.
    at.bytes("message_bytes", limits.message_bytes, 64 << 10, 16 << 20);
    at.agree(
        limits.reassembly_bytes >= limits.message_bytes,
        &["reassembly_bytes", "message_bytes"],
        || {
            let (found, least) = (limits.reassembly_bytes, limits.message_bytes);
            format!(
                "expected at least message_bytes ({}), found {}",
                size::show(least),
                size::show(found)
            )
        },
    );
    let before = "reassembly_bytes_before_publish";
    at.bytes(before, limits.reassembly_bytes_before_publish, 4 << 10, 16 << 20);
    at.bytes("held_input_bytes", limits.held_input_bytes, 4 << 10, 16 << 20);
    // The protocol numbers them 2 to 65599; players and encoders use a handful.
    at.count("chunk_streams", limits.chunk_streams, 8, 65_600);
    // Values are read by recursion.
    at.count("amf_depth", limits.amf_depth, 4, 64);
    at.count("amf_values", limits.amf_values, 64, 1 << 20);
    at.count("mesh_queue", limits.mesh_queue, 16, 1 << 20);
    at.time("handshake_timeout", limits.handshake_timeout, MOMENT, DAY);
    at.time("request_timeout", limits.request_timeout, MOMENT, DAY);
    at.time("first_frame_timeout", limits.first_frame_timeout, MOMENT, DAY);
    at.time("publisher_silence", limits.publisher_silence, MOMENT, DAY);
    at.time("reply_timeout", limits.reply_timeout, MOMENT, DAY);
    at.time("verdict_timeout", limits.verdict_timeout, MOMENT, DAY);
}

fn app(app: &App, at: &mut Section<'_>) {
    at.time("merge_window_max", app.merge_window_max, Duration::ZERO, Duration::from_secs(10));
    at.agree(
        app.merge_window <= app.merge_window_max,
        &["merge_window", "merge_window_max"],
        || {
            format!(
                "expected at most merge_window_max ({}), found {}",
                duration::show(app.merge_window_max),
                duration::show(app.merge_window)
            )
        },
    );
    at.time("max_lag", app.max_lag, SECOND, DAY);
    at.agree(app.merge_window_max < app.max_lag, &["max_lag", "merge_window_max"], || {
        format!(
            "expected more than merge_window_max ({}), found {}",
            duration::show(app.merge_window_max),
            duration::show(app.max_lag)
        )
    });
    at.time("gop_cache_max", app.gop_cache_max, Duration::ZERO, Duration::from_secs(3600));
    at.bytes("block_bytes", app.block_bytes, 16 << 10, 64 << 20);
    at.agree(app.log_max_bytes >= app.block_bytes, &["log_max_bytes", "block_bytes"], || {
        format!(
            "expected at least block_bytes ({}), found {}",
            size::show(app.block_bytes),
            size::show(app.log_max_bytes)
        )
    });
    at.time("stall_timeout", app.stall_timeout, SECOND, DAY);
    at.time("video_stall", app.video_stall, MOMENT, DAY);
    at.time("jump_back", app.jump_back, MOMENT, DAY);
    at.time("jump_forward", app.jump_forward, MOMENT, DAY);
    access::check(app, at);
    hls::check(app, at);
    record::check(app, at);
}

const MOMENT: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = duration::MAX;

struct Section<'a> {
    path: KeyPath,
    complain: &'a mut dyn FnMut(&[KeyPath], String),
}

impl Section<'_> {
    fn section(&mut self, name: &str) -> Section<'_> {
        let path = [&self.path[..], &[name.to_owned()]].concat();
        Section { path, complain: self.complain }
    }

    fn require(&mut self, holds: bool, key: &str, message: impl FnOnce() -> String) {
        self.agree(holds, &[key], message);
    }

    fn agree(&mut self, holds: bool, keys: &[&str], message: impl FnOnce() -> String) {
        if !holds {
            let path = |key: &&str| [&self.path[..], &[(*key).to_owned()]].concat();
            let paths: Vec<KeyPath> = keys.iter().map(path).collect();
            (self.complain)(&paths, message());
        }
    }

    fn count(&mut self, key: &str, found: usize, least: usize, most: usize) {
        let holds = (least..=most).contains(&found);
        self.require(holds, key, || format!("expected {least} to {most}, found {found}"));
    }

    fn bytes(&mut self, key: &str, found: usize, least: usize, most: usize) {
        let [least_text, most_text, text] = [least, most, found].map(size::show);
        self.require((least..=most).contains(&found), key, || match most {
            usize::MAX => format!("expected at least {least_text}, found {text}"),
            _ => format!("expected {least_text} to {most_text}, found {text}"),
        });
    }

    fn time(&mut self, key: &str, found: Duration, least: Duration, most: Duration) {
        let [least_text, most_text, text] = [least, most, found].map(duration::show);
        self.require((least..=most).contains(&found), key, || match most {
            Duration::MAX => format!("expected at least {least_text}, found {text}"),
            _ => format!("expected {least_text} to {most_text}, found {text}"),
        });
    }
}
