use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One line of `rules`: `deny play 2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What becomes of those it is about.
    pub effect: Effect,
    /// What they want.
    pub wish: RuleWish,
    /// Where they come from; `None` for anywhere.
    pub from: Option<IpNet>,
}

/// What becomes of those a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// They pass, to whatever else is asked of them.
    Allow,
    /// They are refused.
    Deny,
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleWish {
    /// To publish.
    Publish,
    /// To play.
    Play,
    /// Both.
    All,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected \"allow|deny publish|play|all ADDRESS\" with an address such as 10.0.0.0/8, 2001:db8::/32, \
     192.0.2.7 or any, found {found:?}: {what}"
)]
pub struct InvalidRule {
    found: String,
    what: &'static str,
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let invalid = |what| InvalidRule { found: text.to_owned(), what };
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [effect, wish, from] = words[..] else { return Err(invalid("not three words")) };
        let effect = match effect {
            "allow" => Effect::Allow,
            "deny" => Effect::Deny,
            _ => return Err(invalid("neither allow nor deny")),
        };
        let wish = match wish {
            "publish" => RuleWish::Publish,
            "play" => RuleWish::Play,
            "all" => RuleWish::All,
            _ => return Err(invalid("neither publish, play nor all")),
        };
        let from = match from {
            "any" => None,
            from => Some(network(from).ok_or_else(|| invalid("no address"))?),
        };
        Ok(Self { effect, wish, from })
    }
}

/// A network, or one address. IPv4 inside of IPv6 is IPv4: so are the addresses of peers.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED_BITS => match v6.addr().to_ipv4_mapped() {
            Some(v4) => mapped(v4, v6.prefix_len()),
            None => Some(network),
        },
        network => Some(network),
    }
}

fn mapped(address: Ipv4Addr, prefix_len: u8) -> Option<IpNet> {
    Ipv4Net::new(address, prefix_len - MAPPED_BITS).ok().map(IpNet::V4)
}

/// `::ffff:0:0/96`.
const MAPPED_BITS: u8 = 96;

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.effect {
            Effect::Allow => "allow ",
            Effect::Deny => "deny ",
        })?;
        f.write_str(match self.wish {
            RuleWish::Publish => "publish ",
            RuleWish::Play => "play ",
            RuleWish::All => "all ",
        })?;
        match self.from {
            Some(network) => network.fmt(f),
            None => f.write_str("any"),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_back_as_it_is_shown() {
        for (text, shown) in [
            ("allow publish 10.0.0.0/8", "allow publish 10.0.0.0/8"),
            ("deny  play\t2001:db8::/32 ", "deny play 2001:db8::/32"),
            ("deny all any", "deny all any"),
            ("allow play 192.0.2.7", "allow play 192.0.2.7/32"),
            ("allow play ::1", "allow play ::1/128"),
            ("deny play ::ffff:10.0.0.0/104", "deny play 10.0.0.0/8"),
            ("deny play ::ffff:10.0.0.1", "deny play 10.0.0.1/32"),
            ("deny play ::/0", "deny play ::/0"),
        ] {
            let rule: Rule = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(rule.to_string(), shown);
            assert_eq!(shown.parse(), Ok(rule));
        }
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (text, what) in [
            ("deny any", "not three words"),
            ("deny play from any", "not three words"),
            ("forbid play any", "neither allow nor deny"),
            ("deny watch any", "neither publish, play nor all"),
            ("deny play 10.0.0.0/33", "no address"),
            ("deny play example.org", "no address"),
        ] {
            let error = text.parse::<Rule>().expect_err(text);
            assert_eq!(error.what, what, "{text}");
            assert!(error.to_string().contains("allow|deny publish|play|all"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_can_upset_the_parser(text: String) {
            let _ = text.parse::<Rule>();
        }
    }
}
