//! Live events from the ring buffer.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{MapData, RingBuf};
use tokio::io::{Interest, unix::AsyncFd};
use tracer_common::state::TIME_WAIT;

use super::{Account, EventSource, order};
use crate::{
    clock,
    decode::Decoder,
    ebpf::{Probes, SnapshotSource, TimewaitSource},
    engine::{Event, EventBody, LostCount, Mono},
    enrich::{self, CgroupPaths, Means, Sampler, Snapshot},
    filter::Filter,
};

/// After a wake-up the ring is left to fill for so long, so that a busy host wakes us a few dozen
/// times a second, not for every event.
const BATCH_DELAY: Duration = Duration::from_millis(40);

/// A small ring is emptied sooner: before it can fill at this rate.
const FASTEST_FILL: u64 = 400_000_000; // bytes a second: 4 million records

/// Events per batch: so many lie in a core's own cache (half a MB), where the engine finds them again, and
/// leave it to the connections that they are about. Signals and the output get their turn in between.
const BATCH: usize = 4096;

/// The ring is looked at at least so often, woken or not.
const PATIENCE: Duration = Duration::from_secs(1);

/// Stock is taken once a second, a little early or late.
const EARLY: Duration = Duration::from_millis(100);

/// The time that programs which run while they are detached may take to finish.
const GRACE: Duration = Duration::from_millis(5);

/// Looks at sockets, again and again.
struct Looking {
    filter: Filter,
    /// `None`: at the end only.
    every: Option<Duration>,
    /// When the next is due.
    due: Mono,
    /// After a look, none for so many times as long as it took.
    rest: u32,
    /// A bit for each state that is left out.
    without: u32,
    /// That was said.
    has_failed: bool,
}

/// How sockets are looked at again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookOptions {
    /// How often; `None`: at the end only.
    pub every: Option<Duration>,
    /// After a look, none for so many times as long as it took: with many sockets it takes long.
    pub rest: u32,
    /// A bit for each state that is left out; `None`: as in the first look.
    pub without: Option<u32>,
}

/// The attached programs as a source.
pub struct LiveSource {
    probes: Probes,
    ring: AsyncFd<RingBuf<MapData>>,
    decoder: Decoder,
    /// What came before we were there.
    early: Vec<Vec<u8>>,
    cgroups: CgroupPaths,
    /// What looks at sockets are taken with; `None`: nothing works.
    eyes: Option<SnapshotSource>,
    /// Looks at minisocks, where nothing tells of them.
    sampler: Option<Sampler>,
    /// Looks at all sockets.
    looking: Option<Looking>,
    /// What was there before, until the first events are.
    snapshot: Vec<Event>,
    delay: Duration,
    /// The ring is known to hold something.
    ready: bool,
    stopped: bool,
    undecoded: u64,
    told: LostCount,
}

impl LiveSource {
    /// Takes over the attached programs, and looks at what is there.
    pub fn new(mut probes: Probes, filter: &Filter) -> Result<Self> {
        let eyes = eyes(&probes)?;
        let without = probes.snapshot().without;
        // Without them the trace works all the same, and knows less.
        let seen = look(eyes, &mut probes, without, filter).unwrap_or_else(|error| {
            log::warn!("sockets older than the trace are not known: {error:#}");
            Snapshot::default()
        });
        if !seen.unseen.is_nothing() {
            let unseen = seen.unseen;
            log::warn!("sockets older than the trace are not all known: {unseen}");
        }
        let mut snapshot = seen.events;
        snapshot.extend(enrich::sysctls());
        let (ring, early) = probes.take_ring()?;
        let micros = u64::from(probes.ring_size()) * 1_000_000 / FASTEST_FILL;
        Ok(Self {
            ring: poll(ring)?,
            decoder: probes.decoder(),
            early,
            snapshot,
            cgroups: CgroupPaths::default(),
            sampler: (probes.timewait() == Some(TimewaitSource::Sampling))
                .then(|| Sampler::new(filter.clone())),
            looking: None,
            delay: BATCH_DELAY.min(Duration::from_micros(micros)),
            probes,
            eyes,
            ready: false,
            stopped: false,
            undecoded: 0,
            told: LostCount::default(),
        })
    }

    /// The programs, to ask what they stand on.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// Where looks at sockets come from.
    pub fn snapshot(&self) -> Option<SnapshotSource> {
        self.eyes
    }

