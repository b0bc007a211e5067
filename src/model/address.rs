//! Addresses, and networks of them.

use std::net::IpAddr;
use std::str::FromStr;

/// An address, or a network in the form `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    address: IpAddr,
    /// How many of its bits count.
    bits: u32,
}

/// The text is no address and no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no address such as \"127.0.0.1\" and no network such as \"10.0.0.0/8\"")]
pub(crate) struct BadAddressRange;

impl FromStr for AddressRange {
    type Err = BadAddressRange;

    fn from_str(text: &str) -> Result<AddressRange, BadAddressRange> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| BadAddressRange)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadAddressRange)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(BadAddressRange) } else { Ok(AddressRange { address, bits }) }
    }
}

impl AddressRange {
    /// Whether the address is this one, or is in this network.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(of), IpAddr::V4(it)) => (of.to_bits() ^ it.to_bits()).leading_zeros() >= self.bits,
            (IpAddr::V6(of), IpAddr::V6(it)) => (of.to_bits() ^ it.to_bits()).leading_zeros() >= self.bits,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_an_address_or_a_network() {
        assert!(range("127.0.0.1").contains(address("127.0.0.1")));
        assert!(range("127.0.0.1").contains(address("::ffff:127.0.0.1")));
        assert!(!range("127.0.0.1").contains(address("127.0.0.2")));
        assert!(
            range("10.0.0.0/8").contains(address("10.255.0.1")) && !range("10.0.0.0/8").contains(address("11.0.0.1"))
        );
        assert!(range("fd00::/8").contains(address("fd12::1")) && !range("fd00::/8").contains(address("fe00::1")));
        assert!(range("0.0.0.0/0").contains(address("192.0.2.1")) && !range("0.0.0.0/0").contains(address("::2")));
        for bad in ["", "10.0.0.0/33", "10.0.0.0/", "example.org", "10.0.0.0/-1", "::/129", "10.0.0.0/8/8"] {
            assert_eq!(bad.parse::<AddressRange>(), Err(BadAddressRange), "{bad}");
        }
    }

    fn range(text: &str) -> AddressRange {
        text.parse().expect("it is one")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("it is one")
    }
}
