//! The payload of a block of events, to and from bytes: columns for what comes often, a dictionary of
//! flows and one of processes, differences of times. Events keep their order, to the last.

use hashbrown::HashMap;

use super::{
    bytes::{Corrupt, Cursor, put_bytes, put_delta, put_varint},
    codes::{reason, reason_code, source, source_code},
    flows::{Flow, FlowDecoder, FlowEncoder},
    ledger::Ledger,
    rare,
    sections::{Section, Sections, put_section},
};
use crate::engine::{
    Event, EventBody, Evidence, Held, Minisock, Mono, SockId, StateChange, TcpState, TimewaitEnd,
};

/// Which columns an event takes from. The numbers never change.
mod kind {
    pub(super) const CHANGE: u8 = 0;
    pub(super) const END: u8 = 1;
    pub(super) const HELD: u8 = 2;
    pub(super) const WATERMARK: u8 = 3;
    pub(super) const RARE: u8 = 4;
}

/// What else there is of a state change.
mod flag {
    pub(super) const TWIN: u8 = 1 << 0;
    pub(super) const UNWANTED: u8 = 1 << 1;
    pub(super) const EVIDENCE: u8 = 1 << 2;
    pub(super) const PID: u8 = 1 << 3;
    /// Two bits: 0 none, 1 made, 2 refused, 3 unseen.
    pub(super) const MINISOCK: u8 = 4;
    pub(super) const ALL: u8 = (1 << 6) - 1;
}

/// What else there is of a minisock's end.
mod end {
    pub(super) const EXACT: u8 = 1 << 0;
    pub(super) const STAMP: u8 = 1 << 1;
    pub(super) const TIMER: u8 = 1 << 2;
    pub(super) const ALL: u8 = (1 << 3) - 1;
}

/// What the socket said.
mod said {
    pub(super) const SHUT_BOTH: u8 = 1 << 0;
    pub(super) const HAS_FILE: u8 = 1 << 1;
    pub(super) const DEAD: u8 = 1 << 2;
    pub(super) const BY_STACK: u8 = 1 << 3;
    pub(super) const ALL: u8 = (1 << 4) - 1;
}

/// Gathers the events of one block.
#[derive(Debug, Default)]
pub struct EventsEncoder {
    count: u32,
    first: u64,
    last: u64,
    time: u64,
    tw: u64,
    flows: FlowEncoder,
    pid_places: HashMap<u32, u32>,
    kinds: Vec<u8>,
    times: Vec<u8>,
    states: Vec<u8>,
    change_flags: Vec<u8>,
    flow_refs: Vec<u8>,
    pid_refs: Vec<u8>,
    pids: Vec<u8>,
    evidence: Vec<u8>,
    minisocks: Vec<u8>,
    ends: Vec<u8>,
    held: Vec<u8>,
    rare: Vec<u8>,
    one: Vec<u8>,
}

impl EventsEncoder {
    /// Events so far.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Earliest and latest time so far.
    pub const fn span(&self) -> (u64, u64) {
        (self.first, self.last)
    }

    /// Bytes of the parts that have no bound per event.
    pub const fn rare_len(&self) -> usize {
        self.rare.len()
    }

    /// Takes one in.
    #[inline]
    pub fn push(&mut self, event: &Event) {
        let at = event.at.0;
        if self.count == 0 {
            (self.first, self.last) = (at, at);
        }
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        self.count += 1;
        put_delta(&mut self.times, &mut self.time, at);
        match &event.body {
            EventBody::StateChange(change) => self.change(change),
            EventBody::TimewaitEnd(end) => self.end(at, end),
            EventBody::Held(held) => self.held(held),
            EventBody::Watermark => self.kinds.push(kind::WATERMARK),
            other => self.other(other),
        }
    }

