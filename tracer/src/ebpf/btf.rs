//! Where a struct's fields are, from the kernel's type information (Documentation/bpf/btf.rst).
//!
//! Ours, because of what the crates offer (measured on a 6.18 kernel, 126,586 types): `btf` copies
//! every type and name, 243 ms, most of what a start may take; `btf-rs` is LGPL; `aya-obj` reads
//! BTF but shows no members. This looks up names in place, in about 10 ms, and is total: the bytes
//! may be anything.

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// Nesting of anonymous members, and of typedefs, that is followed.
const MAX_DEPTH: u32 = 32;

/// Members that a look for one goes through: the kernel's largest structs have hundreds.
const MAX_STEPS: u32 = 100_000;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Why an offset can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Not BTF, cut short, or a kind of type that this version does not know.
    #[error("not valid BTF: {0}")]
    Malformed(&'static str),
    /// The kernel has no such struct.
    #[error("no struct '{0}'")]
    NoStruct(String),
    /// The struct has no such member.
    #[error("no member '{member}' in '{path}'")]
    NoMember {
        /// The whole path asked for.
        path: String,
        /// The part that is not there.
        member: String,
    },
    /// It is there, and not among what is read at once.
    #[error("'{0}' is further from the beginning than on any kernel known")]
    TooFar(&'static str),
    /// Nobody said yet which registers the functions of this architecture are called with.
    #[error("kprobes can't be read on {0}: which of its registers are arguments is not known")]
    NoRegisters(&'static str),
}

/// Type information, looked at in place.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts in `types`; type 0 is `void`.
    starts: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    name: u32,
    kind: u32,
    members_have_sizes: bool,
    count: usize,
    refers_to: u32,
    tail: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*four))
}

impl<'a> Btf<'a> {
    /// Finds where every type starts.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let header = |at| word(bytes, at).ok_or(BtfError::Malformed("too short for a header"));
        if header(0)? & 0xffff != u32::from(MAGIC) {
            return Err(BtfError::Malformed("wrong magic number"));
        }
        let types = section(bytes, header(4)?, header(8)?, header(12)?)?;
        let strings = section(bytes, header(4)?, header(16)?, header(20)?)?;
        let mut btf = Self {
            types,
            strings,
            starts: Vec::with_capacity(types.len() / 32),
        };
        let mut at = 0;
        while at < types.len() {
            let start = u32::try_from(at).map_err(|_| BtfError::Malformed("too long"))?;
            let ty = btf.type_at(at)?;
            at += 12 + ty.tail_length()?;
            btf.starts.push(start);
        }
        if at == types.len() {
            Ok(btf)
        } else {
            Err(BtfError::Malformed("the last type is cut short"))
        }
    }

    fn type_at(&self, at: usize) -> Result<Type<'a>, BtfError> {
        let cut = BtfError::Malformed("a type is cut short");
        let field = |i: usize| word(self.types, at + 4 * i).ok_or(cut.clone());
        let info = field(1)?;
        Ok(Type {
            name: field(0)?,
            kind: info >> 24 & 0x1f,
            members_have_sizes: info >> 31 == 1,
            count: (info & 0xffff) as usize,
            refers_to: field(2)?,
            tail: self.types.get(at + 12..).unwrap_or_default(),
        })
    }

    fn by_id(&self, id: u32) -> Option<Type<'a>> {
        let start = *self.starts.get(id.checked_sub(1)? as usize)?;
        self.type_at(start as usize).ok()
    }

    fn name(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|b| *b == 0).next().unwrap_or_default()
    }

    fn struct_named(&self, name: &str) -> Option<Type<'a>> {
        self.named(kind::STRUCT, name).map(|(_, ty)| ty)
    }

    /// The first of this kind and name, with its number.
    fn named(&self, kind: u32, name: &str) -> Option<(u32, Type<'a>)> {
        (1..)
            .zip(&self.starts)
            .filter_map(|(id, start)| Some((id, self.type_at(*start as usize).ok()?)))
            .find(|(_, ty)| ty.kind == kind && self.name(ty.name) == name.as_bytes())
    }

    /// The offset in bytes of a member, `sock.sk_lock.owned`; anonymous structs and unions need not
    /// be named.
    pub fn offset_of(&self, path: &str) -> Result<u32, BtfError> {
        let mut parts = path.split('.');
        let name = parts.next().unwrap_or_default();
        let mut ty = self.struct_named(name);
        if ty.is_none() {
            return Err(BtfError::NoStruct(name.to_owned()));
        }
        let mut bits: u32 = 0;
        for member in parts {
            let found = ty.and_then(|t| self.find(&t, member));
            let next = found.and_then(|(offset, id)| Some((bits.checked_add(offset)?, id)));
            let (sum, id) = next.ok_or_else(|| BtfError::NoMember {
                path: path.to_owned(),
                member: member.to_owned(),
            })?;
            bits = sum;
            ty = self.peel(id);
        }
        Ok(bits / 8)
    }

    /// Whether the member is a pointer.
    pub fn is_pointer(&self, path: &str) -> bool {
        let mut parts = path.split('.');
        let mut ty = parts.next().and_then(|name| self.struct_named(name));
        for member in parts {
            let found = ty.and_then(|t| self.find(&t, member));
            ty = found.and_then(|(_, id)| self.peel(id));
        }
        ty.is_some_and(|ty| ty.kind == kind::PTR)
    }

    /// The number of a struct, by which the kernel knows it.
    pub fn struct_id(&self, name: &str) -> Option<u32> {
        self.named(kind::STRUCT, name).map(|(id, _)| id)
    }

    /// The number of a function.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.named(kind::FUNC, name).map(|(id, _)| id)
    }

    /// How many arguments a function takes; `None`: the kernel has none of that name.
    pub fn arguments(&self, function: &str) -> Option<usize> {
        let (_, ty) = self.named(kind::FUNC, function)?;
        let prototype = self.by_id(ty.refers_to)?;
        (prototype.kind == kind::FUNC_PROTO).then_some(prototype.count)
    }

    /// Offset in bits, and type.
    fn find(&self, of: &Type<'a>, name: &str) -> Option<(u32, u32)> {
        let mut steps = MAX_STEPS;
        self.member(of, name.as_bytes(), MAX_DEPTH, &mut steps)
    }

    /// The same; `steps`: how many members may still be looked at.
    fn member(
        &self,
        of: &Type<'a>,
        name: &[u8],
        depth: u32,
        steps: &mut u32,
    ) -> Option<(u32, u32)> {
        if !matches!(of.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for i in 0..of.count {
            *steps = steps.checked_sub(1)?;
            let field = |j: usize| word(of.tail, 12 * i + 4 * j);
            let (member_name, id, raw) = (field(0)?, field(1)?, field(2)?);
            let bits = if of.members_have_sizes {
                raw & 0x00ff_ffff
            } else {
                raw
            };
            let member_name = self.name(member_name);
            if member_name == name {
                return Some((bits, id));
            }
            if member_name.is_empty()
                && depth > 0
                && let Some(inner) = self.peel(id)
                && let Some((more, id)) = self.member(&inner, name, depth - 1, steps)
            {
                return Some((bits.checked_add(more)?, id));
            }
        }
        None
    }

    /// What is under typedefs and qualifiers.
    fn peel(&self, mut id: u32) -> Option<Type<'a>> {
        for _ in 0..MAX_DEPTH {
            let ty = self.by_id(id)?;
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.refers_to;
                }
                _ => return Some(ty),
            }
        }
        None
    }
}

