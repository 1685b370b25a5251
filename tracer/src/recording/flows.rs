//! A block's dictionary of flows: which socket, which connection, which namespace.
//!
//! A connection's events name the same flow again and again; a flow is written once per block, as what
//! differs from another: from the one that was on the same socket before, or from the latest.

use hashbrown::HashMap;
use tracer_common::address::{self, Address};

use super::{
    bytes::{Corrupt, Cursor, put_delta, put_varint},
    sections::{Section, Sections},
};
use crate::engine::FourTuple;

/// Who an event is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) sock: u64,
    pub(super) cookie: u64,
    pub(super) tuple: FourTuple,
    pub(super) netns: u32,
}

/// Which fields differ.
mod field {
    pub(super) const SOCK: u8 = 1 << 0;
    pub(super) const COOKIE: u8 = 1 << 1;
    pub(super) const LADDR: u8 = 1 << 2;
    pub(super) const RADDR: u8 = 1 << 3;
    pub(super) const LPORT: u8 = 1 << 4;
    pub(super) const RPORT: u8 = 1 << 5;
    pub(super) const NETNS: u8 = 1 << 6;
    pub(super) const FAMILY: u8 = 1 << 7;
}

/// Tag of an address: four bytes of IPv4, or sixteen.
const SHORT: u8 = 4;
const LONG: u8 = 16;

/// Writes the dictionary.
#[derive(Debug, Default)]
pub(super) struct FlowEncoder {
    flows: Vec<Flow>,
    /// By socket: the latest of the flows.
    latest: HashMap<u64, u32>,
    addresses: HashMap<Address, u32>,
    cookie: u64,
    bases: Vec<u8>,
    fields: Vec<u8>,
    socks: Vec<u8>,
    cookies: Vec<u8>,
    address_refs: Vec<u8>,
    address_bytes: Vec<u8>,
    ports: Vec<u8>,
    rest: Vec<u8>,
}

impl FlowEncoder {
    /// Appends how to find the flow: 0 is the next new one, 1 the latest, and so on backwards.
    #[inline]
    pub(super) fn refer(&mut self, flow: &Flow, refs: &mut Vec<u8>) {
        let known = self.latest.get(&flow.sock).copied();
        let distance = |place: u32| self.flows.len() as u64 - u64::from(place);
        if let Some(place) = known
            && self.flows.get(place as usize) == Some(flow)
        {
            put_varint(refs, distance(place));
            return;
        }
        put_varint(refs, 0);
        let base = match known {
            Some(place) => distance(place),
            None => u64::from(!self.flows.is_empty()),
        };
        self.add(flow, base);
    }

    /// As [`Self::refer`] for what knows socket and cookie only: 0 if no flow has both.
    pub(super) fn refer_known(&self, sock: u64, cookie: u64, refs: &mut Vec<u8>) -> bool {
        let known = self.latest.get(&sock).copied();
        let known = known.filter(|place| {
            let flow = self.flows.get(*place as usize);
            flow.is_some_and(|flow| flow.cookie == cookie)
        });
        let distance = known.map_or(0, |place| self.flows.len() as u64 - u64::from(place));
        put_varint(refs, distance);
        known.is_some()
    }

    fn add(&mut self, flow: &Flow, base: u64) {
        let from = usize::try_from(base).ok().filter(|base| *base > 0);
        let from = from.and_then(|base| self.flows.get(self.flows.len() - base));
        let before = from.copied().unwrap_or_default();
        let (was, is) = (&before.tuple, &flow.tuple);
        let mut fields = 0;
        for (differs, bit) in [
            (before.sock != flow.sock, field::SOCK),
            (before.cookie != flow.cookie, field::COOKIE),
            (was.local.address != is.local.address, field::LADDR),
            (was.remote.address != is.remote.address, field::RADDR),
            (was.local.port != is.local.port, field::LPORT),
            (was.remote.port != is.remote.port, field::RPORT),
            (before.netns != flow.netns, field::NETNS),
            (was.family != is.family, field::FAMILY),
        ] {
            if differs {
                fields |= bit;
            }
        }
        put_varint(&mut self.bases, base);
        self.fields.push(fields);
        if fields & field::SOCK != 0 {
            put_delta(&mut self.socks, &mut before.sock.clone(), flow.sock);
        }
        if fields & field::COOKIE != 0 {
            put_delta(&mut self.cookies, &mut self.cookie, flow.cookie);
        }
        if fields & field::LADDR != 0 {
            self.address(&is.local.address);
        }
        if fields & field::RADDR != 0 {
            self.address(&is.remote.address);
        }
        for (bit, port) in [
            (field::LPORT, is.local.port),
            (field::RPORT, is.remote.port),
        ] {
            if fields & bit != 0 {
                self.ports.extend(port.to_le_bytes());
            }
        }
        if fields & field::NETNS != 0 {
            put_varint(&mut self.rest, u64::from(flow.netns));
        }
        if fields & field::FAMILY != 0 {
            put_varint(&mut self.rest, u64::from(is.family));
        }
        // A block has far fewer flows than 2^32.
        let place = u32::try_from(self.flows.len()).unwrap_or(u32::MAX);
        self.latest.insert(flow.sock, place);
        self.flows.push(*flow);
    }

