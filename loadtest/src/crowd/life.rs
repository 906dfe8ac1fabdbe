//! The crowd's one thread, turn by turn.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::fetching::Fetching;
use super::lateness::Lateness;
use super::patient::Patient;
use super::retry::{PAUSE_MAX, Retries};
use super::round::Round;
use super::seat::{Seat, State};
use super::sockets::{EventFlags, Ready, Sockets};
use super::source::Sources;
use super::{Count, News, Orders, Outcome, Plan, Second, plan, process_cpu};
use crate::fds;
use crate::inspect::{Findings, Moment};
use crate::report::REASONS;
use crate::viewer::Watched;
use crate::viewer::hls::{Player, Tally};

/// Whoever is not let in by then is refused.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that one read throws away.
const READ_BYTES: usize = 1 << 20;
/// What a slow reader's receive buffer holds.
const SLOW_BUFFER_BYTES: usize = 16 << 10;
/// Connections that are begun before the others are looked at again.
const KNOCKS: usize = 64;
/// Sockets that are looked at in one turn.
const READY_MAX: usize = 1024;
/// What the timer is called among the sockets.
const TIMER: u64 = u64::MAX;

/// A crowd, at work.
pub(super) struct Crowd {
    plan: Plan,
    tell: Sender<News>,
    orders: Arc<Orders>,
    /// Of those that are to be looked at at once, and the timer.
    sockets: Sockets,
    patient: Patient,
    lateness: Lateness,
    sources: Sources,
    seats: Vec<Seat>,
    /// How many of them have come.
    knocked: usize,
    /// Those that have left and come back at once.
    returning: VecDeque<u32>,
    /// Those whom the server did not want.
    retries: Retries,
    /// Slow readers, until when they rest.
    resting: VecDeque<(Instant, Visit)>,
    /// Viewers of HLS that wait for a time, until when; with those that do not any more.
    alarms: BinaryHeap<Reverse<(Instant, Visit)>>,
    /// How many wait to be let in, without those of [`Self::retries`].
    talking: usize,
    watching: usize,
    count: Count,
    reasons: Vec<String>,
    server: Option<String>,
    found: [Findings; 2],
    hls: Tally,
    start: Instant,
    all_in: bool,
    window: Option<Window>,
    /// Seconds that were told.
    told: u32,
    churn: Churn,
    signs_of_life: Round,
    scratch: Vec<u8>,
}

/// The measured time.
struct Window {
    begin: Instant,
    bytes_before: u64,
    cpu_before: Duration,
    /// Sum and number of looks at how many are in.
    watching: (f64, f64),
}

/// One connection in one seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Visit {
    seat: u32,
    generation: u32,
}

/// Who leaves next.
struct Churn {
    since: Instant,
    due: f64,
    /// xorshift64*.
    random: u64,
}

impl Crowd {
    /// Nobody has come yet.
    pub(super) fn new(plan: Plan, tell: Sender<News>, orders: Arc<Orders>) -> io::Result<Self> {
        let Plan { first, viewers, spread, inspect, part, .. } = plan;
        let shares = plan::Shares {
            inspect,
            slow: plan.slow.map_or(0.0, |slow| slow.share),
            small_buffer: plan.small_buffer.map_or(0.0, |small| small.share),
        };
        let roles = plan::roles(first, viewers, plan.targets.len(), spread, shares);
        let sockets = Sockets::new(READY_MAX)?;
        let lateness = Lateness::start()?;
        sockets.add(&lateness, TIMER, EventFlags::IN)?;
        let start = Instant::now();
        Ok(Self {
            sources: Sources::new(part, viewers),
            seats: roles.into_iter().map(Seat::new).collect(),
            churn: Churn { since: start, due: 0.0, random: part as u64 + 1 },
            signs_of_life: Round::new(plan.sign_of_life, start),
            plan,
            tell,
            orders,
            sockets,
            patient: Patient::new(start)?,
            lateness,
            start,
            knocked: 0,
            returning: VecDeque::new(),
            retries: Retries::default(),
            resting: VecDeque::new(),
            alarms: BinaryHeap::new(),
            talking: 0,
            watching: 0,
            count: Count::default(),
            reasons: Vec::new(),
            server: None,
            found: Default::default(),
            hls: Tally::default(),
            all_in: false,
            window: None,
            told: 0,
            scratch: vec![0; READ_BYTES],
        })
    }

