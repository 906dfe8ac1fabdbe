use std::fmt::Write;

/// OpenMetrics in the older text format (0.0.4). There, HELP and TYPE of a counter name its samples
/// with their `_total`, and there are neither units nor a mark of the end.
pub(super) fn of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), rest) => {
                // Its TYPE, which comes next, says what it is to be called.
                help = Some((name, rest.unwrap_or_default()));
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let total = if kind == "counter" { "_total" } else { "" };
                if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                    // Err cannot be: a text takes all.
                    let _ = writeln!(text, "# HELP {name}{total} {help}");
                }
                let _ = writeln!(text, "# TYPE {name}{total} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples_and_what_is_new_is_left_away() {
        let open_metrics = "# HELP a_seconds Time that passed.\n# TYPE a_seconds counter\n\
                            # UNIT a_seconds seconds\na_seconds_total{b=\"# x\"} 1\n\
                            # HELP c Now.\n# TYPE c gauge\nc 2\n# EOF\n";
        let classic = "# HELP a_seconds_total Time that passed.\n# TYPE a_seconds_total counter\n\
                       a_seconds_total{b=\"# x\"} 1\n\
                       # HELP c Now.\n# TYPE c gauge\nc 2\n";
        assert_eq!(of(open_metrics), classic);
    }
}
