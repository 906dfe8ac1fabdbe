//! Holds `src/` to its layout: the order of the rooms, machines free of I/O, one address for
//! `unsafe`, and the habits a reviewer should not have to look for.
//!
//! The checker reads text, not syntax trees: comments and literals are blanked first, then words
//! and paths are looked for. The last module feeds it bad snippets, so that it is known to bite.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms and their order. A room may name itself and rooms of a lower number.
const ROOMS: [(&str, u32); 14] = [
    ("bytes", 0),
    ("time", 0),
    ("config", 0),
    ("media", 10),
    ("codec", 20),
    ("container", 30),
    ("rtp", 30),
    ("proto", 40),
    ("plane", 50),
    ("net", 60),
    ("shard", 61),
    ("serve", 70),
    ("control", 80),
    ("app", 90),
];

/// Test support: may be named by tests of any room, and may name any room.
const TESTKIT: &str = "testkit";

/// Rooms below this number are machines and values: no I/O, clock, await, thread or lock.
const FIRST_ROOM_WITH_IO: u32 = 60;

/// What machines may not say, and why.
const IMPURE: [(&str, &str); 26] = [
    ("tokio", "async runtime"),
    ("glommio", "async runtime"),
    ("futures_lite", "async runtime"),
    ("socket2", "sockets"),
    ("rustix", "system calls"),
    ("TcpStream", "sockets"),
    ("TcpListener", "sockets"),
    ("UdpSocket", "sockets"),
    ("UnixStream", "sockets"),
    ("ToSocketAddrs", "name resolution"),
    ("Instant::now", "clock (time is an argument)"),
    ("SystemTime", "clock (time is an argument)"),
    (".await", "await"),
    ("async", "await"),
    ("thread::spawn", "threads"),
    ("thread::scope", "threads"),
    ("thread::Builder", "threads"),
    ("thread::sleep", "threads"),
    ("thread::park", "threads"),
    ("thread_local", "global"),
    ("static mut", "global"),
    ("Mutex", "lock"),
    ("RwLock", "lock"),
    ("crossbeam", "channels between threads"),
    ("std::process", "processes"),
    ("println", "output"),
];

/// The part of `std::net` that is values only.
const ADDRESSES: [&str; 6] =
    ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 10] = [
    "util", "utils", "common", "manager", "base", "define", "defines", "helper", "helpers", "misc",
];

const LINES_MAX: usize = 900;

#[test]
fn src_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    assert!(files.len() > 20, "expected the sources, found {} files", files.len());
    let found = check(&files);
    assert!(found.is_empty(), "{} things to tidy:\n{}", found.len(), found.join("\n"));
}

/// One source file: its path below `src/` with forward slashes, and its text.
struct Source {
    path: String,
    text: String,
}

/// Who adds a file of tests and forgets the list in the Makefile would never hear of a failure.
#[test]
fn every_file_of_tests_is_run_by_the_makefile() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let makefile = fs::read_to_string(root.join("Makefile")).expect("it is there");
    let named: Vec<&str> = makefile.split_whitespace().collect();
    let runs = |name: &str| named.windows(2).any(|pair| pair == ["--test", name]);
    for dir in ["tests", "loadtest/tests"] {
        for entry in fs::read_dir(root.join(dir)).expect("it is there") {
            let path = entry.expect("it can be read").path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            let is_test = path.extension().is_some_and(|extension| extension == "rs");
            assert!(!is_test || runs(name), "the Makefile does not run {dir}/{name}.rs");
        }
    }
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).expect("src/ is readable").map(|e| e.expect("entry").path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            collect(root, &entry, files);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            let path = entry.strip_prefix(root).expect("below the root");
            files.push(Source {
                path: path.to_str().expect("our names are text").to_owned(),
                text: fs::read_to_string(&entry).expect("sources are UTF-8"),
            });
        }
    }
}