    #[inline]
    fn change(&mut self, change: &StateChange) {
        self.kinds.push(kind::CHANGE);
        self.states
            .push(((change.from as u8) << 4) | change.to as u8);
        let flow = Flow {
            sock: change.sock.0,
            cookie: change.cookie,
            tuple: change.tuple,
            netns: change.netns,
        };
        self.flows.refer(&flow, &mut self.flow_refs);
        let mut flags = 0;
        if change.twin {
            flags |= flag::TWIN;
        }
        if change.unwanted {
            flags |= flag::UNWANTED;
        }
        if change.pid != 0 {
            flags |= flag::PID;
            self.pid(change.pid);
        }
        if let Some(evidence) = &change.evidence {
            flags |= flag::EVIDENCE;
            self.say(evidence);
        }
        match change.minisock {
            None => {}
            Some(Minisock::Made { tw, state }) => {
                flags |= 1 << flag::MINISOCK;
                put_delta(&mut self.minisocks, &mut self.tw, tw.0);
                self.minisocks.push(state as u8);
            }
            Some(Minisock::Refused(reason)) => {
                flags |= 2 << flag::MINISOCK;
                self.minisocks.push(reason_code(reason));
            }
            Some(Minisock::Unseen) => flags |= 3 << flag::MINISOCK,
        }
        self.change_flags.push(flags);
    }

    fn say(&mut self, evidence: &Evidence) {
        let Evidence {
            err,
            shut_both,
            has_file,
            dead,
            unread,
            by_stack,
        } = *evidence;
        let mut bits = 0;
        for (is, bit) in [
            (shut_both, said::SHUT_BOTH),
            (has_file, said::HAS_FILE),
            (dead, said::DEAD),
            (by_stack.is_some(), said::BY_STACK),
        ] {
            if is {
                bits |= bit;
            }
        }
        self.evidence.push(bits);
        put_varint(&mut self.evidence, u64::from(err));
        put_varint(&mut self.evidence, u64::from(unread));
        self.evidence.extend(by_stack.map(reason_code));
    }

    fn end(&mut self, at: u64, ended: &TimewaitEnd) {
        self.kinds.push(kind::END);
        let flow = Flow {
            sock: ended.tw.0,
            cookie: ended.cookie,
            tuple: ended.tuple,
            netns: ended.netns,
        };
        self.flows.refer(&flow, &mut self.flow_refs);
        let mut flags = 0;
        for (is, bit) in [
            (ended.exact, end::EXACT),
            (ended.stamp.is_some(), end::STAMP),
            (ended.timer_set.is_some(), end::TIMER),
        ] {
            if is {
                flags |= bit;
            }
        }
        let fixed = [flags, ended.state as u8, reason_code(ended.reason)];
        self.ends.extend(fixed);
        for moment in [ended.stamp, ended.timer_set].into_iter().flatten() {
            put_delta(&mut self.ends, &mut at.clone(), moment.0);
        }
    }

    fn held(&mut self, held: &Held) {
        self.kinds.push(kind::HELD);
        let (sock, cookie) = (held.sock.0, held.cookie);
        if !self.flows.refer_known(sock, cookie, &mut self.flow_refs) {
            put_varint(&mut self.held, sock);
            put_varint(&mut self.held, cookie);
        }
        self.held.push(source_code(held.source));
        self.pid(held.pid);
    }

    fn pid(&mut self, pid: u32) {
        if let Some(place) = self.pid_places.get(&pid) {
            put_varint(&mut self.pid_refs, u64::from(*place) + 1);
            return;
        }
        put_varint(&mut self.pid_refs, 0);
        put_varint(&mut self.pids, u64::from(pid));
        let place = u32::try_from(self.pid_places.len()).unwrap_or(u32::MAX);
        self.pid_places.insert(pid, place);
    }

    fn other(&mut self, body: &EventBody) {
        self.one.clear();
        let Some(number) = rare::put(body, &mut self.one) else {
            return;
        };
        self.kinds.push(kind::RARE);
        put_varint(&mut self.rare, number);
        put_bytes(&mut self.rare, &self.one);
    }

