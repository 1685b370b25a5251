//! Pseudonyms, for what leaves the house: the same key gives the same ones, and nobody without it can
//! tell whose they are.
//!
//! Addresses keep their prefixes: two that share their first n bits share the first n bits of their
//! pseudonyms, so that networks can still be told apart (ipcrypt-pfx, a successor of Crypto-PAn). Names
//! of processes and paths of cgroups are left out. Numbers stay: ports, pids, uids, cookies, inodes.

use std::{cell::RefCell, fmt, fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result, bail};
use hashbrown::HashMap;
use ipcrypt_rs::IpcryptPfx;
use sha2::{Digest as _, Sha256};
use tracer_common::address::{self, Address};

use crate::engine::{Endpoint, FourTuple, Process, ProcessName, Transition};

/// Bytes that a key has at least: what is shorter is found by trying.
const MIN_KEY: usize = 16;
/// Bytes of the file that are read.
const MAX_KEY: u64 = 65_536;
/// Pseudonyms that are remembered: making one takes microseconds.
const MAX_KNOWN: usize = 65_536;

/// See the module.
pub struct Pseudonyms {
    addresses: IpcryptPfx,
    key: [u8; 32],
    known: RefCell<HashMap<Address, Address>>,
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonyms").finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// By the secret in this file.
    pub fn of_file(path: &Path) -> Result<Self> {
        let reading = || format!("--anonymize: reading the key in '{}'", path.display());
        let mut secret = Vec::new();
        let file = File::open(path).with_context(reading)?;
        file.take(MAX_KEY)
            .read_to_end(&mut secret)
            .with_context(reading)?;
        if secret.len() < MIN_KEY {
            bail!(
                "--anonymize: the key in '{}' has {} bytes, and needs {MIN_KEY}: 'head -c 32 \
                 /dev/urandom > FILE' makes one",
                path.display(),
                secret.len()
            );
        }
        Ok(Self::new(&secret))
    }

    /// By this secret.
    pub fn new(secret: &[u8]) -> Self {
        let key: [u8; 32] = hash(&[b"tcpdwell pseudonyms 1\0", secret]).into();
        Self {
            addresses: IpcryptPfx::new(key),
            key: hash(&[b"names\0", &key]).into(),
            known: RefCell::default(),
        }
    }

    /// What stands for an address. That none is known, is known of all.
    pub fn address(&self, address: &Address) -> Address {
        if address::is_unspecified(address) {
            return *address;
        }
        let mut known = self.known.borrow_mut();
        if let Some(pseudonym) = known.get(address) {
            return *pseudonym;
        }
        let ip = Endpoint {
            address: *address,
            port: 0,
        };
        let pseudonym = match self.addresses.encrypt_ipaddr(ip.ip()) {
            std::net::IpAddr::V4(v4) => address::mapped(v4.octets()),
            std::net::IpAddr::V6(v6) => v6.octets(),
        };
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(*address, pseudonym);
        pseudonym
    }

    /// What stands for a name.
    pub fn name(&self, name: &str) -> String {
        let mut digits = format!("{:x}", hash(&[&self.key, name.as_bytes()]));
        digits.truncate(16);
        digits
    }

    /// A transition that names nobody.
    pub fn transition(&self, t: &Transition) -> Transition {
        let end = |end: Endpoint| Endpoint {
            address: self.address(&end.address),
            ..end
        };
        Transition {
            tuple: FourTuple {
                local: end(t.tuple.local),
                remote: end(t.tuple.remote),
                family: t.tuple.family,
            },
            process: t.process.map(|process| Process {
                name: ProcessName::default(),
                ..process
            }),
            ..*t
        }
    }
}

fn hash(parts: &[&[u8]]) -> sha2::digest::Output<Sha256> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bits that two addresses share, from the first.
    fn shared(one: &Address, other: &Address) -> u32 {
        (u128::from_be_bytes(*one) ^ u128::from_be_bytes(*other)).leading_zeros()
    }

    fn v4() -> impl Strategy<Value = Address> {
        any::<[u8; 4]>().prop_map(address::mapped)
    }

    proptest! {
        #[test]
        fn prefixes_stay_and_nothing_more(
            one in any::<[u8; 16]>(), bits in 0..128_u32, four in v4(), four_bits in 0..32_u32, secret: [u8; 16],
        ) {
            let pseudonyms = Pseudonyms::new(&secret);
            for (one, bit) in [(one, bits), (four, 96 + four_bits)] {
                // Another that shares exactly so many bits.
                let other = (u128::from_be_bytes(one) ^ (1 << (127 - bit))).to_be_bytes();
                prop_assume!(!address::is_unspecified(&one) && !address::is_unspecified(&other));
                prop_assume!(address::is_mapped(&one) == address::is_mapped(&other));
                let (a, b) = (pseudonyms.address(&one), pseudonyms.address(&other));
                prop_assert_eq!(shared(&a, &b), bit);
            }
        }

        #[test]
        fn the_same_key_gives_the_same(address: [u8; 16], four in v4(), secret: [u8; 16]) {
            let (one, again) = (Pseudonyms::new(&secret), Pseudonyms::new(&secret));
            let other = Pseudonyms::new(&secret.map(|byte| !byte));
            let (mut same, mut differ) = (0, 0);
            for address in [address, four] {
                prop_assert_eq!(one.address(&address), again.address(&address));
                prop_assert_eq!(one.address(&address), one.address(&address));
                same += u32::from(one.address(&address) == address);
                differ += u32::from(one.address(&address) != other.address(&address));
            }
            prop_assert!(same < 2 && differ > 0);
            prop_assert!(address::is_mapped(&one.address(&four)));
            prop_assert_eq!(one.name("web-1"), again.name("web-1"));
            prop_assert_ne!(one.name("web-1"), other.name("web-1"));
            prop_assert_ne!(one.name("web-1"), one.name("web-2"));
        }
    }

    #[test]
    fn a_published_pair_comes_out() {
        // draft-denis-ipcrypt, ipcrypt-pfx: the first vector, with its key as it is.
        let key = "0123456789abcdeffedcba98765432101032547698badcfeefcdab8967452301";
        let key: Vec<u8> = (0..32)
            .map(|i| u8::from_str_radix(&key[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let pfx = IpcryptPfx::new(key.try_into().unwrap());
        let encrypted = pfx.encrypt_ipaddr("192.0.2.1".parse().unwrap());
        assert_eq!(encrypted.to_string(), "100.115.72.131");
    }

    #[test]
    fn nobody_is_nobody() {
        let pseudonyms = Pseudonyms::new(&[7; 16]);
        assert_eq!(pseudonyms.address(&[0; 16]), [0; 16]);
    }

    #[test]
    fn a_short_key_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2").unwrap();
        let refused = Pseudonyms::of_file(file.path()).unwrap_err().to_string();
        assert!(refused.contains("7 bytes, and needs 16"), "{refused}");
        assert!(Pseudonyms::of_file(Path::new("/nonexistent")).is_err());
    }
}