/// Everything wrong with `files`, one line each: `path:line: what, and what was expected`.
fn check(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let mut unsafe_file: Option<&str> = None;
    let tests = test_files(files);
    for source in files {
        let mut file = File::new(source);
        if tests.iter().any(|test| source.path.starts_with(test)) {
            file.shipped = " ".repeat(file.code.len());
        }
        file.names(&mut found);
        file.text(&mut found);
        file.room_order(&mut found);
        file.purity(&mut found);
        file.unsafety(&mut unsafe_file, &mut found);
    }
    found
}

/// How the paths of files begin that are modules under `#[cfg(test)]`.
fn test_files(files: &[Source]) -> Vec<String> {
    let mut paths = Vec::new();
    for source in files {
        let code = blank(&source.text);
        let dir = match source.path.strip_suffix("mod.rs").or(source.path.strip_suffix("lib.rs")) {
            Some(dir) => dir.to_owned(),
            None => format!("{}/", source.path.strip_suffix(".rs").unwrap_or(&source.path)),
        };
        for (at, mark) in code.match_indices("#[cfg(test)]") {
            let item = code[at + mark.len()..].split(['{', ';']).next().unwrap_or_default();
            if let Some(at) = words(item, "mod").first() {
                let name = identifier(item[at + 3..].trim_start());
                paths.extend([format!("{dir}{name}.rs"), format!("{dir}{name}/")]);
            }
        }
    }
    paths
}

struct File<'a> {
    path: &'a str,
    text: &'a str,
    /// The text with comments and literals blanked, byte for byte at the same place.
    code: String,
    /// The same without the items under `#[cfg(test)]`.
    shipped: String,
    /// The room's name and number; none for `lib.rs`, `main.rs` and the testkit.
    room: Option<(&'static str, u32)>,
}

impl<'a> File<'a> {
    fn new(source: &'a Source) -> Self {
        let first = source.path.split('/').next().unwrap_or_default();
        let name = first.strip_suffix(".rs").unwrap_or(first);
        let code = blank(&source.text);
        Self {
            path: &source.path,
            text: &source.text,
            shipped: without_tests(&code),
            code,
            room: ROOMS.into_iter().find(|(room, _)| *room == name),
        }
    }

    fn report(&self, found: &mut Vec<String>, at: usize, what: &str) {
        let line = self.text[..at].matches('\n').count() + 1;
        found.push(format!("src/{}:{line}: {what}", self.path));
    }

    fn names(&self, found: &mut Vec<String>) {
        let known = self.room.is_some()
            || ["lib.rs", "main.rs"].contains(&self.path)
            || self.path.starts_with(TESTKIT);
        if !known {
            self.report(found, 0, "expected a room of the table in tests/tidy.rs");
        }
        for part in self.path.split('/') {
            let name = part.strip_suffix(".rs").unwrap_or(part);
            if EMPTY_NAMES.contains(&name) {
                self.report(found, 0, &format!("expected a noun of the trade, found `{name}`"));
            }
        }
        for at in words(&self.code, "mod") {
            let name = identifier(self.code[at + 3..].trim_start());
            if EMPTY_NAMES.contains(&name) {
                self.report(found, at, &format!("expected a noun of the trade, found `{name}`"));
            }
        }
        if self.path.ends_with("mod.rs") && !self.text.starts_with("//!") {
            self.report(found, 0, "expected a door: a mod.rs opens with `//!`");
        }
    }

