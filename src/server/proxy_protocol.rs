//! The PROXY protocol: what a load balancer sends about the client before the client's first byte.
//!
//! Bytes in, values out. The server decides who may use it and how long to wait for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header that is read: a line has at most 107 bytes; a binary header depends on its extensions
/// (TLVs).
pub const LIMIT_BYTES: usize = BINARY_HEAD + 4096;
/// Longest line of version 1 with its CRLF, section 2.1.
const LINE_LIMIT: usize = 107;
const LINE_START: &[u8] = b"PROXY ";
/// The first bytes of version 2, section 2.2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version with command, family, length.
const BINARY_HEAD: usize = 16;
/// PP2_TYPE_SSL and its PP2_CLIENT_SSL, section 2.2.6.
const TYPE_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// The content of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client.
    pub client: ProxiedClient,
    /// Whether the client's own connection is TLS; `None` if the header does not contain it.
    pub secure: Option<bool>,
}

/// The client that the header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxiedClient {
    /// The peer itself (a health check, `LOCAL`), or an unknown client: use the connection's own addresses.
    Peer,
    /// The other end of the connection that the balancer accepted.
    Address(SocketAddr),
    /// The client connected to the balancer by a Unix socket.
    Unix,
}

/// Why a header is refused.
pub type Malformed = &'static str;

/// Parses the header at the start of `input`.
///
/// Returns the header and its length in bytes, or `None` if `input` is incomplete: call again with more. It
/// never needs more than [`LIMIT_BYTES`].
/// # Errors
/// Names the fault. The connection must then be closed, because the protocol is never guessed (section 2).
/// # Source
/// The PROXY protocol, versions 1 and 2, 2020-03-05: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.
pub fn parse(input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, Malformed> {
    let begins = |with: &[u8]| {
        let common = input.len().min(with.len());
        input[..common] == with[..common]
    };
    if begins(LINE_START) {
        line(input)
    } else if begins(SIGNATURE) {
        binary(input)
    } else {
        Err("no PROXY header")
    }
}

/// Version 1, section 2.1.
fn line(input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, Malformed> {
    let seen = &input[..input.len().min(LINE_LIMIT)];
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if input.len() < LINE_LIMIT { Ok(None) } else { Err("the PROXY line is too long") };
    };
    let Some(line) = seen[..end].strip_suffix(b"\r") else { return Err("the PROXY line ends without CR") };
    let text = std::str::from_utf8(&line[LINE_START.len()..]).or(Err("the PROXY line is not text"))?;
    let header = |client| Ok(Some((ProxyHeader { client, secure: None }, end + 1)));
    let mut words = text.split(' ');
    let ipv4 = match words.next() {
        // The rest of the line is ignored.
        Some("UNKNOWN") => return header(ProxiedClient::Peer),
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err("the PROXY line names an unknown protocol"),
    };
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return Err("the PROXY line does not have four address fields");
    };
    let source = address(source, ipv4)?;
    address(destination, ipv4)?;
    let port_of_source = port(source_port)?;
    port(destination_port)?;
    header(ProxiedClient::Address(SocketAddr::new(source, port_of_source)))
}

fn address(text: &str, ipv4: bool) -> Result<IpAddr, Malformed> {
    let address = match ipv4 {
        true => text.parse::<Ipv4Addr>().map(IpAddr::from),
        false => text.parse::<Ipv6Addr>().map(IpAddr::from),
    };
    address.or(Err("the PROXY line has a malformed address"))
}

/// Digits without a sign or leading zeros.
fn port(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or("the PROXY line has a malformed port")
}