    fn address(&mut self, address: &Address) {
        if let Some(place) = self.addresses.get(address) {
            put_varint(&mut self.address_refs, u64::from(*place) + 1);
            return;
        }
        put_varint(&mut self.address_refs, 0);
        let place = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        self.addresses.insert(*address, place);
        if address::is_mapped(address) {
            self.address_bytes.push(SHORT);
            self.address_bytes.extend_from_slice(&address[12..]);
        } else {
            self.address_bytes.push(LONG);
            self.address_bytes.extend_from_slice(address);
        }
    }

    /// The dictionary's sections, in any order.
    pub(super) fn sections(&self) -> [(Section, &[u8]); 8] {
        [
            (Section::FlowBases, &self.bases),
            (Section::FlowFields, &self.fields),
            (Section::FlowSocks, &self.socks),
            (Section::FlowCookies, &self.cookies),
            (Section::FlowAddressRefs, &self.address_refs),
            (Section::Addresses, &self.address_bytes),
            (Section::FlowPorts, &self.ports),
            (Section::FlowRest, &self.rest),
        ]
    }

    pub(super) fn clear(&mut self) {
        self.flows.clear();
        self.latest.clear();
        self.addresses.clear();
        self.cookie = 0;
        for column in [
            &mut self.bases,
            &mut self.fields,
            &mut self.socks,
            &mut self.cookies,
            &mut self.address_refs,
            &mut self.address_bytes,
            &mut self.ports,
            &mut self.rest,
        ] {
            column.clear();
        }
    }
}

/// Reads the dictionary, as far as events ask for it.
#[derive(Debug, Default)]
pub(super) struct FlowDecoder<'a> {
    flows: Vec<Flow>,
    known: Vec<Address>,
    cookie: u64,
    bases: Cursor<'a>,
    fields: Cursor<'a>,
    socks: Cursor<'a>,
    cookies: Cursor<'a>,
    address_refs: Cursor<'a>,
    address_bytes: Cursor<'a>,
    ports: Cursor<'a>,
    rest: Cursor<'a>,
}

const NO_SUCH: Corrupt = Corrupt("it names what is not in its dictionary");

impl<'a> FlowDecoder<'a> {
    pub(super) fn new(sections: &Sections<'a>) -> Self {
        Self {
            bases: sections.get(Section::FlowBases),
            fields: sections.get(Section::FlowFields),
            socks: sections.get(Section::FlowSocks),
            cookies: sections.get(Section::FlowCookies),
            address_refs: sections.get(Section::FlowAddressRefs),
            address_bytes: sections.get(Section::Addresses),
            ports: sections.get(Section::FlowPorts),
            rest: sections.get(Section::FlowRest),
            ..Self::default()
        }
    }

    /// The flow that the next reference names.
    #[inline]
    pub(super) fn next(&mut self, refs: &mut Cursor<'_>) -> Result<Flow, Corrupt> {
        match refs.number()? {
            0 => self.read(),
            distance => self.back(distance),
        }
    }

    /// What [`FlowEncoder::refer_known`] wrote.
    pub(super) fn known(&self, refs: &mut Cursor<'_>) -> Result<Option<Flow>, Corrupt> {
        match refs.number()? {
            0 => Ok(None),
            distance => self.back(distance).map(Some),
        }
    }

    #[inline]
    fn back(&self, distance: usize) -> Result<Flow, Corrupt> {
        let place = self.flows.len().checked_sub(distance).ok_or(NO_SUCH)?;
        self.flows.get(place).copied().ok_or(NO_SUCH)
    }

    fn read(&mut self) -> Result<Flow, Corrupt> {
        let mut flow = match self.bases.number()? {
            0 => Flow::default(),
            distance => self.back(distance)?,
        };
        let fields = self.fields.byte()?;
        if fields & field::SOCK != 0 {
            self.socks.delta(&mut flow.sock)?;
        }
        if fields & field::COOKIE != 0 {
            flow.cookie = self.cookies.delta(&mut self.cookie)?;
        }
        if fields & field::LADDR != 0 {
            flow.tuple.local.address = self.address()?;
        }
        if fields & field::RADDR != 0 {
            flow.tuple.remote.address = self.address()?;
        }
        if fields & field::LPORT != 0 {
            flow.tuple.local.port = u16::from_le_bytes(self.ports.array()?);
        }
        if fields & field::RPORT != 0 {
            flow.tuple.remote.port = u16::from_le_bytes(self.ports.array()?);
        }
        if fields & field::NETNS != 0 {
            flow.netns = self.rest.number()?;
        }
        if fields & field::FAMILY != 0 {
            flow.tuple.family = self.rest.number()?;
        }
        self.flows.push(flow);
        Ok(flow)
    }

    fn address(&mut self) -> Result<Address, Corrupt> {
        let place: usize = self.address_refs.number()?;
        if let Some(place) = place.checked_sub(1) {
            return self.known.get(place).copied().ok_or(NO_SUCH);
        }
        let address = match self.address_bytes.byte()? {
            SHORT => address::mapped(self.address_bytes.array()?),
            LONG => self.address_bytes.array()?,
            _ => return Err(Corrupt("an address is neither IPv4 nor IPv6")),
        };
        self.known.push(address);
        Ok(address)
    }
}
