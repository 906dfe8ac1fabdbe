//! What a core says of itself.

use super::*;

impl Rig {
    /// As if the core had run for `cpu_ms` of the time so far.
    fn snapshot(&self, cpu_ms: u64) -> CoreSnapshot {
        let times = CoreTimes {
            core: 3,
            uptime: self.now - self.base,
            cpu: Duration::from_millis(cpu_ms),
            waited: Duration::ZERO,
        };
        self.hub.borrow().snapshot(self.now, times)
    }

    fn publish_other(&self, name: &str) -> Publisher {
        let settings = Rc::clone(&self.settings);
        let key = StreamKey::new("live", name).expect("valid");
        let request = PublishRequest { key, settings, epoch: 7, tag: None };
        let publisher = Publisher::acquire(&self.hub, request, self.now).expect("free");
        publisher.set_track(video_track(1), self.now);
        publisher.set_track(audio_track(1), self.now);
        publisher
    }

    /// One visit that takes `us` until the loop looks at the clock again.
    fn visit(&mut self, us: u64) {
        let mut hub = self.hub.borrow_mut();
        let id = hub.next_visit(self.now).expect("one is due");
        let (_, slices) = hub.slices(id, self.now);
        let offered = slices.iter().map(|slice| slice.len()).sum();
        drop(slices);
        hub.wrote(id, offered, Outcome::Wrote(offered), self.now);
        self.now += Duration::from_micros(us);
    }
}

fn percent(rates: &Rates) -> f64 {
    (rates.cpu_percent * 10.0).round() / 10.0
}

#[test]
fn viewers_count_from_their_seat_to_their_leave_and_not_while_they_wait() {
    let mut rig = Rig::new();
    let early = rig.join();
    rig.advance(1000);
    let publisher = rig.publish_av();
    let late = rig.join();
    rig.advance(1000);
    drop(early);
    rig.advance(500);
    let CoreSnapshot { totals, streams, .. } = rig.snapshot(0);
    assert_eq!((totals.sinks, totals.viewers, totals.viewer_us), (1, 1, 2_500_000));
    assert_eq!((streams[0].viewers, streams[0].viewer_us), (1, 2_500_000));
    late.viewer.select(Selection { audio: false, video: true }, rig.now);
    rig.advance(100);
    assert_eq!(rig.snapshot(0).totals.viewer_us, 2_600_000, "other tracks, the same viewer");
    drop((late, publisher));
    rig.advance(20_000);
    let CoreSnapshot { totals, streams, .. } = rig.snapshot(0);
    assert_eq!((totals.viewers, totals.viewer_us, streams.len()), (0, 2_600_000, 0));
}

#[test]
fn each_visit_is_its_streams_until_the_clock_is_looked_at_again() {
    let mut rig = Rig::new();
    let (one, other) = (rig.publish_av(), rig.publish_other("b"));
    let of_other = StreamKey::new("live", "b").expect("valid");
    let _watchers = [rig.join(), rig.join_with(|request| request.key = of_other.clone())];
    rig.run();
    rig.push(&one, picture(0, true, 10));
    rig.push(&other, picture(0, true, 10));
    rig.now += Duration::from_millis(350);
    // Both viewers wait for this key frame, each in its stream's sweep.
    rig.visit(100);
    rig.visit(40);
    let now = rig.now;
    assert_eq!(rig.hub.borrow_mut().next_visit(now), None);
    // What comes between two turns of the loop is nobody's.
    rig.now += Duration::from_millis(9);
    let now = rig.now;
    rig.hub.borrow_mut().end_flush_turn(now);
    let CoreSnapshot { totals, streams, .. } = rig.snapshot(0);
    let mut spent: Vec<_> = streams.iter().map(|stream| stream.flush_ns).collect();
    spent.sort_unstable();
    assert_eq!((spent, totals.flush_ns), (vec![40_000, 100_000], 140_000));
}

#[test]
fn a_turn_is_its_streams_if_it_published_and_otherwise_nobodys() {
    let rig = Rig::new();
    let publisher = rig.publish_av();
    rig.hub.borrow_mut().end_ingest_turn(|| panic!("nobody published"));
    rig.push(&publisher, picture(0, true, 10));
    rig.hub.borrow_mut().end_ingest_turn(|| Duration::from_micros(7));
    rig.hub.borrow_mut().end_ingest_turn(|| panic!("it is counted"));
    let CoreSnapshot { totals, streams, .. } = rig.snapshot(0);
    assert_eq!((streams[0].ingest_ns, totals.ingest_ns), (7000, 7000));
}