    /// Looks at sockets again: every so often, and at the end.
    pub fn look_again(&mut self, filter: Filter, options: LookOptions) {
        let every = options.every;
        let due = every.map_or(Mono(u64::MAX), |every| clock::monotonic().plus(every));
        let first = self.probes.snapshot().without;
        self.looking = Some(Looking {
            filter,
            every,
            due,
            rest: options.rest,
            without: options.without.unwrap_or(first),
            has_failed: false,
        });
    }

    /// Appends what a look shows, in order with what happened during it.
    fn look_now(&mut self, looking: &mut Looking, events: &mut Vec<Event>) {
        let first = events.len();
        let mut without = looking.without;
        if self.stopped && self.probes.timewait() == Some(TimewaitSource::Timer) {
            // A minisock that waited for a FIN, and has got it, is in TIME_WAIT: of that a timer tells no
            // more than that it was set anew, if at all.
            without &= !(1 << TIME_WAIT);
        }
        let seen = look(self.eyes, &mut self.probes, without, &looking.filter);
        let seen = seen.unwrap_or_else(|error| {
            // Once: it will fail as often as it is tried.
            if !std::mem::replace(&mut looking.has_failed, true) {
                log::warn!("looking at the sockets again: {error:#}; why some wait is not known");
            }
            Snapshot::default()
        });
        let mut seen = seen.events;
        while !self.drain(events) {}
        order::merge(events, first, &mut seen);
        self.cgroups.tell(events, first);
    }

    /// Takes one batch out of the ring; whether that emptied it. A watermark says how far the events
    /// reach.
    fn drain(&mut self, events: &mut Vec<Event>) -> bool {
        let began = clock::monotonic();
        let first = events.len();
        for record in std::mem::take(&mut self.early) {
            self.undecoded += u64::from(!take(&self.decoder, &record, events));
        }
        let ring = self.ring.get_mut();
        let mut emptied = false;
        // All that came during the snapshot is to be put in order with it.
        let batch = if self.snapshot.is_empty() {
            BATCH
        } else {
            usize::MAX
        };
        for _ in 0..batch {
            let Some(record) = ring.next() else {
                emptied = true;
                break;
            };
            self.undecoded += u64::from(!take(&self.decoder, &record, events));
        }
        if !self.snapshot.is_empty() {
            // Where each belongs: a socket that was met in the ring before is not an older one.
            order::merge(events, 0, &mut self.snapshot);
        }
        self.cgroups.tell(events, first);
        if let Some(at) = reach(emptied, began, &events[first..]) {
            events.push(Event {
                at,
                body: EventBody::Watermark,
            });
        }
        self.probes.flush_log();
        emptied
    }
}

/// What looks are taken with: what was asked for, else the best that works.
pub fn eyes(probes: &Probes) -> Result<Option<SnapshotSource>> {
    let forced = probes.snapshot().forced;
    if probes.has_iterators() && forced != Some(SnapshotSource::SockDiag) {
        return Ok(Some(SnapshotSource::Iterators));
    }
    if forced == Some(SnapshotSource::Iterators) {
        return Err(anyhow!(
            "--snapshot-source iterators: the iterators over sockets and files can't be used here; \
             'tcpdwell check' says why"
        ));
    }
    match (enrich::try_sock_diag(), forced) {
        (Ok(()), _) => Ok(Some(SnapshotSource::SockDiag)),
        (Err(error), Some(_)) => Err(error.context("--snapshot-source sock_diag")),
        (Err(error), None) => {
            log::warn!("sockets older than the trace are not known: {error:#}");
            Ok(None)
        }
    }
}

fn means(eyes: Option<SnapshotSource>, probes: &mut Probes) -> Option<Means<'_>> {
    match eyes? {
        SnapshotSource::Iterators => Some(Means::Iterators(probes)),
        SnapshotSource::SockDiag => Some(Means::SockDiag),
    }
}

/// The sockets that are there.
fn look(
    eyes: Option<SnapshotSource>,
    probes: &mut Probes,
    without: u32,
    filter: &Filter,
) -> Result<Snapshot> {
    let began = clock::monotonic();
    let Some(means) = means(eyes, probes) else {
        return Ok(Snapshot::default());
    };
    let snapshot = enrich::take(means, without, filter)?;
    log::debug!(
        "snapshot: {} sockets and processes in {} network namespaces, {:.1} ms",
        snapshot.events.len(),
        snapshot.namespaces,
        clock::monotonic().since(began).as_secs_f64() * 1000.0
    );
    Ok(snapshot)
}