    fn text(&self, found: &mut Vec<String>) {
        let lines = self.text.lines().count();
        let mut header = self.text.lines().take_while(|line| line.starts_with("//!"));
        if lines > LINES_MAX && !header.any(|line| line.contains("900 lines")) {
            let what = format!(
                "expected at most {LINES_MAX} lines, or in the `//!` header why there are more than 900 lines, found {lines}"
            );
            self.report(found, 0, &what);
        }
        for (at, c) in self.text.char_indices() {
            let hidden = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}');
            if (c.is_control() && c != '\n') || hidden {
                self.report(found, at, &format!("expected visible characters, found {c:?}"));
            }
        }
        for (word, advice) in [
            ("todo", "the thing itself"),
            ("unimplemented", "the thing itself"),
            ("dbg", "tracing"),
            ("eprintln", "tracing"),
        ] {
            // The binary speaks to a terminal before the log is there.
            if word == "eprintln" && self.path == "main.rs" {
                continue;
            }
            for at in words(&self.shipped, word) {
                if self.shipped[at + word.len()..].starts_with('!') {
                    self.report(found, at, &format!("expected {advice}, found `{word}!`"));
                }
            }
        }
        for word in ["TODO", "FIXME", "XXX"] {
            for at in words(self.text, word) {
                let rest = self.text[at + word.len()..].lines().next().unwrap_or_default();
                if rest.chars().filter(|c| c.is_alphabetic()).count() < 8 {
                    self.report(found, at, &format!("expected what is to do after `{word}`"));
                }
            }
        }
    }

    fn room_order(&self, found: &mut Vec<String>) {
        let Some((own, number)) = self.room else { return };
        for (at, name) in crate_paths(&self.code, self.depth()) {
            if name == own {
                continue;
            }
            if name == TESTKIT {
                if self.shipped.as_bytes()[at] != b' ' {
                    self.report(found, at, "expected the testkit in tests only");
                }
                continue;
            }
            let Some((_, other)) = ROOMS.into_iter().find(|(room, _)| *room == name) else {
                continue;
            };
            if other >= number {
                let what = format!("expected rooms below `{own}` only, found `{name}`");
                self.report(found, at, &what);
            }
        }
    }

    /// How many modules lead to this file: 1 for `codec/mod.rs` and `app.rs`.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        if self.path.ends_with("mod.rs") { parts - 1 } else { parts }
    }

    fn purity(&self, found: &mut Vec<String>) {
        let Some((own, number)) = self.room else { return };
        if number >= FIRST_ROOM_WITH_IO {
            return;
        }
        for (word, why) in IMPURE {
            for at in words(&self.shipped, word) {
                self.report(found, at, &format!("expected no {why} in `{own}`, found `{word}`"));
            }
        }
        // The config room reads its file and environment; the others get values.
        for word in ["std::fs", "std::env"] {
            for at in words(&self.shipped, word).into_iter().filter(|_| own != "config") {
                self.report(found, at, &format!("expected no files in `{own}`, found `{word}`"));
            }
        }
        for at in words(&self.shipped, "std::net") {
            let rest = self.shipped[at + "std::net".len()..].trim_start_matches("::");
            let end = if rest.starts_with('{') { rest.find('}') } else { rest.find([';', '>']) };
            let names: Vec<&str> = match rest.starts_with('{') {
                true => rest[1..end.unwrap_or(1)].split(',').map(str::trim).collect(),
                false => vec![identifier(rest)],
            };
            let trailing_comma = |name: &str| name.is_empty() && names.len() > 1;
            if !names.iter().all(|name| trailing_comma(name) || ADDRESSES.contains(name)) {
                let what = format!("expected only addresses of std::net in `{own}`");
                self.report(found, at, &what);
            }
        }
    }

    fn unsafety<'b>(&self, address: &mut Option<&'b str>, found: &mut Vec<String>)
    where
        'a: 'b,
    {
        for at in words(&self.code, "unsafe") {
            if !self.path.starts_with("net/") || address.is_some_and(|file| file != self.path) {
                let what = match address {
                    Some(file) => format!("expected `unsafe` in src/{file} only"),
                    None => "expected `unsafe` in one file of src/net/ only".to_owned(),
                };
                self.report(found, at, &what);
                continue;
            }
            *address = Some(self.path);
            let above: Vec<&str> = self.text[..at].lines().rev().take(6).collect();
            if !above.iter().any(|line| line.contains("SAFETY") || line.contains("# Safety")) {
                self.report(found, at, "expected a SAFETY line above `unsafe`");
            }
        }
    }
}