#[test]
fn the_streams_of_a_core_share_its_cpu_as_their_turns_are() {
    let mut rig = Rig::new();
    let (one, other) = (rig.publish_av(), rig.publish_other("b"));
    let _watchers = [rig.join(), rig.join()];
    rig.advance(1000);
    let turn = |publisher: &Publisher, ms| {
        rig.push(publisher, picture(0, true, 1250));
        rig.hub.borrow_mut().end_ingest_turn(|| Duration::from_millis(ms));
    };
    turn(&one, 100);
    let before = rig.snapshot(400).since(None);
    assert_eq!(percent(&before.rates), 40.0);
    turn(&one, 30);
    turn(&other, 10);
    rig.advance(2000);
    let now = rig.snapshot(600).since(Some(&before));
    assert_eq!(now.rates.over_s, 2.0);
    assert_eq!(percent(&now.rates), 10.0);
    assert_eq!(now.rates.viewers_mean, 2.0);
    let per_1000 = now.rates.cpu_per_1000_viewers_percent.expect("two watch");
    assert!((4999.0..5001.0).contains(&per_1000), "{per_1000}");
    assert_eq!(now.rates.ingest_bit_s, 10_000.0);
    let of = |name: &str| {
        let stream = now.streams.iter().find(|stream| stream.stream.name() == name);
        stream.expect("it is there").rates
    };
    assert_eq!((percent(&of("a")), percent(&of("b"))), (7.5, 2.5));
    assert_eq!(of("b").cpu_per_1000_viewers_percent, None, "nobody watches it");
}

#[test]
fn lateness_sweeps_and_batches_are_told_of_the_interval() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let _watchers = [rig.join(), rig.join()];
    rig.push(&publisher, picture(0, true, 100));
    rig.advance(1000);
    let before = rig.snapshot(0);
    rig.push(&publisher, picture(40, false, 100));
    // Due in 350 ms; the loop comes 5 ms late, and its visits take 2 ms and 3 ms.
    rig.now += Duration::from_millis(355);
    rig.visit(2000);
    rig.visit(3000);
    rig.run();
    let now = rig.snapshot(0).since(Some(&before));
    let (lag, sweep) = (now.loop_lag, now.sweep);
    assert_eq!((lag.count, sweep.count), (1, 1));
    assert!((5.0..5.1).contains(&lag.max_ms) && (5.0..5.1).contains(&sweep.max_ms), "{now:?}");
    assert_eq!(now.viewers_per_sweep, 2.0);
    let tag = 11.0 + 5.0 + 100.0 + 4.0;
    assert_eq!(now.bytes_per_write, tag);
}

#[test]
fn the_window_in_force_is_told_with_what_widened_it() {
    let rig = Rig::new();
    let _publisher = rig.publish_av();
    assert_eq!(rig.snapshot(0).streams[0].window_ms, 350.0);
    for _ in 0..9 {
        rig.hub.borrow_mut().second(0.95, Duration::ZERO);
    }
    let CoreSnapshot { pressure, streams, .. } = rig.snapshot(0);
    assert_eq!(streams[0].window_ms, 1000.0);
    let expected = PressureSnapshot { step: 8, widest_step: 8, refuses_newcomers: true };
    assert_eq!(pressure, expected);
}

#[test]
fn a_snapshot_keeps_its_names() {
    let mut rig = Rig::new();
    let _publisher = rig.publish_av();
    let _watcher = rig.join();
    let json = serde_json::to_value(rig.snapshot(0).since(None)).expect("plain values");
    let keys = |value: &serde_json::Value| {
        let keys = value.as_object().expect("an object").keys().map(String::as_str);
        keys.collect::<Vec<_>>().join(" ")
    };
    let rates = "cpu_per_1000_viewers_percent cpu_percent egress_bit_s ingest_bit_s over_s \
                 viewers_mean";
    let quantiles = "count max_ms p50_ms p90_ms p99_ms";
    assert_eq!(
        keys(&json),
        "apps blocked_writes bytes_per_write core cpu_s cpu_waited_percent cpu_waited_s egress_bytes \
         flush_ns gop_bytes gop_overgrown hls_bytes hls_cut_short hls_forced hls_gaps hls_overgrown \
         ingest_bytes ingest_ns jumps log_bytes loop_lag \
         not_found outputs overruns pinned_out pressure rates refused_full refused_hls refused_overloaded refused_waiting \
         short_writes sinks skips sources stalls streams sweep sweeps swept_viewers transes \
         uptime_s viewer_us viewers viewers_per_sweep writes"
    );
    assert_eq!(keys(&json["pressure"]), "refuses_newcomers step widest_step");
    assert_eq!(
        (keys(&json["loop_lag"]), keys(&json["sweep"])),
        (quantiles.into(), quantiles.into())
    );
    assert_eq!(keys(&json["rates"]), rates);
    let stream = &json["streams"][0];
    assert_eq!(
        keys(stream),
        "age_s egress_bytes flush_ns frames frames_dropped ingest_bytes ingest_ns rates serial \
         skips state stream viewer_us viewers waiting window_ms"
    );
    assert_eq!((&stream["stream"], &stream["state"]), (&"live/a".into(), &"live".into()));
    assert_eq!(keys(&stream["rates"]), rates);
}