/// Up to when everything has come. Where more is made than is taken, time goes on all the same: what is
/// in the ring behind the latest may be from a little before it.
fn reach(emptied: bool, began: Mono, batch: &[Event]) -> Option<Mono> {
    const LATE: Duration = Duration::from_secs(1);
    if emptied {
        return Some(began);
    }
    batch.last().map(|event| event.at.minus(LATE))
}

/// Takes one record in; whether it could be understood.
#[inline]
fn take(decoder: &Decoder, record: &[u8], events: &mut Vec<Event>) -> bool {
    match decoder.event(record) {
        Ok(event) => {
            events.push(event);
            true
        }
        Err(error) => {
            log::debug!("a record can't be understood: {error:?}");
            false
        }
    }
}

/// Puts the ring buffer under the runtime's eye.
#[expect(
    unsafe_code,
    reason = "tokio has no safe way to register a descriptor that it does not own"
)]
fn poll(ring: RingBuf<MapData>) -> Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: `RingBuf` owns its map's descriptor, always returns that one, and is dropped with the
    // `AsyncFd`.
    let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    registered.map_err(|error| anyhow!("polling the ring buffer: {error}"))
}

impl std::fmt::Debug for LiveSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveSource")
            .field("probes", &self.probes)
            .finish_non_exhaustive()
    }
}

impl EventSource for LiveSource {
    async fn next_batch(&mut self, wake_by: Option<Mono>, events: &mut Vec<Event>) -> Result<bool> {
        if !self.ready {
            let patience = wake_by.map(|by| by.since(clock::monotonic()));
            let patience = patience.unwrap_or(PATIENCE).min(PATIENCE);
            if let Ok(guard) = tokio::time::timeout(patience, self.ring.readable()).await {
                // Cleared before the ring is read: what comes later makes it ready again. And
                // remembered, in case we are dropped in the sleep: the kernel wakes a reader once,
                // until it has caught up.
                guard.context("polling the ring buffer")?.clear_ready();
                self.ready = true;
                tokio::time::sleep(self.delay).await;
            }
        }
        self.ready = !self.drain(events);
        Ok(true)
    }

    fn take_stock(&mut self, events: &mut Vec<Event>) -> Result<()> {
        events.push(clock::anchor());
        if !self.snapshot.is_empty() {
            // Where nothing happens nobody waits for it in vain.
            let mut there = Vec::new();
            while !self.drain(&mut there) {}
            events.append(&mut there);
        }
        if let Some(mut sampler) = self.sampler.take() {
            let first = events.len();
            let mut seen = Vec::new();
            let looked = means(self.eyes, &mut self.probes)
                .context("sampling TIME_WAIT: nothing to look with")
                .and_then(|means| sampler.look(means, &mut seen));
            self.sampler = Some(sampler);
            looked?;
            // A socket's close comes before its minisock is seen, and may have been made during the
            // look.
            while !self.drain(events) {}
            order::merge(events, first, &mut seen);
        }
        if let Some(mut looking) = self.looking.take() {
            let now = clock::monotonic();
            if self.stopped || now.plus(EARLY) >= looking.due {
                self.look_now(&mut looking, events);
                if let Some(every) = looking.every {
                    let took = clock::monotonic().since(now);
                    looking.due = now.plus(every.max(took * looking.rest));
                }
            }
            self.looking = Some(looking);
        }
        let lost = self.account()?.lost;
        let news = lost.since(&self.told);
        if news.total() > 0 {
            self.told = lost;
            events.push(Event {
                at: clock::monotonic(),
                body: EventBody::Lost(news),
            });
        }
        Ok(())
    }

    async fn finish(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        if !self.stopped {
            self.stopped = true;
            self.probes.detach();
            tokio::time::sleep(GRACE).await;
        }
        let emptied = self.drain(events);
        if emptied {
            self.take_stock(events)?;
        }
        Ok(!emptied)
    }

    fn account(&mut self) -> Result<Account> {
        let mut account = self.probes.account()?;
        account.lost.decode = self.undecoded;
        Ok(account)
    }
}
