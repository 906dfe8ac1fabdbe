use crate::proto::http::Query;

/// What the query of a request for a media playlist asks for (6.2.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Request {
    /// `_HLS_msn`: not before this segment is there.
    pub msn: Option<u64>,
    /// `_HLS_part`: not before this part of it is there.
    pub part: Option<u32>,
    /// `_HLS_skip`: a delta will do.
    pub skip: bool,
}

/// Why a request for a playlist cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A value is no number.
    #[error("{0}: expected a decimal number")]
    NoNumber(&'static str),
    /// A part of no segment.
    #[error("_HLS_part: expected _HLS_msn beside it")]
    PartWithoutMsn,
    /// So far ahead that it would have to wait for long.
    #[error("_HLS_msn and _HLS_part: expected about {msn} and {part}, found what lies far ahead")]
    TooFarAhead {
        /// The segment of the next part.
        msn: u64,
        /// The next part.
        part: u32,
    },
}

/// Whether a request can be answered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// What it asks for comes later: ask a later snapshot.
    Wait,
    /// It never can.
    Bad(BadRequest),
}

impl Request {
    /// Reads the parameters; others are not looked at.
    ///
    /// # Errors
    /// A number that is none, or a part without a segment.
    pub fn parse(query: Query<'_>) -> Result<Self, BadRequest> {
        let number = |name| {
            let value = query.get(name).map(|value| {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                value.parse::<u64>().ok().filter(|_| digits).ok_or(BadRequest::NoNumber(name))
            });
            value.transpose()
        };
        let (msn, part) = (number("_HLS_msn")?, number("_HLS_part")?);
        if msn.is_none() && part.is_some() {
            return Err(BadRequest::PartWithoutMsn);
        }
        // One that large is too far ahead in any case.
        let part = part.map(|part| u32::try_from(part).unwrap_or(u32::MAX));
        let skip = query.get("_HLS_skip").is_some_and(|value| value == "YES" || value == "v2");
        Ok(Self { msn, part, skip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_nonsense_is_named() {
        let parse = |query| Request::parse(Query::new(query));
        let request = |msn, part, skip| Ok(Request { msn, part, skip });
        assert_eq!(parse(""), request(None, None, false));
        assert_eq!(parse("_HLS_msn=7&a=b"), request(Some(7), None, false));
        assert_eq!(parse("_HLS_msn=7&_HLS_part=0&_HLS_skip=YES"), request(Some(7), Some(0), true));
        assert_eq!(parse("_HLS_skip=v2"), request(None, None, true));
        assert_eq!(parse("_HLS_skip=NO"), request(None, None, false));
        assert_eq!(parse("_HLS_part=1"), Err(BadRequest::PartWithoutMsn));
        for bad in ["_HLS_msn=", "_HLS_msn=-1", "_HLS_msn=%2B1", "_HLS_msn=1.5"] {
            assert_eq!(parse(bad), Err(BadRequest::NoNumber("_HLS_msn")), "{bad}");
        }
        assert_eq!(
            parse("_HLS_msn=1&_HLS_part=99999999999"),
            request(Some(1), Some(u32::MAX), false)
        );
    }
}