#[test]
fn viewers_and_bytes_are_told_by_output_and_their_sum_is_that_of_the_core() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let rtmp = Format::Rtmp { chunk_size: 60_000, hevc: HevcForm::Enhanced };
    let of_rtmp = rig.join_with(|request| request.format = rtmp);
    let of_ws = rig.join_with(|request| request.framing = Framing::WebSocket);
    let _of_http = [rig.join(), rig.join_with(|request| request.framing = Framing::Chunked)];
    rig.push(&publisher, picture(0, true, 1000));
    rig.advance(1000);
    let CoreSnapshot { totals, outputs, .. } = rig.snapshot(0);
    let told: Vec<_> = outputs.iter().map(|it| (it.protocol, it.viewers, it.plays)).collect();
    let of_others = [("http", 0, 0), ("ws", 0, 0)].repeat(2);
    let of_these = [("rtmp", 1, 1), ("http", 2, 2), ("ws", 1, 1)];
    assert_eq!(told, [&of_these[..], &of_others, &[("http", 0, 0)]].concat());
    let bytes: Vec<_> = outputs.iter().map(|output| output.egress_bytes).collect();
    assert_eq!(bytes[0], of_rtmp.viewer.stats().bytes);
    assert_eq!(bytes[2], of_ws.viewer.stats().bytes);
    assert!(bytes[2] > 1000 && bytes.iter().sum::<u64>() == totals.egress_bytes);
    of_ws.viewer.select(Selection { audio: false, video: true }, rig.now);
    rig.advance(100);
    drop(of_rtmp);
    let outputs = rig.snapshot(0).outputs;
    let told: Vec<_> = outputs.iter().map(|output| (output.viewers, output.plays)).collect();
    assert_eq!(
        told[..3],
        [(0, 1), (2, 2), (1, 1)],
        "who leaves is no viewer; other tracks are no play"
    );
    assert!(told[3..].iter().all(|of_others| *of_others == (0, 0)));
}

#[test]
fn an_app_keeps_the_counts_of_streams_that_have_ended() {
    let mut rig = Rig::new();
    let waiting = rig.join_with(|request| {
        request.key = StreamKey::new("unpublished", "x").expect("valid");
    });
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 1000));
    rig.advance(1000);
    let apps = rig.snapshot(0).apps;
    let names: Vec<_> = apps.iter().map(|app| (&*app.app, app.streams, app.viewers)).collect();
    assert_eq!(names, [("*", 0, 0), ("live", 1, 1)], "an app without a publisher has no name");
    let sent = apps[1].egress_bytes;
    assert_eq!((sent, apps[1].frames), (watcher.viewer.stats().bytes, 1));
    drop((watcher, publisher, waiting));
    rig.advance(20_000);
    let gone = rig.snapshot(0);
    assert_eq!(gone.streams.len(), 0);
    let live = &gone.apps[1];
    assert_eq!((live.streams, live.viewers, live.frames, live.egress_bytes), (0, 0, 1, sent));
    assert_eq!(live.viewer_us, gone.totals.viewer_us);
}

#[test]
fn a_viewer_is_behind_by_what_the_log_holds_for_it_also_after_its_end() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 1000));
    rig.advance(1000);
    let lag = |watcher: &Watcher| {
        let stats = watcher.viewer.stats();
        (stats.lag_ms, stats.lag_bytes)
    };
    assert_eq!(lag(&watcher), (0, 0));
    rig.socket(&watcher).room = 0;
    rig.push(&publisher, picture(1000, true, 1000));
    rig.advance(1000);
    rig.push(&publisher, picture(3000, true, 1000));
    rig.advance(1000);
    let tag = 11 + 5 + 1000 + 4;
    assert_eq!(lag(&watcher), (2000, 2 * tag));
    // Inside the older of the two.
    rig.socket(&watcher).room = 100;
    rig.advance(500);
    assert_eq!(lag(&watcher), (2000, 2 * tag - 100));
    rig.advance(30_000);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    let end = watcher.event();
    assert!(matches!(end, Some(SinkEvent::Ended(SinkEnd::Stalled(_)))), "{end:?}");
    assert_eq!(lag(&watcher), (2000, 2 * tag - 100));
}