    /// Appends the payload, and begins anew.
    pub fn finish(&mut self, ledger: &Ledger, out: &mut Vec<u8>) {
        self.one.clear();
        ledger.put(&mut self.one);
        for (section, bytes) in [
            (Section::Ledger, &self.one),
            (Section::Kinds, &self.kinds),
            (Section::Times, &self.times),
            (Section::States, &self.states),
            (Section::ChangeFlags, &self.change_flags),
            (Section::FlowRefs, &self.flow_refs),
            (Section::PidRefs, &self.pid_refs),
            (Section::Pids, &self.pids),
            (Section::Evidence, &self.evidence),
            (Section::Minisocks, &self.minisocks),
            (Section::Ends, &self.ends),
            (Section::Held, &self.held),
            (Section::Rare, &self.rare),
        ] {
            put_section(out, section, bytes);
        }
        for (section, bytes) in self.flows.sections() {
            put_section(out, section, bytes);
        }
        self.clear();
    }

    fn clear(&mut self) {
        (self.count, self.time, self.tw) = (0, 0, 0);
        self.flows.clear();
        self.pid_places.clear();
        for column in [
            &mut self.kinds,
            &mut self.times,
            &mut self.states,
            &mut self.change_flags,
            &mut self.flow_refs,
            &mut self.pid_refs,
            &mut self.pids,
            &mut self.evidence,
            &mut self.minisocks,
            &mut self.ends,
            &mut self.held,
            &mut self.rare,
        ] {
            column.clear();
        }
    }
}

/// What a payload holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// What stands beside the events.
    pub ledger: Ledger,
    /// Events of a newer tool, left out.
    pub unknown: u32,
}

/// Appends the events of a payload; on an error none of them.
pub fn decode(payload: &[u8], count: u32, events: &mut Vec<Event>) -> Result<Decoded, Corrupt> {
    let before = events.len();
    let decoded = EventsDecoder::new(payload).and_then(|decoder| decoder.all(count, events));
    if decoded.is_err() {
        events.truncate(before);
    }
    decoded
}

/// Flags, none of which is of a newer tool: what stands behind them could not be told apart.
fn known(flags: u8, all: u8) -> Result<u8, Corrupt> {
    if flags & !all == 0 {
        Ok(flags)
    } else {
        Err(Corrupt("it holds what this tool does not know"))
    }
}

struct EventsDecoder<'a> {
    ledger: Ledger,
    time: u64,
    tw: u64,
    flows: FlowDecoder<'a>,
    known_pids: Vec<u32>,
    kinds: Cursor<'a>,
    times: Cursor<'a>,
    states: Cursor<'a>,
    change_flags: Cursor<'a>,
    flow_refs: Cursor<'a>,
    pid_refs: Cursor<'a>,
    pids: Cursor<'a>,
    evidence: Cursor<'a>,
    minisocks: Cursor<'a>,
    ends: Cursor<'a>,
    held: Cursor<'a>,
    rare: Cursor<'a>,
}

impl<'a> EventsDecoder<'a> {
    fn new(payload: &'a [u8]) -> Result<Self, Corrupt> {
        let sections = Sections::parse(payload)?;
        Ok(Self {
            ledger: Ledger::get(sections.get(Section::Ledger))?,
            time: 0,
            tw: 0,
            flows: FlowDecoder::new(&sections),
            known_pids: Vec::new(),
            kinds: sections.get(Section::Kinds),
            times: sections.get(Section::Times),
            states: sections.get(Section::States),
            change_flags: sections.get(Section::ChangeFlags),
            flow_refs: sections.get(Section::FlowRefs),
            pid_refs: sections.get(Section::PidRefs),
            pids: sections.get(Section::Pids),
            evidence: sections.get(Section::Evidence),
            minisocks: sections.get(Section::Minisocks),
            ends: sections.get(Section::Ends),
            held: sections.get(Section::Held),
            rare: sections.get(Section::Rare),
        })
    }

