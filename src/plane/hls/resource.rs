use std::fmt;

use super::Container;

/// Which of a stream's playlists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rendition {
    /// Pictures with sound, or whichever of both there is.
    Main,
    /// Sound alone, beside pictures that are without.
    Audio,
}

impl Rendition {
    /// Of as many there can be.
    pub(super) const COUNT: usize = 2;

    fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Audio => "audio",
        }
    }
}

/// Something of a stream that has an address: `main.m3u8`, `main-12.ts`, `main-12.3.ts`,
/// `main-init1.mp4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Of which rendition.
    pub rendition: Rendition,
    /// What of it.
    pub what: What,
}

/// What of a rendition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Its media playlist.
    Playlist,
    /// What precedes segments, by its number.
    Init(u32),
    /// A segment, by its media sequence number.
    Segment(u64),
    /// A part of a segment, by its index.
    Part(u64, u32),
}

impl Resource {
    /// What `name` is the name of, if it is one.
    pub fn parse(name: &str, container: Container) -> Option<Self> {
        let (stem, _) = name.rsplit_once('.')?;
        let (rendition, number) = stem.split_once('-').map_or((stem, None), |(a, b)| (a, Some(b)));
        let rendition = match rendition {
            "main" => Rendition::Main,
            "audio" => Rendition::Audio,
            _ => return None,
        };
        let what = match number {
            None => What::Playlist,
            Some(number) => match (number.strip_prefix("init"), number.split_once('.')) {
                (Some(number), _) => What::Init(number.parse().ok()?),
                (None, None) => What::Segment(number.parse().ok()?),
                (None, Some((msn, part))) => What::Part(msn.parse().ok()?, part.parse().ok()?),
            },
        };
        // One thing has one name: caches go by it.
        let resource = Self { rendition, what };
        (resource.named(container, "").to_string() == name).then_some(resource)
    }

    /// Its name, with `query` behind it if that is not empty.
    pub(super) fn named(self, container: Container, query: &str) -> Named<'_> {
        Named { resource: self, container, query }
    }
}

pub(super) struct Named<'a> {
    resource: Resource,
    container: Container,
    query: &'a str,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rendition, extension) = (self.resource.rendition.name(), self.container.extension());
        match self.resource.what {
            What::Playlist => write!(f, "{rendition}.m3u8"),
            What::Init(number) => write!(f, "{rendition}-init{number}.mp4"),
            What::Segment(msn) => write!(f, "{rendition}-{msn}.{extension}"),
            What::Part(msn, part) => write!(f, "{rendition}-{msn}.{part}.{extension}"),
        }?;
        if !self.query.is_empty() {
            write!(f, "?{}", self.query)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_one_name_of_a_thing_is_understood() {
        let parse = |name| Resource::parse(name, Container::Ts).map(|resource| resource.what);
        assert_eq!(parse("main.m3u8"), Some(What::Playlist));
        assert_eq!(parse("audio-12.3.ts"), Some(What::Part(12, 3)));
        let init = Resource::parse("main-init1.mp4", Container::Fmp4).map(|init| init.what);
        assert_eq!(init, Some(What::Init(1)));
        for bad in [
            "",
            ".",
            "main",
            "main.ts",
            "main-1.m3u8",
            "main-+1.ts",
            "main-01.ts",
            "main-1.ts?",
            "Main.m3u8",
            "main-1.2.3.ts",
            "main-init1.ts",
            "main--1.ts",
            "main-99999999999999999999.ts",
            "video-1.ts",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_named_is_found_by_its_name(msn: u64, part: u32, audio: bool) {
            let rendition = if audio { Rendition::Audio } else { Rendition::Main };
            for what in [What::Playlist, What::Init(part), What::Segment(msn), What::Part(msn, part)] {
                let resource = Resource { rendition, what };
                let name = resource.named(Container::Ts, "").to_string();
                prop_assert_eq!(Resource::parse(&name, Container::Ts), Some(resource));
                let with_query = resource.named(Container::Ts, "id=1").to_string();
                prop_assert_eq!(with_query, name + "?id=1");
            }
        }

        #[test]
        fn any_text_can_be_asked_for(name: String) {
            Resource::parse(&name, Container::Ts);
        }
    }
}
