//! The files for containers, as far as they can be checked without an engine. `make judges` has
//! more of them checked: hadolint, and a run under the seccomp profile.

#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

const DOCKERFILE: &str = include_str!("../Dockerfile");
const IGNORE: &str = include_str!("../.dockerignore");
const PROFILE: &str = include_str!("../config/seccomp.json");

/// Each instruction with what follows it; comments and empty lines left out.
fn instructions() -> Vec<(&'static str, &'static str)> {
    let lines = DOCKERFILE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').expect("an instruction and what it is about")).collect()
}

#[test]
fn the_image_is_built_in_one_stage_and_runs_without_root_in_another() {
    let all = instructions();
    let stages: Vec<_> = all.iter().filter(|(name, _)| *name == "FROM").collect();
    assert_eq!(stages.len(), 2);
    assert!(stages[0].1.ends_with(" AS build"), "{stages:?}");
    let last = all.iter().rposition(|(name, _)| *name == "FROM").expect("two of them");
    let user = all[last..].iter().find(|(name, _)| *name == "USER").expect("it is said");
    let (id, _) = user.1.split_once(':').expect("a user and a group");
    assert!(id.parse::<u32>().expect("a number") > 0, "not root");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(stages[0].1.starts_with(&format!("rust:{rust}-")), "{stages:?}");
}

#[test]
fn what_the_image_is_built_of_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = IGNORE.lines().filter_map(|line| line.strip_prefix('!'));
    let copied = instructions().into_iter().filter(|(name, _)| *name == "COPY");
    let copied = copied.filter(|(_, what)| !what.starts_with("--from"));
    let copied = copied.map(|(_, what)| what.split(' ').next().expect("what, and where to"));
    for path in ours.chain(copied) {
        assert!(root.join(path).exists(), "{path}");
    }
    let manifest = include_str!("../Cargo.toml");
    for member in ["bench", "loadtest"] {
        assert!(manifest.contains(&format!("\"{member}\"")), "{member}");
        assert!(IGNORE.contains(&format!("!{member}/Cargo.toml")), "{member}");
    }
}

#[test]
fn the_seccomp_profile_allows_io_uring_and_refuses_what_is_not_named() {
    let profile: Value = serde_json::from_str(PROFILE).expect("JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let mut allowed = BTreeSet::new();
    for rule in profile["syscalls"].as_array().expect("a list") {
        let names = rule["names"].as_array().expect("a list");
        let names = names.iter().map(|name| name.as_str().expect("a name"));
        if rule["action"] == "SCMP_ACT_ALLOW" {
            for name in names {
                assert!(allowed.insert(name), "{name} twice");
            }
        }
    }
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register", "execve", "clone"] {
        assert!(allowed.contains(name), "{name}");
    }
    for name in ["mount", "setns", "unshare", "bpf", "ptrace", "init_module", "kexec_load"] {
        assert!(!allowed.contains(name), "{name}");
    }
}