/// Where `code` names something at the root of the crate, and its first name: `crate::a::b`,
/// `crate::{a::b, c}`, and `super::` as often as leads up there from a file `depth` modules deep.
fn crate_paths(code: &str, depth: usize) -> Vec<(usize, &str)> {
    let mut paths = Vec::new();
    let heads = [("crate", 1), ("super", depth), ("corecast", 1)];
    for (head, times) in heads {
        let mut skip_to = 0;
        for at in words(code, head) {
            if at < skip_to {
                continue;
            }
            let mut rest = at;
            let mut seen = 0;
            while let Some(next) = code[rest..].strip_prefix(head).map(str::trim_start)
                && let Some(next) = next.strip_prefix("::")
            {
                let next = next.trim_start();
                rest = code.len() - next.len();
                seen += 1;
            }
            skip_to = rest;
            if seen < times || seen == 0 {
                continue;
            }
            if code[rest..].starts_with('{') {
                group_heads(code, rest, &mut paths);
            } else if !identifier(&code[rest..]).is_empty() {
                paths.push((rest, identifier(&code[rest..])));
            }
        }
    }
    paths
}

/// The first names in the braces that open at `open`, without those of inner braces.
fn group_heads<'a>(code: &'a str, open: usize, paths: &mut Vec<(usize, &'a str)>) {
    let mut level = 0;
    let mut expected = false;
    for (i, c) in code[open..].char_indices() {
        match c {
            '{' => {
                level += 1;
                expected = level == 1;
            }
            '}' if level == 1 => return,
            '}' => level -= 1,
            ',' => expected = level == 1,
            _ if c.is_whitespace() => {}
            _ => {
                if expected {
                    paths.push((open + i, identifier(&code[open + i..])));
                }
                expected = false;
            }
        }
    }
}

/// Where `word` stands in `text` on its own, not as part of a longer name.
fn words(text: &str, word: &str) -> Vec<usize> {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let starts_inside = part(word.chars().next());
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| !(starts_inside && part(text[..at].chars().next_back())))
        .filter(|&at| !part(text[at + word.len()..].chars().next()))
        .collect()
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// `text` with comments, strings and character literals turned to spaces; every other byte and
/// every line end stays at its place.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut i = 0;
    while i < bytes.len() {
        let end = literal_end(bytes, i);
        if end == i {
            i += 1;
            continue;
        }
        for byte in &mut out[i..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        i = end;
    }
    String::from_utf8(out).expect("whole literals were replaced by spaces")
}

/// Where the comment or literal that starts at `i` ends; `i` itself if none does.
fn literal_end(bytes: &[u8], i: usize) -> usize {
    let rest = &bytes[i..];
    let inside_name = i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
    if rest.starts_with(b"//") {
        return i + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        let (mut level, mut at) = (0, 0);
        while at < rest.len() {
            match &rest[at..] {
                [b'/', b'*', ..] => (level, at) = (level + 1, at + 2),
                [b'*', b'/', ..] => (level, at) = (level - 1, at + 2),
                _ => at += 1,
            }
            if level == 0 {
                break;
            }
        }
        return i + at;
    }
    if !inside_name {
        let prefix = rest.iter().take_while(|b| matches!(b, b'b' | b'c' | b'r')).count();
        let raw = rest[..prefix].contains(&b'r');
        let hashes = rest[prefix..].iter().take_while(|&&b| b == b'#').count();
        if raw && prefix <= 2 && rest.get(prefix + hashes) == Some(&b'"') {
            let close: Vec<u8> = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let body = prefix + hashes + 1;
            let at = rest[body..].windows(close.len()).position(|w| w == close);
            return i + at.map_or(rest.len(), |at| body + at + close.len());
        }
    }
    match rest[0] {
        b'"' => {
            let mut at = 1;
            while at < rest.len() && rest[at] != b'"' {
                at += if rest[at] == b'\\' { 2 } else { 1 };
            }
            i + (at + 1).min(rest.len())
        }
        // A character literal closes after one character or an escape; a lifetime does not close.
        b'\'' if rest.get(1) == Some(&b'\\') => {
            let at = rest[3..].iter().position(|&b| b == b'\'').map_or(rest.len(), |at| at + 4);
            i + at
        }
        b'\'' => {
            let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .map_or_else(|e| e.valid_up_to(), str::len);
            let text = std::str::from_utf8(&rest[1..=width]).unwrap_or_default();
            let first = text.chars().next().map_or(1, char::len_utf8);
            if rest.get(1 + first) == Some(&b'\'') { i + first + 2 } else { i }
        }
        _ => i,
    }
}

