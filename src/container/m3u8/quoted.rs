use std::fmt::{self, Display, Write};

/// Appends what `of` says, with what cannot stand in an address, a line or a quoted string (4.1, 4.2)
/// percent-encoded.
pub(super) fn push(text: &mut String, of: &dyn Display) {
    let mut escape = Escape(text);
    // A text takes all that is written to it.
    let _ = write!(escape, "{of}");
}

struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, mut part: &str) -> fmt::Result {
        let harms = |c: char| c.is_control() || c.is_whitespace() || c == '"';
        while let Some(at) = part.find(harms) {
            let (before, rest) = part.split_at(at);
            self.0.push_str(before);
            let mut rest = rest.chars();
            let bad = rest.next().unwrap_or_default();
            for byte in bad.encode_utf8(&mut [0; 4]).bytes() {
                write!(self.0, "%{byte:02X}")?;
            }
            part = rest.as_str();
        }
        self.0.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_ended_from_within() {
        let mut text = String::new();
        push(&mut text, &format_args!("a{}b c?d=e", "\"\r\n\u{85}ü"));
        assert_eq!(text, "a%22%0D%0A%C2%85üb%20c?d=e");
    }
}
