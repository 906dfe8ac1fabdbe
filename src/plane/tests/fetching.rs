use super::*;
use crate::plane::hls::{Channel, Container, Rendition};

const HLS: Format = Format::Hls(Container::Fmp4);

impl Rig {
    fn fetch(&mut self) -> Viewer {
        self.join_with(|request| (request.format, request.fd) = (HLS, NO_SOCKET)).viewer
    }

    fn channel(&self) -> Option<Arc<Channel>> {
        self.hub.borrow().channel(&Self::key())
    }

    fn told_of_end(&self) -> bool {
        self.events.iter().any(|event| matches!(event, HubEvent::HlsGone { .. }))
    }
}

fn event(viewer: &Viewer) -> Option<SinkEvent> {
    match viewer.poll_event(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => Some(event),
        Poll::Pending => None,
    }
}

/// What all players are told now.
fn playlist(channel: &Channel) -> String {
    channel.latest().expect("there is something").playlist(Rendition::Main, false, "")
}

#[test]
fn a_viewer_that_fetches_starts_with_the_first_part_and_nothing_is_written_to_it() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let viewer = rig.fetch();
    assert!(rig.channel().expect("begun").latest().is_none() && event(&viewer).is_none());
    rig.stream(&publisher, 4200, 1000);
    assert_eq!(event(&viewer), Some(SinkEvent::Started));
    let channel = rig.channel().expect("live");
    let text = playlist(&channel);
    let dir = channel.latest().expect("there is something").next_dir();
    assert!(text.contains(&format!("TYPE=PART,URI=\"{dir:032x}/main-")), "{text}");
    assert_eq!((rig.visits.len(), rig.hub.borrow().totals().viewers), (0, 1));
    viewer.fetched(5000);
    let hub = rig.hub.borrow();
    let listed = hub.viewers_of(&Rig::key(), (0, 9), rig.now).expect("it is live").1.remove(0);
    assert_eq!((listed.format, listed.state, listed.bytes), ("hls", SinkState::Playing, 5000));
    let outputs = hub.stream(&Rig::key(), rig.now).expect("live").outputs;
    assert_eq!((outputs[0].format, outputs[0].viewers_raw), ("hls", 1));
    assert!(rig.node.hls_bytes.load(std::sync::atomic::Ordering::Relaxed) > 1000);
}

#[test]
fn a_publisher_is_read_more_often_while_parts_are_made() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let reads = || publisher.set_waited(Duration::ZERO).as_millis();
    assert_eq!(reads(), 350);
    let viewer = rig.fetch();
    assert_eq!(reads(), 20);
    drop(viewer);
    rig.stream(&publisher, 9000, 1000);
    assert_eq!(reads(), 350);
}

#[test]
fn of_a_stream_that_is_live_for_long_there_is_a_part_at_once() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.stream(&publisher, 4400, 2000);
    let viewer = rig.fetch();
    assert_eq!(event(&viewer), Some(SinkEvent::Started));
    assert!(playlist(&rig.channel().expect("live")).contains("#EXT-X-TARGETDURATION:2\n"));
}

#[test]
fn cores_that_listen_are_told_once_of_the_next_snapshot() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let _viewer = rig.fetch();
    rig.stream(&publisher, 4000, 1000);
    let channel = rig.channel().expect("live");
    channel.listen(3);
    rig.events.clear();
    rig.stream(&publisher, 5000, 1000);
    let told = |event: &HubEvent| match event {
        HubEvent::HlsNews { cores, .. } => Some(cores.clone()),
        _ => None,
    };
    assert_eq!(rig.events.iter().filter_map(told).collect::<Vec<_>>(), [[3]]);
}

#[test]
fn when_nobody_fetches_it_any_more_it_is_forgotten_and_begun_anew_for_the_next() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let viewer = rig.fetch();
    rig.stream(&publisher, 3000, 1000);
    let first = rig.channel().expect("live");
    drop(viewer);
    rig.stream(&publisher, 9000, 1000);
    assert!(rig.channel().is_none() && rig.told_of_end());
    assert!(!first.latest().expect("it was there").is_ended());
    let _viewer = rig.fetch();
    let second = rig.channel().expect("begun anew");
    let dir = |channel: &Channel| channel.latest().expect("there is something").next_dir();
    assert_ne!(dir(&second), dir(&first));
}

