use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::sync::watch;

use super::page::Page;
use crate::control::tls::Dated;

/// When the certificates end that are shown, by the hosts that they are for.
#[derive(Debug)]
pub(super) struct OfCertificates(pub(super) watch::Receiver<Arc<[Dated]>>);

impl Collector for OfCertificates {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shown = Arc::clone(&self.0.borrow());
        let mut samples = Vec::new();
        for it in shown.iter() {
            let end = it.not_after.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let sample = |name: &str| ([("file", it.file.clone()), ("name", name.to_owned())], end);
            match it.names.is_empty() {
                true => samples.push(sample("")),
                false => samples.extend(it.names.iter().map(|name| sample(name))),
            }
        }
        let help = "When a certificate that is shown ends, in seconds since 1970, by its file and by \
                    each host that it is for.";
        let name = "tls_certificate_not_after_timestamp_seconds";
        let samples = samples.iter().map(|(labels, end)| (&labels[..], *end));
        Page(encoder).gauge(name, help, samples)
    }
}