    fn all(mut self, count: u32, events: &mut Vec<Event>) -> Result<Decoded, Corrupt> {
        let mut unknown = 0;
        for _ in 0..count {
            let kind = self.kinds.byte()?;
            let at = self.times.delta(&mut self.time)?;
            let body = match kind {
                kind::CHANGE => EventBody::StateChange(self.change()?),
                kind::END => EventBody::TimewaitEnd(self.end(at)?),
                kind::HELD => EventBody::Held(self.held()?),
                kind::WATERMARK => EventBody::Watermark,
                kind::RARE => {
                    let number = self.rare.varint()?;
                    let fields = Cursor::new(self.rare.bytes()?);
                    let Some(body) = rare::get(number, fields)? else {
                        unknown += 1;
                        continue;
                    };
                    body
                }
                _ => return Err(Corrupt("an event is of no known kind")),
            };
            let at = Mono(at);
            events.push(Event { at, body });
        }
        if !self.kinds.is_empty() {
            return Err(Corrupt("it holds more events than it says"));
        }
        Ok(Decoded {
            ledger: self.ledger,
            unknown,
        })
    }

    #[inline]
    fn change(&mut self) -> Result<StateChange, Corrupt> {
        let states = self.states.byte()?;
        let flags = known(self.change_flags.byte()?, flag::ALL)?;
        let flow = self.flows.next(&mut self.flow_refs)?;
        let pid = if flags & flag::PID == 0 {
            0
        } else {
            self.pid()?
        };
        let evidence = if flags & flag::EVIDENCE == 0 {
            None
        } else {
            Some(self.evidence()?)
        };
        let minisock = match flags >> flag::MINISOCK & 3 {
            0 => None,
            1 => Some(Minisock::Made {
                tw: SockId(self.minisocks.delta(&mut self.tw)?),
                state: TcpState::from_number(self.minisocks.byte()?),
            }),
            2 => Some(Minisock::Refused(reason(self.minisocks.byte()?))),
            _ => Some(Minisock::Unseen),
        };
        Ok(StateChange {
            sock: SockId(flow.sock),
            cookie: flow.cookie,
            from: TcpState::from_number(states >> 4),
            to: TcpState::from_number(states & 0xf),
            tuple: flow.tuple,
            netns: flow.netns,
            pid,
            twin: flags & flag::TWIN != 0,
            unwanted: flags & flag::UNWANTED != 0,
            evidence,
            minisock,
        })
    }

    fn evidence(&mut self) -> Result<Evidence, Corrupt> {
        let bits = known(self.evidence.byte()?, said::ALL)?;
        Ok(Evidence {
            err: self.evidence.number()?,
            shut_both: bits & said::SHUT_BOTH != 0,
            has_file: bits & said::HAS_FILE != 0,
            dead: bits & said::DEAD != 0,
            unread: self.evidence.number()?,
            by_stack: if bits & said::BY_STACK == 0 {
                None
            } else {
                Some(reason(self.evidence.byte()?))
            },
        })
    }

    fn end(&mut self, at: u64) -> Result<TimewaitEnd, Corrupt> {
        let flow = self.flows.next(&mut self.flow_refs)?;
        let [flags, state, why] = self.ends.array()?;
        let flags = known(flags, end::ALL)?;
        let mut moment = |bit| {
            if flags & bit == 0 {
                return Ok(None);
            }
            self.ends.delta(&mut at.clone()).map(|at| Some(Mono(at)))
        };
        Ok(TimewaitEnd {
            tw: SockId(flow.sock),
            cookie: flow.cookie,
            state: TcpState::from_number(state),
            tuple: flow.tuple,
            netns: flow.netns,
            reason: reason(why),
            stamp: moment(end::STAMP)?,
            timer_set: moment(end::TIMER)?,
            exact: flags & end::EXACT != 0,
        })
    }

    fn held(&mut self) -> Result<Held, Corrupt> {
        let flow = self.flows.known(&mut self.flow_refs)?;
        let (sock, cookie) = match flow {
            Some(flow) => (flow.sock, flow.cookie),
            None => (self.held.varint()?, self.held.varint()?),
        };
        Ok(Held {
            sock: SockId(sock),
            cookie,
            source: source(self.held.byte()?),
            pid: self.pid()?,
        })
    }

    fn pid(&mut self) -> Result<u32, Corrupt> {
        let place: usize = self.pid_refs.number()?;
        if let Some(place) = place.checked_sub(1) {
            let known = self.known_pids.get(place);
            return known.copied().ok_or(Corrupt("it names no known process"));
        }
        let pid = self.pids.number()?;
        self.known_pids.push(pid);
        Ok(pid)
    }
}