/// `code` (already blanked) with each item under `#[cfg(test)]` turned to spaces.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (start, mark) in code.match_indices("#[cfg(test)]") {
        let mut level = 0;
        let from = start + mark.len();
        let mut end = code.len();
        for (i, c) in code[from..].char_indices() {
            match c {
                '{' => level += 1,
                '}' => level -= 1,
                _ => {}
            }
            if level == 0 && (c == '}' || c == ';') {
                end = from + i + 1;
                break;
            }
        }
        for byte in &mut out[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(out).expect("cut at ASCII characters")
}

mod the_checker_bites {
    use super::*;

    fn found_in(path: &str, text: &str) -> Vec<String> {
        check(&[Source { path: path.to_owned(), text: text.to_owned() }])
    }

    fn bites(path: &str, text: &str, expected: &str) {
        let found = found_in(path, text);
        assert!(found.iter().any(|line| line.contains(expected)), "{path}: {text}\n{found:?}");
    }

    fn passes(path: &str, text: &str) {
        assert_eq!(found_in(path, text), Vec::<String>::new(), "{path}: {text}");
    }

    #[test]
    fn a_room_may_not_name_a_higher_one() {
        bites("codec/h264.rs", "use crate::plane::Source;", "src/codec/h264.rs:1:");
        bites("codec/h264.rs", "\nfn f() { crate::net::rt::spawn() }", "src/codec/h264.rs:2:");
        bites("proto/rtmp/server.rs", "use crate::{media::Frame, serve::x};", "found `serve`");
        bites("media/frame.rs", "use crate::{\n  time::Timestamp,\n  codec,\n};", "found `codec`");
        bites("container/flv.rs", "use crate::rtp::Packet;", "found `rtp`");
        bites("net/rt.rs", "use crate::shard::mesh;", "found `shard`");
        bites("codec/nal.rs", "use super::super::plane::Hub;", "found `plane`");
        bites("codec/mod.rs", "//! Door.\nuse super::plane;", "found `plane`");
    }

    #[test]
    fn a_room_may_name_itself_and_lower_ones() {
        passes("plane/hub.rs", "use crate::media::StreamKey; use crate::plane::gop::Gop;");
        passes("shard/mesh.rs", "use crate::net::rt;");
        passes("serve/rtmp.rs", "use crate::{net::{rt, plane}, proto::rtmp::Server};");
        passes("codec/h264.rs", "use super::nal::Nal; mod tests { use super::super::nal; }");
        passes("lib.rs", "pub mod app; use crate::app::App;");
        passes("testkit/pair.rs", "use crate::serve::rtmp;");
    }

    #[test]
    fn the_testkit_is_for_tests() {
        bites("plane/hub.rs", "use crate::testkit::Clock;", "testkit in tests only");
        passes("plane/hub.rs", "#[cfg(test)]\nmod tests { use crate::testkit::Clock; }");
        let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let tests = file("plane/hub/tests.rs", "use crate::testkit::Clock;");
        let hub = file("plane/hub.rs", "#[cfg(test)]\nmod tests;");
        assert_eq!(check(&[hub, tests]), Vec::<String>::new());
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        passes("codec/h264.rs", "// crate::plane\n/* crate::net /* tokio */ */ fn f() {}");
        passes(
            "codec/h264.rs",
            r##"const A: &str = "crate::net \" tokio"; const B: &str = r#"a" unsafe"#;"##,
        );
        passes(
            "codec/h264.rs",
            "fn f<'a>(x: &'a str) -> char { if x.is_empty() { '\"' } else { '\\'' } }",
        );
        bites("codec/h264.rs", "const A: char = '\"'; use crate::net::x; // \"", "found `net`");
        bites("codec/h264.rs", "const A: char = '\\u{7f}'; use crate::net::x;", "found `net`");
        bites(
            "codec/h264.rs",
            "const A: char = 'é'; fn f<'é>() {} use crate::net::x;",
            "found `net`",
        );
    }