#[test]
fn bytes_count_until_nobody_may_ask_for_them_any_more() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let viewer = rig.fetch();
    rig.stream(&publisher, 3000, 1000);
    let counted = |rig: &Rig| rig.node.hls_bytes.load(std::sync::atomic::Ordering::Relaxed);
    let (channel, live) = (rig.channel().expect("live"), counted(&rig));
    assert!(live > 1000);
    drop((publisher, viewer));
    rig.advance(30_000);
    assert!(rig.channel().is_none() && rig.told_of_end());
    // A core has it for those who are still to fetch what came before the end.
    assert!(counted(&rig) > 1000);
    rig.events.clear();
    drop(channel);
    assert_eq!(counted(&rig), 0);
}

#[test]
fn players_are_told_of_the_end_before_their_viewers_end() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let viewer = rig.fetch();
    rig.stream(&publisher, 3000, 1000);
    let channel = rig.channel().expect("live");
    assert_eq!(event(&viewer), Some(SinkEvent::Started));
    drop(publisher);
    rig.advance(10_000);
    assert!(!playlist(&channel).contains("#EXT-X-ENDLIST"), "it may return");
    rig.advance(6000);
    assert!(playlist(&channel).contains("#EXT-X-ENDLIST"));
    assert_eq!(event(&viewer), Some(SinkEvent::Ended(SinkEnd::PublisherGone)));
    assert!(rig.told_of_end());
}

#[test]
fn players_are_told_of_the_end_while_another_viewer_is_still_being_sent_the_rest() {
    let mut rig = Rig::with(|settings| settings.publisher_grace = Duration::from_secs(1));
    let publisher = rig.publish_av();
    let (viewer, slow) = (rig.fetch(), rig.join());
    rig.socket(&slow).room = 0;
    rig.stream(&publisher, 3000, 1000);
    let channel = rig.channel().expect("live");
    assert_eq!(event(&viewer), Some(SinkEvent::Started));
    drop(publisher);
    rig.advance(1000);
    assert!(playlist(&channel).contains("#EXT-X-ENDLIST"));
    assert_eq!(event(&viewer), Some(SinkEvent::Ended(SinkEnd::PublisherGone)));
    assert!(rig.told_of_end());
    assert_eq!((slow.event(), slow.event()), (Some(SinkEvent::Started), None));
}

#[test]
fn a_publisher_that_returns_goes_on_behind_a_discontinuity() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let _viewer = rig.fetch();
    rig.stream(&publisher, 3000, 1000);
    drop(publisher);
    rig.advance(2000);
    let publisher = rig.publish_av();
    rig.stream(&publisher, 8000, 1000);
    let text = playlist(&rig.channel().expect("live"));
    assert!(text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
}

#[test]
fn who_waits_for_a_key_frame_in_vain_is_told_that_there_is_nothing() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let viewer = rig.fetch();
    for at in 0..25 {
        rig.push(&publisher, picture(at * 1000, false, 100));
        rig.advance(1000);
    }
    assert_eq!(event(&viewer), Some(SinkEvent::NotFound));
}

#[test]
fn a_kicked_viewer_and_those_of_a_node_that_drains_end_at_once() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let (kicked, drained) = (rig.fetch(), rig.fetch());
    rig.stream(&publisher, 3000, 1000);
    for viewer in [&kicked, &drained] {
        assert_eq!(event(viewer), Some(SinkEvent::Started));
    }
    let hub = Rc::clone(&rig.hub);
    let first = hub.borrow().viewers_of(&Rig::key(), (0, 1), rig.now).expect("live").1.remove(0);
    assert!(hub.borrow_mut().end_viewer(first.id, first.serial, "so", rig.now));
    let why = SinkEnd::Kicked(Rc::new("so".to_owned()));
    assert_eq!(event(&kicked), Some(SinkEvent::Ended(why)));
    hub.borrow_mut().drain(1, rig.now);
    assert_eq!(event(&drained), Some(SinkEvent::Ended(SinkEnd::Draining)));
}