/// Version 2, section 2.2.
fn binary(input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, Malformed> {
    let Some(head) = input.get(..BINARY_HEAD) else { return Ok(None) };
    let (version, command) = (head[12] >> 4, head[12] & 15);
    if version != 2 {
        return Err("the PROXY header has an unknown version");
    }
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if BINARY_HEAD + length > LIMIT_BYTES {
        return Err("the PROXY header is too long");
    }
    let Some(rest) = input.get(BINARY_HEAD..BINARY_HEAD + length) else { return Ok(None) };
    let header = |client, secure| Ok(Some((ProxyHeader { client, secure }, BINARY_HEAD + length)));
    match command {
        // The balancer sent this for itself: skip the rest.
        0 => return header(ProxiedClient::Peer, None),
        1 => {}
        _ => return Err("the PROXY header has an unknown command"),
    }
    const SHORT: Malformed = "the PROXY header is shorter than its addresses";
    let (family, transport) = (head[13] >> 4, head[13] & 15);
    let stream = match transport {
        0 | 2 => false,
        1 => true,
        _ => return Err("the PROXY header has an unknown transport"),
    };
    let (client, additions) = match family {
        // The addresses and their length are unknown.
        0 => return header(ProxiedClient::Peer, None),
        1 => {
            let (block, additions) = rest.split_first_chunk::<12>().ok_or(SHORT)?;
            let address = Ipv4Addr::new(block[0], block[1], block[2], block[3]);
            (socket(address.into(), [block[8], block[9]]), additions)
        }
        2 => {
            let (block, additions) = rest.split_first_chunk::<36>().ok_or(SHORT)?;
            let (source, others) = block.split_first_chunk::<16>().ok_or(SHORT)?;
            (socket(Ipv6Addr::from(*source).into(), [others[16], others[17]]), additions)
        }
        3 => (ProxiedClient::Unix, rest.get(216..).ok_or(SHORT)?),
        _ => return Err("the PROXY header has an unknown family"),
    };
    let secure = secure(additions)?;
    // Only streams are forwarded here, so the addresses of a datagram are not the client's.
    header(if stream { client } else { ProxiedClient::Peer }, secure)
}

fn socket(address: IpAddr, port: [u8; 2]) -> ProxiedClient {
    ProxiedClient::Address(SocketAddr::new(address, u16::from_be_bytes(port)))
}

/// Walks the extensions (type, length, value) and skips unknown ones, section 2.2.7.
fn secure(mut additions: &[u8]) -> Result<Option<bool>, Malformed> {
    const CUT: Malformed = "the PROXY header has a truncated extension";
    let mut secure = None;
    while !additions.is_empty() {
        let (head, rest) = additions.split_first_chunk::<3>().ok_or(CUT)?;
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let (value, rest) = rest.split_at_checked(length).ok_or(CUT)?;
        if head[0] == TYPE_SSL {
            // One byte of flags and four of the verification result come first.
            let flags = value.get(..5).ok_or("the PROXY header's TLS extension is truncated")?[0];
            secure = Some(flags & CLIENT_SSL != 0);
        }
        additions = rest;
    }
    Ok(secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks `input`, that bytes after it are left alone, and that every proper prefix of it asks for more.
    fn check(clause: &str, input: &[u8], expected: Result<(ProxiedClient, Option<bool>), Malformed>) {
        let wanted = expected.map(|(client, secure)| Some((ProxyHeader { client, secure }, input.len())));
        assert_eq!(parse(input), wanted, "{clause}: {input:?}");
        if wanted.is_ok() {
            assert_eq!(
                parse(&[input, b"GET / HTTP/1.1\r\n"].concat()),
                wanted,
                "{clause}: with more after it"
            );
            for end in 0..input.len() {
                assert_eq!(parse(&input[..end]), Ok(None), "{clause}: cut at {end}");
            }
        }
    }

    fn address(text: &str) -> ProxiedClient {
        ProxiedClient::Address(text.parse().unwrap())
    }

    #[test]
    fn version_1() {
        let good = |line: &str, client| check("2.1", line.as_bytes(), Ok((client, None)));
        good("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", address("192.0.2.7:56324"));
        good("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", address("255.255.255.255:65535"));
        good("PROXY TCP6 2001:db8::1 ::1 1 443\r\n", address("[2001:db8::1]:1"));
        let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        good(&format!("PROXY TCP6 {long} {long} 65535 65535\r\n"), address(&format!("[{long}]:65535")));
        good("PROXY UNKNOWN\r\n", ProxiedClient::Peer);
        good(&format!("PROXY UNKNOWN {long} {long} 65535 65535\r\n"), ProxiedClient::Peer);
        let bad = |clause: &str, line: &str, why| check(clause, line.as_bytes(), Err(why));
        bad("2.1: PROXY in capitals", "proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "no PROXY header");
        bad("2: never guessed", "GET / HTTP/1.1\r\n\r\n", "no PROXY header");
        bad(
            "2.1: TCP4, TCP6, UNKNOWN",
            "PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
            "the PROXY line names an unknown protocol",
        );
        bad(
            "2.1: exactly one space",
            "PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
            "the PROXY line names an unknown protocol",
        );
        let fields = "the PROXY line does not have four address fields";
        bad("2.1: exactly one space", "PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n", fields);
        bad("2.1: four fields", "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", fields);
        bad("2.1: CRLF follows at once", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", fields);
        bad("2.1: CRLF", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", "the PROXY line ends without CR");
        let malformed = "the PROXY line has a malformed address";
        bad("2.1: the family's form", "PROXY TCP4 ::1 ::1 1 1\r\n", malformed);
        bad("2.1: the family's form", "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", malformed);
        bad("2.1: no leading zeros", "PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n", malformed);
        bad("2.1: 0 to 255", "PROXY TCP4 256.1.1.1 1.1.1.1 1 1\r\n", malformed);
        bad("2.1: both addresses", "PROXY TCP4 1.1.1.1 1.1.1 1 1\r\n", malformed);
        let malformed = "the PROXY line has a malformed port";
        for ports in ["65536 1", "01 1", "+1 1", "-1 1", "x 1", "1 65536", "1 01"] {
            bad("2.1: 0 to 65535", &format!("PROXY TCP4 1.1.1.1 1.1.1.1 {ports}\r\n"), malformed);
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        bad("2.1: at most 107 bytes", &endless, "the PROXY line is too long");
        bad("2.1: at most 107 bytes", &format!("{endless}\r\n"), "the PROXY line is too long");
    }

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];

    #[test]
    fn version_2() {
        let client = address("192.0.2.7:56324");
        let good = |clause: &str, command, family, rest: &[u8], client, secure| {
            check(clause, &header(command, family, rest), Ok((client, secure)));
        };
        good("2.2: TCP over IPv4", 0x21, 0x11, &IPV4, client, None);
        let mut ipv6 = [0; 36];
        ipv6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        ipv6[15] = 1;
        ipv6[33] = 80;
        good("2.2: TCP over IPv6", 0x21, 0x21, &ipv6, address("[2001:db8::1]:80"), None);
        good("2.2: a Unix stream", 0x21, 0x31, &[0; 216], ProxiedClient::Unix, None);
        good("2.2: LOCAL skips all", 0x20, 0x00, b"", ProxiedClient::Peer, None);
        good("2.2: LOCAL skips all", 0x20, 0x11, &IPV4, ProxiedClient::Peer, None);
        good("2.2: LOCAL skips all", 0x20, 0xff, b"anything", ProxiedClient::Peer, None);
        good("2.2: UNSPEC skips all", 0x21, 0x00, b"anything", ProxiedClient::Peer, None);
        good("2.2: a datagram's addresses are ignored", 0x21, 0x12, &IPV4, ProxiedClient::Peer, None);
        let with = |additions: &[u8]| [&IPV4[..], additions].concat();
        good("2.2.7: unknown extensions", 0x21, 0x11, &with(b"\xee\0\x02ab\x04\0\0"), client, None);
        good("2.2.6: TLS", 0x21, 0x11, &with(b"\x20\0\x05\x01\0\0\0\0"), client, Some(true));
        good("2.2.6: no TLS", 0x21, 0x11, &with(b"\x20\0\x05\0\0\0\0\0"), client, Some(false));
        good(
            "2.2.6: inner extensions",
            0x21,
            0x11,
            &with(b"\x20\0\x0a\x07\0\0\0\0\x21\0\x02ab"),
            client,
            Some(true),
        );
        let bad = |clause: &str, command, family, rest: &[u8], why| {
            check(clause, &header(command, family, rest), Err(why));
        };
        bad("2.2: version 2", 0x11, 0x11, &IPV4, "the PROXY header has an unknown version");
        bad("2.2: version 2", 0x31, 0x11, &IPV4, "the PROXY header has an unknown version");
        bad("2.2: LOCAL or PROXY", 0x22, 0x11, &IPV4, "the PROXY header has an unknown command");
        bad("2.2: families to 3", 0x21, 0x41, &[0; 216], "the PROXY header has an unknown family");
        bad("2.2: transports to 2", 0x21, 0x13, &IPV4, "the PROXY header has an unknown transport");
        let short = "the PROXY header is shorter than its addresses";
        bad("2.2: 12 bytes", 0x21, 0x11, &IPV4[..11], short);
        bad("2.2: 36 bytes", 0x21, 0x21, &[0; 35], short);
        bad("2.2: 216 bytes", 0x21, 0x31, &[0; 215], short);
        let cut = "the PROXY header has a truncated extension";
        bad("2.2.6: complete extensions", 0x21, 0x11, &with(b"\x04\0"), cut);
        bad("2.2.6: complete extensions", 0x21, 0x11, &with(b"\x04\0\x01"), cut);
        bad(
            "2.2.6: TLS has 5 bytes",
            0x21,
            0x11,
            &with(b"\x20\0\x01\x01"),
            "the PROXY header's TLS extension is truncated",
        );
        bad("our limit", 0x21, 0x11, &[0; 5000], "the PROXY header is too long");
        check("2.2: signature", b"\r\n\r\n\0\r\nQUIX\n", Err("no PROXY header"));
    }
}
