use super::{DAY, MOMENT, Section};
use crate::config::app::{NO_APP_REC, REPLAY_APP};
use crate::config::tree::Config;
use crate::config::ts_udp::TsUdp;
use crate::config::units::{duration, size};

/// The inputs: each alone, then those that meet.
pub(super) fn check(config: &Config, at: &mut Section<'_>) {
    let inputs = &config.ts_udp;
    at.count("ts_udp", inputs.len(), 0, 4096);
    for (index, input) in inputs.iter().enumerate() {
        let mut wrong = |key: &str, found: String| {
            let [list, key, place] = ["ts_udp", key, &index.to_string()].map(str::to_owned);
            // Named as keys are, and looked for where this input stands.
            let keys = [
                vec![list.clone(), key.clone()],
                vec![list.clone(), place.clone(), key],
                vec![list, place],
            ];
            (at.complain)(&keys, format!("input {} ({}): {found}", index + 1, input.listen));
        };
        if let Err((key, found)) = alone(input) {
            wrong(key, found);
        }
        let (app, _) = input.stream.split_once('/').unwrap_or_default();
        if app == REPLAY_APP {
            wrong("stream", NO_APP_REC.to_owned());
        }
        if config.app(app).is_none() {
            wrong("stream", format!("expected a configured app (strict_apps), found {app:?}"));
        }
        if inputs[..index].iter().any(|other| meet(input, other)) {
            wrong("listen", "another input has the same; choose another port".to_owned());
        }
    }
}

fn alone(input: &TsUdp) -> Result<(), (&'static str, String)> {
    let TsUdp { listen, stream, interface, source, timeout, receive_buffer, program: _ } = input;
    let ip = listen.ip();
    if listen.port() == 0 {
        return Err(("listen", "expected a port from 1 on, found 0".to_owned()));
    }
    if !is_stream(stream) {
        return Err((
            "stream",
            format!(
                "expected app/name of at most 512 bytes, without control characters, empty parts, \
                 `.` and `..`, found {stream:?}"
            ),
        ));
    }
    if !interface.is_empty() && !ip.is_multicast() {
        return Err(("interface", format!("expected none, as {ip} is no multicast group")));
    }
    if let Some(source) = source
        && source.is_ipv4() != ip.is_ipv4()
        && !(source.is_ipv4() && ip.is_unspecified())
    {
        return Err(("source", format!("expected one of the family of {ip}, found {source}")));
    }
    if !timeout.is_zero() && !(MOMENT..=DAY).contains(timeout) {
        let [least, most, found] = [MOMENT, DAY, *timeout].map(duration::show);
        return Err(("timeout", format!("expected 0 or {least} to {most}, found {found}")));
    }
    let range = 16 << 10..=1 << 30;
    if !range.contains(receive_buffer) {
        let [least, most, found] = [*range.start(), *range.end(), *receive_buffer].map(size::show);
        return Err(("receive_buffer", format!("expected {least} to {most}, found {found}")));
    }
    Ok(())
}

/// Whether it can be the key of a stream as it stands.
fn is_stream(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control)
    };
    text.len() <= 512 && text.contains('/') && text.split('/').all(is_part)
}