#[test]
fn a_node_has_so_many_viewers_that_fetch_and_no_more() {
    let mut rig = Rig::with(|settings| settings.hls_sessions = 1);
    let _publisher = rig.publish_av();
    let viewer = rig.fetch();
    let another = |rig: &mut Rig| {
        rig.try_join(|request| (request.format, request.fd) = (HLS, NO_SOCKET)).err()
    };
    assert_eq!(another(&mut rig), Some(PlayRefused::TooManySessions(1)));
    assert_eq!(rig.hub.borrow().totals().refused_hls, 1);
    drop(viewer);
    assert_eq!(another(&mut rig), None);
}

impl Rig {
    fn publish_to(&self, path: &str) -> Publisher {
        let key = StreamKey::parse(path).expect("valid");
        let settings = Rc::clone(&self.settings);
        let request = PublishRequest { key, settings, epoch: 7, tag: None };
        let publisher = Publisher::acquire(&self.hub, request, self.now).expect("it is free");
        publisher.set_track(video_track(1), self.now);
        publisher
    }

    fn try_fetch(&mut self, path: &str) -> Result<Viewer, PlayRefused> {
        let key = StreamKey::parse(path).expect("valid");
        let joined = self.try_join(|request| {
            (request.key, request.format, request.fd) = (key, HLS, NO_SOCKET);
        });
        joined.map(|watcher| watcher.viewer)
    }

    fn hls_bytes(&self) -> usize {
        self.node.hls_bytes.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn streams_share_what_the_node_may_keep_and_beyond_it_no_other_is_begun() {
    const MOST: usize = 8 << 20;
    // A second of the large one, which no bound cuts off in its midst.
    const SEGMENT: usize = 25 * LARGE;
    const LARGE: usize = 32 << 10;
    let mut rig = Rig::with(|settings| {
        let segment = Duration::from_secs(1);
        settings.hls = Rc::new(hls::Settings { segment, ..hls::Settings::default() });
        settings.hls_node_max_bytes = MOST;
    });
    let both = [("live/large", LARGE), ("live/small", 100)];
    let publishers = both.map(|(path, len)| (rig.publish_to(path), len));
    let _other = rig.publish_to("live/other");
    let _viewers = both.map(|(path, _)| rig.try_fetch(path).expect("let in"));
    let second = |rig: &mut Rig, done: &dyn Fn(&Rig) -> bool| {
        for _ in 0..25 {
            let at = rig.ms();
            for (publisher, len) in &publishers {
                rig.push(publisher, picture(at, at.is_multiple_of(1000), *len));
            }
            rig.advance(40);
            assert!(rig.hls_bytes() <= MOST + SEGMENT, "{}", rig.hls_bytes());
            if done(rig) {
                return true;
            }
        }
        false
    };
    let is_full = |rig: &Rig| rig.hls_bytes() > MOST;
    // Twelve seconds, the whole window, are more than there is room for.
    assert!((0..15).any(|_| second(&mut rig, &is_full)));
    assert_eq!(rig.totals().hls_cut_short, 0, "until then each has what it wants");
    let refused = rig.try_fetch("live/other").err();
    assert_eq!(refused, Some(PlayRefused::TooManySegments(MOST)));
    assert_eq!(rig.totals().refused_hls, 1);
    drop(rig.try_fetch("live/large").expect("it is there already"));
    // The large one loses what is more than its half, and the small one nothing.
    assert!((0..2).any(|_| second(&mut rig, &|rig| rig.totals().hls_cut_short > 0)));
    assert!(rig.hls_bytes() <= MOST / 2 + SEGMENT, "{}", rig.hls_bytes());
    let listed = |path: &str| {
        let channel = rig.hub.borrow().channel(&StreamKey::parse(path).expect("valid"));
        playlist(&channel.expect("live")).matches("#EXTINF:").count()
    };
    let [large, small] = both.map(|(path, _)| listed(path));
    assert!((1..6).contains(&large) && small >= 10, "{large} and {small}");
    assert!(rig.try_fetch("live/other").is_ok(), "there is room again");
}

#[test]
fn segments_may_be_longer_than_the_longest_by_default() {
    let mut rig = Rig::with(|settings| {
        let segment = Duration::from_secs(12);
        settings.hls = Rc::new(hls::Settings { segment, ..hls::Settings::default() });
    });
    let publisher = rig.publish_av();
    rig.stream(&publisher, 4400, 2000);
    let viewer = rig.fetch();
    assert_eq!(event(&viewer), Some(SinkEvent::Started));
}