    #[test]
    fn machines_are_free_of_io() {
        for bad in [
            "use std::net::TcpStream;",
            "use std::net::{SocketAddr, UdpSocket};",
            "use std::net;",
            "use tokio::time;",
            "let x = glommio::timer::sleep(d);",
            "let now = Instant::now();",
            "let now = std::time::SystemTime::UNIX_EPOCH;",
            "x.await;",
            "async fn f() {}",
            "std::thread::spawn(f);",
            "static X: Mutex<u8> = Mutex::new(0);",
            "std::fs::read(p);",
        ] {
            bites("proto/rtmp/server.rs", bad, "src/proto/rtmp/server.rs:1: expected ");
        }
        passes(
            "proto/http/server.rs",
            "use std::net::{IpAddr, SocketAddr}; use std::net::Ipv4Addr;",
        );
        passes(
            "proto/http/server.rs",
            "fn f(now: Instant) {} #[cfg(test)] mod t { fn g() { Instant::now(); } }",
        );
        passes("net/rt.rs", "async fn f() { x.await; glommio::spawn(); }");
        passes("config/load.rs", "std::fs::read_to_string(path)");
    }

    #[test]
    fn unsafe_has_one_address_and_says_why() {
        bites("plane/log.rs", "unsafe { f() }", "one file of src/net/");
        bites("net/rt.rs", "unsafe { f() }", "SAFETY");
        passes("net/rt.rs", "// SAFETY: the fd is ours.\nunsafe { f() }");
        passes("net/rt.rs", "#![allow(unsafe_code)]");
        let file = |path: &str| Source {
            path: path.to_owned(),
            text: "// SAFETY: ours.\nunsafe { f() }".to_owned(),
        };
        let found = check(&[file("net/a.rs"), file("net/b.rs")]);
        assert_eq!(found, ["src/net/b.rs:2: expected `unsafe` in src/net/a.rs only"]);
    }

    #[test]
    fn long_files_say_why_they_are_long() {
        bites("codec/h264.rs", &"\n".repeat(901), "expected at most 900 lines");
        passes("codec/h264.rs", &"\n".repeat(900));
        let reason = "//! More than 900 lines, for the spec's table is that long.";
        passes("codec/h264.rs", &format!("{reason}{}", "\n".repeat(950)));
    }

    #[test]
    fn names_and_leftovers_are_found() {
        bites("codec/utils.rs", "", "found `utils`");
        bites("common/mod.rs", "//! Door.", "expected a room of the table");
        bites("plane/hub.rs", "mod manager;", "found `manager`");
        bites("plane/hub.rs", "pub(crate) mod base { }", "found `base`");
        bites("plane/hub.rs", "fn f() { todo!() }", "`todo!`");
        bites("plane/hub.rs", "fn f() { dbg!(1); }", "`dbg!`");
        bites("plane/hub.rs", "// TODO", "what is to do");
        bites("plane/hub.rs", "// TODO: fix", "what is to do");
        bites("plane/mod.rs", "use x;", "expected a door");
        bites("plane/hub.rs", "let a = \"\u{202e}\";", "visible characters");
        bites("plane/hub.rs", "let a = \"\u{85}\";", "visible characters");
        bites("plane/hub.rs", "\tlet a;", "visible characters");
        passes("plane/hub.rs", "// TODO: mirrors take over once a source outgrows its core.");
    }
}