/// Whether a datagram could be meant for either. The sources of a group tell its inputs apart.
fn meet(one: &TsUdp, other: &TsUdp) -> bool {
    let (ip, other_ip) = (one.listen.ip(), other.listen.ip());
    let same = ip == other_ip
        || (!ip.is_multicast()
            && !other_ip.is_multicast()
            && (ip.is_unspecified() || other_ip.is_unspecified()));
    let told_apart = ip.is_multicast()
        && one.source.is_some()
        && other.source.is_some()
        && one.source != other.source;
    let elsewhere = ip.is_multicast() && one.interface != other.interface;
    same && one.listen.port() == other.listen.port() && !told_apart && !elsewhere
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(inputs: &str) -> Result<Config, String> {
        let text = format!("ts_udp = [{inputs}]");
        Config::load(&text, "c.toml", []).map_err(|error| error.to_string())
    }

    #[test]
    fn an_input_has_defaults_and_is_shown_as_it_reads() {
        let two = "{ listen = '0.0.0.0:5000', stream = 'live/a/b' }, { listen = '[ff15::1]:5000', \
                   stream = 'live/c', interface = 'eth0', source = 'fd00::1', timeout = '3s', \
                   receive_buffer = '64KiB', program = 7 }";
        let config = load(two).expect("it is right");
        let [first, second] = &config.ts_udp[..] else { panic!("{config:?}") };
        assert_eq!((first.receive_buffer, first.program, first.source), (2 << 20, 0, None));
        assert_eq!((second.receive_buffer, second.program), (64 << 10, 7));
        let shown = config.to_toml();
        assert!(shown.contains("[[ts_udp]]"), "{shown}");
        assert_eq!(Config::load(&shown, "shown", []).expect("it reads back"), config);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_place_of_the_list() {
        let input =
            |keys: &str| format!("{{ listen = '127.0.0.1:5000', stream = 'live/a'{keys} }}");
        for (inputs, expected) in [
            (input(", program = 1, prog = 2"), "ts_udp.prog: unknown field `prog`"),
            (input(", source = 'localhost'"), "ts_udp.source: "),
            ("{ listen = ':5000', stream = 'a/b' }".to_owned(), "found \":5000\""),
            ("{ stream = 'a/b' }".to_owned(), "missing field `listen`"),
            ("{ listen = '1.1.1.1:0', stream = 'a/b' }".to_owned(), "expected a port from 1 on"),
            (input("").replace("live/a", "live"), "expected app/name of at most 512 bytes"),
            (input("").replace("live/a", "live/../a"), "expected app/name of at most 512 bytes"),
            (input("").replace("live/a", "live//a"), "expected app/name of at most 512 bytes"),
            (input(", interface = 'lo'"), "as 127.0.0.1 is no multicast group"),
            (input(", source = '::1'"), "ts_udp.source: input 1 (127.0.0.1:5000): expected one of"),
            (input(", timeout = '1us'"), "expected 0 or "),
            (input(", receive_buffer = '1KiB'"), "expected 16KiB to 1GiB, found 1KiB"),
            (input(", program = 65536"), "ts_udp.program: "),
            (
                [input(""), input("").replace("/a", "/b")].join(","),
                "input 2 (127.0.0.1:5000): another",
            ),
            ([input(""), input("").replace("127.0.0.1", "0.0.0.0")].join(","), "another input"),
        ] {
            let error = load(&inputs).expect_err(&inputs);
            assert!(
                error.contains(expected) && error.starts_with("c.toml:1:"),
                "{inputs}: {error}"
            );
        }
        let group = |more| format!("{{ listen = '232.1.1.1:5000', stream = 'live/a'{more} }}");
        let sources = [", source = '10.0.0.1'", ", source = '10.0.0.2'"].map(group);
        load(&sources.join(",")).expect("each has its own source");
        let tables =
            "[[ts_udp]]\nlisten = ':5000'\n[[ts_udp]]\nlisten = '[::1]:5000'\nstream = 'rec/a'";
        let text = tables.replace("':5000'", "'[::1]:6000'\nstream = 'live/a'");
        let error = Config::load(&text, "c.toml", []).expect_err("rec").to_string();
        assert!(error.starts_with("c.toml:6:10: ts_udp.stream: input 2"), "{error}");
        let text = text.replace("'rec/a'", "7");
        let error = Config::load(&text, "c.toml", []).expect_err("7").to_string();
        assert!(error.starts_with("c.toml:6:10: ts_udp.stream: "), "{error}");
        let strict = format!("strict_apps = true\nts_udp = [{}]", input(""));
        let error = Config::load(&strict, "c.toml", []).expect_err("no such app").to_string();
        assert!(
            error.contains("c.toml:2:") && error.contains(": ts_udp.stream: input 1"),
            "{error}"
        );
    }
}
