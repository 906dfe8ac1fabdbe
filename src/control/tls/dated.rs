//! How long certificates are good. No client takes one that has ended, and nobody renews one that
//! nobody speaks of: its end is told in the log and in the metrics.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;
use webpki::{EndEntityCert, Error, KeyUsage};

/// A certificate, for whom it is and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dated {
    /// Its file, as the configuration names it.
    pub(crate) file: String,
    /// The hosts that it is for, in small letters; `*.` stands for one label.
    pub(crate) names: Vec<String>,
    /// It is good from then on.
    pub(crate) not_before: SystemTime,
    /// It is good until then.
    pub(crate) not_after: SystemTime,
    /// Itself: another one in the same file has other bytes.
    leaf: CertificateDer<'static>,
}

/// What the time makes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    NotYet,
    Good,
    /// So many whole days are left.
    EndsSoon(u64),
    Ended,
}

/// From then on its end is warned of: once, and again with each day. Who renews by a program does so
/// a month before; who does it by hand has a working week and a spare one.
const WARN_BEFORE: Duration = Duration::from_secs(14 * DAY_S);
const DAY_S: u64 = 24 * 60 * 60;
/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(60);

impl Dated {
    /// The one that `file` begins with.
    ///
    /// # Errors
    /// It is none, or its dates make no sense.
    pub(super) fn read(file: &str, leaf: &CertificateDer<'static>) -> Result<Self, Error> {
        let certificate = EndEntityCert::try_from(leaf)?;
        let names = certificate.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let (not_before, not_after) = validity(&certificate)?;
        Ok(Self { file: file.to_owned(), names, not_before, not_after, leaf: leaf.clone() })
    }

    pub(super) fn stage(&self, now: SystemTime) -> Stage {
        if now < self.not_before {
            return Stage::NotYet;
        }
        match self.not_after.duration_since(now) {
            Err(_) => Stage::Ended,
            Ok(left) if left <= WARN_BEFORE => Stage::EndsSoon(left.as_secs() / DAY_S),
            Ok(_) => Stage::Good,
        }
    }

    /// Why no client would take it now, and what is to be done.
    pub(super) fn refusal(&self, now: SystemTime) -> Option<(String, &'static str)> {
        match self.stage(now) {
            Stage::Good | Stage::EndsSoon(_) => None,
            Stage::Ended => {
                let cause = format!("the certificate has ended on {}", date(self.not_after));
                Some((cause, "renew the certificate"))
            }
            Stage::NotYet => {
                let (begins, now) = (date(self.not_before), date(now));
                let cause = format!("the certificate is good from {begins} on, and it is {now}");
                Some((cause, "wait for that, or set the clock of this host"))
            }
        }
    }

    fn tell(&self, stage: Stage) {
        let Self { file, names, .. } = self;
        let (from, until) = (date(self.not_before), date(self.not_after));
        match stage {
            Stage::Good => tracing::info!(file, ?names, until, "certificate: shown to newcomers"),
            Stage::EndsSoon(days_left) => {
                tracing::warn!(
                    file,
                    ?names,
                    until,
                    days_left,
                    "certificate: it ends soon, renew it"
                );
            }
            Stage::Ended => tracing::error!(
                file,
                ?names,
                until,
                "certificate: it has ended, and clients refuse it: renew it"
            ),
            Stage::NotYet => tracing::warn!(
                file,
                ?names,
                from,
                until,
                "certificate: it is not good yet, and clients refuse it: is the clock right?"
            ),
        }
    }
}

/// From when until when it is good. The crate tells that alone by refusing one, at the end of all time
/// and at its beginning, which it does before it looks for who has signed it.
fn validity(certificate: &EndEntityCert<'_>) -> Result<(SystemTime, SystemTime), Error> {
    let refused_at = |at| {
        let (at, usage) = (UnixTime::since_unix_epoch(at), KeyUsage::server_auth());
        certificate.verify_for_usage(&[], &[], &[], at, usage, None, None).err()
    };
    let system_time = |at: UnixTime| UNIX_EPOCH + Duration::from_secs(at.as_secs());
    let not_after = match refused_at(Duration::MAX) {
        Some(Error::CertExpired { not_after, .. }) => system_time(not_after),
        other => return Err(other.unwrap_or(Error::InvalidCertValidity)),
    };
    let not_before = match refused_at(Duration::ZERO) {
        Some(Error::CertNotValidYet { not_before, .. }) => system_time(not_before),
        // It was good then.
        _ => UNIX_EPOCH,
    };
    Ok((not_before, not_after))
}

/// As RFC 3339 writes it.
fn date(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let date =
        i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let text = date.and_then(|date| date.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("second {seconds} after 1970"))
}

/// Says which are shown and until when, whenever others are, and warns of each one's end in time.
pub(crate) async fn remind(mut shown: watch::Receiver<Arc<[Dated]>>) {
    let mut told: Vec<(Dated, Stage)> = Vec::new();
    loop {
        let now = SystemTime::now();
        let all = Arc::clone(&shown.borrow_and_update());
        let all: Vec<_> = all.iter().map(|it| (it.clone(), it.stage(now))).collect();
        for it in all.iter().filter(|it| !told.contains(it)) {
            it.0.tell(it.1);
        }
        told = all;
        tokio::select! {
            changed = shown.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_end_is_warned_of_two_weeks_before_and_then_each_day() {
        let day = |number: u64| UNIX_EPOCH + Duration::from_secs(number * DAY_S);
        let (not_before, not_after) = (day(100), day(190));
        let (file, leaf) = (String::from("a.pem"), CertificateDer::from(Vec::new()));
        let it = Dated { file, names: Vec::new(), not_before, not_after, leaf };
        let second = Duration::from_secs(1);
        for (now, stage) in [
            (day(100) - second, Stage::NotYet),
            (day(100), Stage::Good),
            (day(176) - second, Stage::Good),
            (day(176), Stage::EndsSoon(14)),
            (day(176) + second, Stage::EndsSoon(13)),
            (day(189), Stage::EndsSoon(1)),
            (day(190), Stage::EndsSoon(0)),
            (day(190) + second, Stage::Ended),
        ] {
            assert_eq!(it.stage(now), stage, "{now:?}");
            let refused = matches!(stage, Stage::NotYet | Stage::Ended);
            assert_eq!(it.refusal(now).is_some(), refused, "{now:?}");
        }
        let (cause, _) = it.refusal(day(200)).expect("it has ended");
        assert_eq!(cause, "the certificate has ended on 1970-07-10T00:00:00Z");
    }
}