impl Type<'_> {
    /// Bytes that follow the three common words, by kind.
    fn tail_length(&self) -> Result<usize, BtfError> {
        Ok(match self.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * self.count,
            kind::ENUM | kind::FUNC_PROTO => 8 * self.count,
            0..=kind::ENUM64 => 0,
            _ => return Err(BtfError::Malformed("a kind of type that is not known")),
        })
    }
}

fn section(bytes: &[u8], header: u32, offset: u32, length: u32) -> Result<&[u8], BtfError> {
    let start = header as usize + offset as usize;
    bytes
        .get(start..start + length as usize)
        .ok_or(BtfError::Malformed("a section lies outside"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_is_refused_without_a_panic() {
        assert!(Btf::parse(b"").is_err());
        assert!(Btf::parse(&[0; 64]).is_err());
        let mut head = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
        head.extend([0xff; 16]);
        assert_eq!(
            Btf::parse(&head).unwrap_err(),
            BtfError::Malformed("a section lies outside")
        );
    }

    /// `struct a { struct { int pad; int x; }; }`, by hand.
    fn sample() -> Vec<u8> {
        let names = b"\0a\0x\0pad\0int\0";
        let ty = |name: u32, kind: u32, count: u32, size: u32, tail: &[u32]| {
            let head = [name, kind << 24 | count, size];
            head.iter().chain(tail).copied().collect::<Vec<u32>>()
        };
        let words: Vec<u32> = [
            ty(9, kind::INT, 0, 4, &[32]),
            ty(0, kind::STRUCT, 2, 8, &[5, 1, 0, 3, 1, 32]),
            ty(1, kind::STRUCT, 1, 8, &[0, 2, 64]),
        ]
        .concat();
        let types: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let length = u32::try_from(types.len()).unwrap();
        let strings = u32::try_from(names.len()).unwrap();
        let mut out = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, length, length, strings] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(types);
        out.extend(names);
        out
    }

    #[test]
    fn anonymous_members_are_looked_into() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset_of("a.x"), Ok(12));
        assert_eq!(btf.offset_of("b.x"), Err(BtfError::NoStruct("b".into())));
        assert!(matches!(
            btf.offset_of("a.y"),
            Err(BtfError::NoMember { .. })
        ));
    }

    #[test]
    fn cut_anywhere_it_is_refused_or_read() {
        let bytes = sample();
        for end in 0..bytes.len() {
            if let Ok(btf) = Btf::parse(&bytes[..end]) {
                let _ = btf.offset_of("a.x");
            }
        }
    }
}