    /// Until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<Outcome> {
        while !self.orders.stop.load(Ordering::Relaxed) {
            self.turn()?;
        }
        Ok(self.finish())
    }

    fn turn(&mut self) -> io::Result<()> {
        let (now, ticked) = self.look_at_ready(|crowd| &mut crowd.sockets, self.wait())?;
        while let Some((until, visit)) = self.resting.front().copied()
            && until <= now
        {
            self.resting.pop_front();
            self.watch(visit, EventFlags::IN);
            self.look(visit, now, false);
        }
        while let Some(Reverse((due, visit))) = self.alarms.peek().copied()
            && due <= now
        {
            self.alarms.pop();
            self.wake(visit, due);
        }
        self.admit(now);
        if ticked {
            self.tick(now);
        }
        if let Some(due) = self.patient.due()
            && due <= now
        {
            self.look_at_the_patient(due)?;
        }
        Ok(())
    }

    /// At some of them, as was to be at `due`: the others must not wait for all.
    fn look_at_the_patient(&mut self, due: Instant) -> io::Result<()> {
        self.lateness.patient_looked_at(Instant::now().saturating_duration_since(due));
        self.look_at_ready(|crowd| &mut crowd.patient.sockets, Duration::ZERO)?;
        self.patient.looked_at();
        Ok(())
    }

    /// Looks at those of `sockets` that are ready within `at_most`. When they were, and whether the
    /// timer, if it is one of them, has fired.
    fn look_at_ready(
        &mut self,
        sockets: fn(&mut Self) -> &mut Sockets,
        at_most: Duration,
    ) -> io::Result<(Instant, bool)> {
        let count = sockets(self).wait(at_most)?;
        let now = Instant::now();
        let mut ticked = false;
        for at in 0..count {
            match sockets(self).ready(at) {
                Ready { number: TIMER, .. } => ticked = self.lateness.fired(),
                Ready { number, hung_up } => self.look(Visit::from_u64(number), now, hung_up),
            }
        }
        Ok((now, ticked))
    }

    /// Until something is due that no socket tells; the timer is one that does.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        let rested = self.resting.front().map(|(until, _)| *until);
        let knock = (self.knocked < self.seats.len()).then(|| self.due(self.knocked));
        let knock = if self.returning.is_empty() { knock } else { Some(now) };
        let alarm = self.alarms.peek().map(|Reverse((due, _))| *due);
        let due = [rested, knock, self.retries.next(), self.patient.due(), alarm];
        let next = due.into_iter().flatten().min();
        next.map_or(Lateness::TICK, |next| next.saturating_duration_since(now))
    }

    /// Begins the connections that are due, as many as one turn bears.
    fn admit(&mut self, now: Instant) {
        let due = now.saturating_duration_since(self.start).as_secs_f64() * self.plan.ramp;
        let due = (due as usize).saturating_add(1).min(self.seats.len());
        for _ in 0..KNOCKS {
            match self.returning.pop_front() {
                Some(seat) => self.knock(seat, Instant::now()),
                None if self.knocked < due => {
                    self.knocked += 1;
                    // Not above now: one is let in before its time by rounding.
                    let due = self.due(self.knocked - 1).min(now);
                    self.knock(self.knocked as u32 - 1, due);
                }
                None => match self.retries.pop(now) {
                    Some(seat) => self.knock(seat, now),
                    None => break,
                },
            }
        }
    }

    /// When seat `number` is to be taken for the first time.
    fn due(&self, number: usize) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.plan.ramp)
    }

    fn knock(&mut self, number: u32, due: Instant) {
        let seat = &mut self.seats[number as usize];
        let target = &self.plan.targets[seat.role.stream as usize];
        // The time of connecting counts as the viewer's.
        let since = Moment::now();
        let slow = self.plan.slow.filter(|_| seat.role.slow);
        let small = self.plan.small_buffer.filter(|_| seat.role.small_buffer);
        let buffer = small.map(|small| small.bytes).or(slow.map(|_| SLOW_BUFFER_BYTES));
        seat.bucket = slow.map(|slow| Box::new(Bucket::new(slow.bitrate, since.at)));
        self.talking += usize::from(!seat.tries_again);
        let socket = match self.sources.connect(target.address, buffer) {
            Ok(socket) => socket,
            Err(error) => return self.lose(number, &error),
        };
        match &target.watched {
            Watched::Endless(stream) => {
                let random = self.churn.random();
                seat.sit(socket, stream.open(random, since.at), since, due);
            }
            Watched::Hls(source) => {
                let looks = seat.role.inspects;
                let player = Player::new(Arc::clone(source), looks, since);
                match Fetching::new(socket, player, looks, since, due) {
                    Ok(fetching) => seat.sit_and_fetch(fetching),
                    Err(error) => return self.lose(number, &error),
                }
            }
        }
        let visit = Visit::of(number, seat).to_u64();
        let socket = seat.socket().expect("it has just sat down");
        if let Err(error) = self.sockets.add(socket, visit, EventFlags::OUT) {
            self.lose(number, &error);
        }
    }

    /// Looks at a socket that is ready.
    fn look(&mut self, visit: Visit, now: Instant, hung_up: bool) {
        let seat = &mut self.seats[visit.seat as usize];
        if seat.generation != visit.generation {
            return;
        }
        let findings = &mut self.found[usize::from(seat.role.slow)];
        let look = match seat.look(now, hung_up, &mut self.scratch, findings, &mut self.hls) {
            Ok(look) => look,
            Err(error) => return self.lose(visit.seat, &error),
        };
        self.alarms.extend(seat.new_alarm().map(|due| Reverse((due, visit))));
        self.count.bytes += look.bytes as u64;
        if let Some(server) = look.joined {
            self.watching += 1;
            self.talking -= usize::from(!seat.tries_again);
            match (seat.has_been_in, seat.tries_again) {
                (false, _) => self.count.joined += 1,
                (true, false) => self.count.rejoined += 1,
                (true, true) => self.count.rejoined_after_loss += 1,
            }
            (seat.has_been_in, seat.tries_again) = (true, false);
            seat.in_since_s = now.saturating_duration_since(self.start).as_secs() as u32;
            if self.server.is_none() {
                self.server = server;
            }
            if seat.is_patient() {
                return self.let_wait(visit, now);
            }
        }
        if look.rest {
            self.resting.push_back((now + Bucket::PAUSE, visit));
            self.watch(visit, EventFlags::empty());
        } else if look.asked {
            self.watch(visit, EventFlags::IN);
        }
    }

    /// What a viewer of HLS waited for is due.
    fn wake(&mut self, visit: Visit, due: Instant) {
        let seat = &mut self.seats[visit.seat as usize];
        if seat.generation != visit.generation {
            return;
        }
        if let Err(error) = seat.wake(due) {
            return self.lose(visit.seat, &error);
        }
        self.alarms.extend(seat.new_alarm().map(|due| Reverse((due, visit))));
    }

    /// From now on the kernel tells `flags` of a socket.
    fn watch(&mut self, visit: Visit, flags: EventFlags) {
        let seat = &self.seats[visit.seat as usize];
        if seat.generation == visit.generation
            && let Some(socket) = seat.socket()
        {
            let modified = self.sockets.modify(socket, visit.to_u64(), flags);
            modified.expect("it was added, and is open");
        }
    }

    /// From now on a socket is one of the patient's.
    fn let_wait(&mut self, visit: Visit, now: Instant) {
        self.patient.come(now);
        let seat = &self.seats[visit.seat as usize];
        let socket = seat.socket().expect("it has just been let in");
        let moved = self
            .sockets
            .remove(socket)
            .and_then(|()| self.patient.sockets.add(socket, visit.to_u64(), EventFlags::IN));
        if let Err(error) = moved {
            self.lose(visit.seat, &error);
        }
    }

    /// A viewer is refused, or lost if it was in. It will try again.
    fn lose(&mut self, number: u32, error: &io::Error) {
        let now = Instant::now();
        let seat = &mut self.seats[number as usize];
        if seat.is_in() {
            self.count.lost += 1;
            let age = now.saturating_duration_since(self.start);
            if age >= Duration::from_secs(seat.in_since_s.into()) + PAUSE_MAX {
                seat.pauses = 0;
            }
        } else if !seat.tries_again {
            self.talking -= 1;
            self.count.refused += 1;
        }
        self.free(number, now);
        let seat = &mut self.seats[number as usize];
        self.retries.put(number, seat.pauses, now, self.churn.random());
        seat.pauses = seat.pauses.saturating_add(1);
        seat.tries_again = true;
        let reason = fds::explain(error);
        if self.reasons.len() < REASONS && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Whoever is in that seat goes.
    fn free(&mut self, number: u32, now: Instant) {
        let seat = &mut self.seats[number as usize];
        if seat.is_in() {
            seat.leave(now, &mut self.found[usize::from(seat.role.slow)]);
            self.watching -= 1;
        }
        if seat.is_patient() {
            self.patient.go();
        }
        seat.state = State::Out;
        seat.generation = seat.generation.wrapping_add(1);
    }

    /// What is looked after a few times a second.
    fn tick(&mut self, now: Instant) {
        if let Some(window) = &mut self.window {
            window.watching.0 += self.watching as f64;
            window.watching.1 += 1.0;
        }
        let all_in = self.knocked == self.seats.len() && self.talking == 0;
        if all_in && !self.all_in {
            self.all_in = true;
            self.churn.since = now;
            self.say(News::AllIn(self.count.joined));
        }
        if self.window.is_none() && self.orders.begin.load(Ordering::Relaxed) {
            self.begin();
        }
        if self.all_in {
            self.send_some_out(now);
        }
        self.show_life(now);
        let second = now.saturating_duration_since(self.start).as_secs() as u32;
        if second > self.told {
            self.told = second;
            self.send_off_the_unheard(now);
            let (latency_ms, latencies) = self.found[0].take_second().unzip();
            self.found[1].take_second();
            self.hls.tick(now);
            self.say(News::Second(Second {
                at: now.saturating_duration_since(self.start),
                cpu: process_cpu(),
                watching: self.watching,
                coming: self.talking + self.returning.len(),
                latency_ms,
                latencies: latencies.unwrap_or(0),
                missing: self.found[0].counts.missing,
                count: self.count,
            }));
        }
    }

    fn say(&self, news: News) {
        // Nobody listens any more: the stop is on its way.
        let _ = self.tell.send(news);
    }

    fn begin(&mut self) {
        self.found.iter_mut().for_each(Findings::begin);
        self.hls.begin();
        self.lateness.begin();
        self.seats.iter_mut().for_each(|seat| seat.starves = seat.is_in());
        let (bytes_before, cpu_before) = (self.count.bytes, process_cpu());
        let watching = (self.watching as f64, 1.0);
        self.window = Some(Window { begin: Instant::now(), bytes_before, cpu_before, watching });
        self.say(News::Begun);
    }

    fn send_off_the_unheard(&mut self, now: Instant) {
        for number in 0..self.seats.len() {
            let since = self.seats[number].talking_since();
            if since.is_some_and(|since| now.saturating_duration_since(since) > PATIENCE) {
                let seconds = PATIENCE.as_secs();
                let why = format!("the server did not answer within {seconds} s");
                self.lose(number as u32, &io::Error::new(io::ErrorKind::TimedOut, why));
            }
        }
    }

    /// A few say a word, so that no server takes them for dead.
    fn show_life(&mut self, now: Instant) {
        for number in self.signs_of_life.turns(now, self.seats.len()) {
            let seat = &mut self.seats[number];
            let target = &self.plan.targets[seat.role.stream as usize];
            // Who asks again and again shows it by that.
            let Watched::Endless(stream) = &target.watched else { continue };
            if let Err(error) = seat.show_life(&**stream) {
                self.lose(number as u32, &error);
            }
        }
    }

    /// Those whose turn it is leave, and come back at once.
    fn send_some_out(&mut self, now: Instant) {
        let churn = &mut self.churn;
        let time = now.saturating_duration_since(churn.since);
        churn.since = now;
        churn.due += self.plan.churn * self.watching as f64 * time.as_secs_f64();
        while self.churn.due >= 1.0 {
            self.churn.due -= 1.0;
            // Somebody near the one that is drawn is in, if anybody is.
            let drawn = self.churn.random() as usize;
            let seats = self.seats.len();
            let mut order = (0..seats).map(|step| (drawn % seats + step) % seats);
            let Some(number) = order.find(|number| self.seats[*number].is_in()) else { return };
            self.free(number as u32, now);
            self.seats[number].pauses = 0;
            self.returning.push_back(number as u32);
        }
    }

    fn finish(mut self) -> Outcome {
        let now = Instant::now();
        let mut inspectors = [0; 2];
        let starved = self.seats.iter().filter(|seat| seat.starves && seat.is_in()).count();
        for seat in &self.seats {
            let kind = usize::from(seat.role.slow);
            seat.leave(now, &mut self.found[kind]);
            inspectors[kind] += usize::from(seat.role.inspects && seat.has_been_in);
        }
        let [ordinary, slow] = self.found;
        let begun = self.window.as_ref().map(|window| window.begin);
        let window = self.window.unwrap_or(Window {
            begin: self.start,
            bytes_before: 0,
            cpu_before: Duration::ZERO,
            watching: (self.watching as f64, 1.0),
        });
        Outcome {
            count: self.count,
            reasons: self.reasons,
            server: self.server,
            begin: begun.map(|begin| begin - self.start),
            window: now - window.begin,
            bytes: self.count.bytes - window.bytes_before,
            cpu: process_cpu().saturating_sub(window.cpu_before),
            watching: window.watching.0 / window.watching.1,
            starved,
            busy: self.lateness.busy(),
            found: [(inspectors[0], ordinary), (inspectors[1], slow)],
            hls: self.hls,
        }
    }
}

impl Churn {
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Visit {
    fn of(number: u32, seat: &Seat) -> Self {
        Self { seat: number, generation: seat.generation }
    }

    fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.seat)
    }

    fn from_u64(data: u64) -> Self {
        Self { seat: data as u32, generation: (data >> 32) as u32 }
    }
}
