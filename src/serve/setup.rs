//! What one core knows of the configuration: a snapshot of its own, replaced whole by a reload.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::access::Access;
use crate::config::{self, Config};
use crate::container::{flv, fmp4, ts};
use crate::plane::{BitrateAction, OnConflict, Settings, hls};
use crate::proto::{http, rtmp};

/// The configuration, and what follows from it for the machines and the plane.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: Arc<Config>,
    pub(crate) rtmp: Arc<rtmp::ServerConfig>,
    pub(crate) http: Arc<http::Config>,
    settings: HashMap<String, Rc<Settings>>,
    default_settings: Rc<Settings>,
    access: HashMap<String, Access>,
    default_access: Access,
}

impl Setup {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let of = |app: &config::App| Rc::new(settings(app, &config.limits));
        Self {
            rtmp: Arc::new(rtmp_config(&config)),
            http: Arc::new(http_config(&config)),
            settings: config.app.iter().map(|(name, app)| (name.clone(), of(app))).collect(),
            default_settings: of(&config.app_defaults),
            access: config.app.iter().map(|(name, app)| (name.clone(), Access::new(app))).collect(),
            default_access: Access::new(&config.app_defaults),
            config,
        }
    }

    /// What holds for an app. `None` if there is no such app.
    pub(crate) fn app(&self, name: &str) -> Option<(&config::App, &Rc<Settings>)> {
        let app = self.config.app(name)?;
        Some((app, self.settings.get(name).unwrap_or(&self.default_settings)))
    }

    /// Who may do what in an app.
    pub(crate) fn access(&self, name: &str) -> &Access {
        self.access.get(name).unwrap_or(&self.default_access)
    }
}

fn settings(app: &config::App, limits: &config::Limits) -> Settings {
    Settings {
        merge_window: app.merge_window,
        merge_window_max: app.merge_window_max,
        on_conflict: match app.on_conflict {
            config::OnConflict::Refuse => OnConflict::Refuse,
            config::OnConflict::TakeOver => OnConflict::TakeOver,
        },
        gop_cache: app.gop_cache,
        gop_cache_max: app.gop_cache_max,
        gop_cache_bytes: app.gop_cache_bytes,
        key_wait: app.key_wait,
        max_lag: app.max_lag,
        log_max_bytes: app.log_max_bytes,
        block_bytes: app.block_bytes,
        pinned_max_bytes: app.pinned_max_bytes,
        stall_timeout: app.stall_timeout,
        wait_for_publisher: app.wait_for_publisher,
        publisher_grace: app.publisher_grace,
        probe_timeout: app.probe_timeout,
        audio_start_back: app.audio_start_back,
        video_stall: app.video_stall,
        newcomer_seal: app.newcomer_seal,
        jump_back: app.jump_back,
        jump_forward: app.jump_forward,
        publisher_bitrate_max: app.publisher_bitrate_max,
        publisher_bitrate_action: match app.publisher_bitrate_action {
            config::BitrateAction::Cut => BitrateAction::Cut,
            config::BitrateAction::Warn => BitrateAction::Warn,
        },
        sinks_max: app.viewers_max_per_stream,
        idle_timeout: app.idle_timeout,
        hls: Rc::new(hls_settings(app)),
        hls_node_max_bytes: limits.hls_max_bytes,
        hls_sessions: limits.hls_sessions,
        waiting_sinks_per_key: limits.waiting_sinks_per_key,
        waiting_sinks: limits.waiting_sinks,
    }
}

fn hls_settings(app: &config::App) -> hls::Settings {
    hls::Settings {
        container: match app.hls_container {
            config::HlsContainer::Fmp4 => hls::Container::Fmp4,
            config::HlsContainer::Ts => hls::Container::Ts,
        },
        segment: app.hls_segment,
        part: app.hls_part,
        window: app.hls_window,
        max_bytes: app.hls_max_bytes,
        separate_audio: app.hls_audio == config::HlsAudio::Separate,
        ..hls::Settings::default()
    }
}

fn rtmp_config(config: &Config) -> rtmp::ServerConfig {
    let limits = &config.limits;
    let chunk_size_bytes = config.rtmp.chunk_size;
    let mut server = rtmp::ServerConfig { chunk_size_bytes, ..rtmp::ServerConfig::default() };
    server.limits.message_bytes = limits.message_bytes;
    server.limits.reassembly_bytes = limits.reassembly_bytes;
    server.limits.reassembly_before_publish_bytes = limits.reassembly_bytes_before_publish;
    server.limits.csids = limits.chunk_streams;
    server.limits.amf.depth = limits.amf_depth;
    server.limits.amf.values = limits.amf_values;
    server.limits.handshake = limits.handshake_timeout;
    server.limits.request = limits.request_timeout;
    server.limits.first_frame = limits.first_frame_timeout;
    server.limits.silence = limits.publisher_silence;
    server
}

/// What is accepted of a transport stream, however it comes.
pub(super) fn ts_limits(limits: &config::Limits) -> ts::Limits {
    ts::Limits { unit_bytes: limits.message_bytes, ..ts::Limits::default() }
}

fn http_config(config: &Config) -> http::Config {
    let limits = &config.limits;
    let mut flv = flv::Limits::default();
    flv.tag_bytes = flv.tag_bytes.min(limits.message_bytes);
    let ts = ts_limits(limits);
    let mut mp4 = fmp4::Limits::default();
    mp4.sample_bytes = mp4.sample_bytes.min(limits.message_bytes);
    mp4.movie_bytes = mp4.movie_bytes.min(limits.message_bytes);
    mp4.waiting_bytes = mp4.waiting_bytes.min(limits.reassembly_bytes);
    http::Config {
        head_bytes: config.http.head_bytes,
        head_timeout: config.http.head_timeout,
        idle_timeout: config.http.keep_alive,
        first_frame_timeout: limits.first_frame_timeout,
        publisher_silence: limits.publisher_silence,
        flv,
        ts,
        mp4,
        client_field: match config.proxy.client_field {
            _ if config.proxy.trusted.is_empty() => None,
            config::ClientField::None => None,
            config::ClientField::XForwardedFor => Some(http::ForwardedField::XForwardedFor),
            config::ClientField::Forwarded => Some(http::ForwardedField::Forwarded),
        },
        ..http::Config::default()
    }
}
