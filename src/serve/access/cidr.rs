use std::net::IpAddr;

use super::signed::Method;
use crate::config::{Effect, Rule, RuleWish};

/// The rules of an app; the first that fits counts.
#[derive(Debug)]
pub(super) struct Rules(Box<[Rule]>);

impl Rules {
    pub(super) fn new(rules: &[Rule]) -> Self {
        Self(rules.into())
    }

    pub(super) fn allow(&self, method: Method, from: IpAddr) -> bool {
        let fits = |rule: &&Rule| {
            let wish = match rule.wish {
                RuleWish::Publish => method == Method::Publish,
                RuleWish::Play => method == Method::Play,
                RuleWish::All => true,
            };
            wish && rule.from.is_none_or(|network| network.contains(&from))
        };
        self.0.iter().find(fits).is_none_or(|rule| rule.effect == Effect::Allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of `addresses` may do: `P` publish, `p` play.
    fn may(rules: &[&str], addresses: &[&str]) -> Vec<String> {
        let rules: Vec<Rule> = rules.iter().map(|rule| rule.parse().expect("a rule")).collect();
        let rules = Rules::new(&rules);
        let may = |address: &&str| {
            let from = address.parse().expect("an address");
            let both = [(Method::Publish, 'P'), (Method::Play, 'p')].into_iter();
            both.filter(|(method, _)| rules.allow(*method, from)).map(|(_, name)| name).collect()
        };
        addresses.iter().map(may).collect()
    }

    #[test]
    fn who_fits_no_rule_passes() {
        assert_eq!(may(&[], &["10.0.0.1", "::1"]), ["Pp", "Pp"]);
        assert_eq!(may(&["deny all 10.0.0.0/8"], &["11.0.0.1", "::1"]), ["Pp", "Pp"]);
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = ["deny all 192.0.2.7", "allow all 192.0.2.0/24", "deny all any"];
        let addresses = ["192.0.2.7", "192.0.2.8", "192.0.3.1", "::1"];
        assert_eq!(may(&rules, &addresses), ["", "Pp", "", ""]);
        assert_eq!(may(&["deny all any", "allow all 10.0.0.0/8"], &["10.0.0.1"]), [""]);
    }

    #[test]
    fn a_rule_for_one_wish_leaves_the_other_alone() {
        let rules = ["allow publish 10.0.0.0/8", "deny publish any"];
        assert_eq!(may(&rules, &["10.1.2.3", "192.0.2.1"]), ["Pp", "p"]);
    }

    #[test]
    fn the_two_families_do_not_meet() {
        let addresses = ["2001:db8::1", "2001:db9::1", "32.1.13.184"];
        assert_eq!(may(&["deny play 2001:db8::/32"], &addresses), ["P", "Pp", "Pp"]);
        assert_eq!(may(&["deny all ::/0"], &["10.0.0.1", "::1"]), ["Pp", ""]);
        assert_eq!(may(&["deny all 0.0.0.0/0"], &["10.0.0.1", "::1"]), ["", "Pp"]);
    }
}
