//! Which addresses a guest may not reach unless the operator says so.
//!
//! Invariant: an IPv6 address is public only inside 2000::/3 and outside every network named
//! here. Addresses that carry an IPv4 address inside (mapped, NAT64, 6to4, Teredo) are refused
//! whole, so that no spelling of 127.0.0.1 is forgotten; a host that has only NAT64 needs
//! `allow_private` for what it reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// IANA's special-purpose registry for IPv4, and the metadata addresses outside it.
const V4: [(Ipv4Net, &str); 16] = [
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "carrier-grade NAT"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local, metadata"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "protocol assignments"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 88, 99, 0], 24), "6to4 relay"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "benchmarks"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([240, 0, 0, 0], 4), "reserved, broadcast"),
    (v4([168, 63, 129, 16], 32), "metadata (Azure)"),
];

/// The same for IPv6. What is outside 2000::/3 and not named is refused as well.
const V6: [(Ipv6Net, &str); 15] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4-compatible"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "IPv4-mapped"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "NAT64"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "local NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discard"),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        "protocol assignments, Teredo",
    ),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "unique local"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// Where clouds tell a machine who it is, and hand out its rights. A name that is granted as private
/// is still never one of them: who controls the name would have those rights.
const METADATA_V4: [Ipv4Net; 4] = [
    v4([169, 254, 0, 0], 16),
    v4([168, 63, 129, 16], 32),
    v4([100, 100, 100, 200], 32),
    v4([192, 0, 0, 192], 32),
];
const METADATA_V6: [Ipv6Net; 2] = [
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
];

const V6_PUBLIC: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const fn v4(o: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(o[0], o[1], o[2], o[3]), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(
        Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]),
        prefix,
    )
}

/// The name of the special network that an address is in; `None` for a public address.
pub fn private_network(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => V4
            .iter()
            .find(|(net, _)| net.contains(&address))
            .map(|(_, name)| *name),
        IpAddr::V6(address) => V6
            .iter()
            .find(|(net, _)| net.contains(&address))
            .map(|(_, name)| *name)
            .or_else(|| (!V6_PUBLIC.contains(&address)).then_some("not global unicast")),
    }
}

/// Whether this is a metadata service, also in the notations that carry an IPv4 address.
pub(crate) fn is_metadata(address: IpAddr) -> bool {
    let is_v4 = |address: Ipv4Addr| METADATA_V4.iter().any(|net| net.contains(&address));
    match address {
        IpAddr::V4(address) => is_v4(address),
        IpAddr::V6(address) => {
            let [.., high, low] = address.segments();
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            let carries = private_network(IpAddr::V6(address))
                .is_some_and(|name| name.starts_with("IPv4-") || name.contains("NAT64"));
            (carries && is_v4(Ipv4Addr::new(a, b, c, d)))
                || METADATA_V6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_private_address_is_known() {
        let table = "
            0.0.0.0 unspecified
            10.1.2.3 private
            100.64.0.1 carrier-grade NAT
            127.0.0.1 loopback
            127.255.0.9 loopback
            169.254.169.254 link-local, metadata
            172.31.255.255 private
            192.0.0.192 protocol assignments
            192.168.1.1 private
            198.19.0.1 benchmarks
            203.0.113.9 documentation
            239.1.1.1 multicast
            255.255.255.255 reserved, broadcast
            168.63.129.16 metadata (Azure)
            :: unspecified
            ::1 loopback
            ::7f00:1 IPv4-compatible
            ::ffff:127.0.0.1 IPv4-mapped
            ::ffff:8.8.8.8 IPv4-mapped
            64:ff9b::a00:1 NAT64
            64:ff9b:1::1 local NAT64
            2001::1 protocol assignments, Teredo
            2002:7f00:1::1 6to4
            2001:db8::1 documentation
            fd00:ec2::254 unique local
            fe80::1 link-local
            ff02::1 multicast
            4000::1 not global unicast
        ";
        for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let (address, expected) = line.split_once(' ').expect("two words");
            let address: IpAddr = address.parse().expect("address");
            assert_eq!(private_network(address), Some(expected), "{address}");
        }
        for public in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(
                private_network(public.parse().expect("address")),
                None,
                "{public}"
            );
        }
    }
}
