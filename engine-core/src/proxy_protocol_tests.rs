use super::*;
use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;

fn done(len: usize, address: &str) -> Result<Progress, ProxyHeaderError> {
    Ok(Progress::Done { len, source: Source { address: address.parse().ok(), secure: false } })
}

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 3, 4];

fn v6() -> Vec<u8> {
    let source = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).octets();
    [&source[..], &[0; 16], &[1, 2, 3, 4]].concat()
}

/// Reads a header as a driver does: never more bytes than are missing.
fn read(input: &[u8]) -> Result<(usize, Source), ProxyHeaderError> {
    let mut at = 0;
    loop {
        match parse(&input[..at])? {
            Progress::Done { len, source } => {
                assert_eq!(len, at, "a byte of what follows was read");
                return Ok((len, source));
            }
            Progress::More(more) => {
                assert!(more > 0 && at + more <= MAX_HEADER);
                if at + more > input.len() {
                    return Ok((0, Source::default()));
                }
                at += more;
            }
        }
    }
}

#[test]
fn a_line_tells_the_address_of_the_client() {
    for (line, address) in [
        ("PROXY TCP4 192.0.2.1 10.0.0.1 51000 443", "192.0.2.1:51000"),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1", "1.1.1.1:1"),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535", "255.255.255.255:65535"),
        ("PROXY TCP6 2001:db8::1 :: 51000 443", "[2001:db8::1]:51000"),
        ("PROXY TCP6 :: :: 1 1", "[::]:1"),
        ("PROXY UNKNOWN", ""),
        ("PROXY UNKNOWN ffff::1 ffff::2 65535 x", ""),
    ] {
        let input = [line.as_bytes(), b"\r\nGET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&input), done(line.len() + 2, address), "{line}");
        assert_eq!(read(&input).unwrap().0, line.len() + 2, "{line}");
    }
}

#[test]
fn a_binary_header_tells_the_address_of_the_client() {
    let http = b"GET / HTTP/1.1\r\n";
    for (header, address) in [
        (binary(0x21, 0x11, &V4), "192.0.2.1:258"),
        (binary(0x21, 0x21, &v6()), "[2001:db8::9]:258"),
        (binary(0x21, 0x11, &[&V4[..], &[1, 0, 2, 9, 9], &[0; 100]].concat()), "192.0.2.1:258"),
        (binary(0x20, 0x00, &[]), ""),
        (binary(0x20, 0x11, &V4), ""),
        (binary(0x20, 0xff, &[7; 520]), ""),
        (binary(0x21, 0x00, &[7; 3]), ""),
        (binary(0x21, 0x12, &V4), ""),
        (binary(0x21, 0x31, &[0; 216]), ""),
    ] {
        let input = [&header[..], http].concat();
        assert_eq!(parse(&input), done(header.len(), address), "{header:?}");
        assert_eq!(read(&input).unwrap().0, header.len());
    }
}

#[test]
fn a_binary_header_tells_if_the_client_uses_tls() {
    let secure = |entries: &[u8]| {
        let block = [&V4[..], entries].concat();
        read(&binary(0x21, 0x11, &block)).unwrap().1.secure
    };
    assert!(secure(&[0x20, 0, 5, 1, 0, 0, 0, 0]));
    assert!(secure(&[4, 0, 1, 0, 0x20, 0, 5, 7, 0, 0, 0, 0, 9]));
    assert!(!secure(&[0x20, 0, 5, 0, 0, 0, 0, 0]));
    assert!(!secure(&[0x20, 0, 0]) && !secure(&[0x20, 0, 9, 1]) && !secure(&[0x20]));
}

#[test]
fn every_byte_is_waited_for() {
    let line = b"PROXY TCP4 192.0.2.1 10.0.0.1 51000 443\r\n".to_vec();
    for header in [line, b"PROXY UNKNOWN\r\n".to_vec(), binary(0x21, 0x21, &v6()), binary(0x20, 0, &[])] {
        for at in 0..header.len() {
            let progress = parse(&header[..at]).unwrap();
            assert!(
                matches!(progress, Progress::More(more) if at + more <= header.len()),
                "{at} of {header:?}"
            );
        }
        assert!(matches!(parse(&header), Ok(Progress::Done { .. })));
    }
}

#[test]
fn anything_else_is_refused_at_its_first_wrong_byte() {
    for input in [&b"G"[..], b"\x16\x03\x01", b"PROXX", b"proxy ", b"\r\n\r\n\0\r\nQUIT\r", b"\r\nG", b" "] {
        assert_eq!(parse(input), Err(ProxyHeaderError::Missing), "{input:?}");
    }
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 \r\n",
        "PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
        "PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 a b 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1  1\r\n",
        "PROXY UNKNOWN\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(ProxyHeaderError::Malformed), "{line:?}");
    }
    assert_eq!(parse(b"PROXY UNKNOWN \xff\r\n"), Err(ProxyHeaderError::Malformed));
    for (command, family) in
        [(0x11, 0x11), (0x31, 0x11), (0x22, 0x11), (0x21, 0x10), (0x21, 0x13), (0x21, 0x41), (0x21, 0x01)]
    {
        assert_eq!(parse(&binary(command, family, &[0; 240])), Err(ProxyHeaderError::Malformed));
    }
    for (family, length) in [(0x11, 11), (0x21, 35), (0x12, 11), (0x22, 35), (0x31, 215)] {
        assert_eq!(parse(&binary(0x21, family, &[0; 240][..length])), Err(ProxyHeaderError::Malformed));
    }
}

#[test]
fn a_header_has_a_maximum_length() {
    let longest = [b"PROXY UNKNOWN ", &[b'x'; 91][..], b"\r\n"].concat();
    assert_eq!((longest.len(), parse(&longest)), (MAX_LINE, done(MAX_LINE, "")));
    let longer = [b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat();
    assert_eq!(parse(&longer), Err(ProxyHeaderError::TooLong));
    assert_eq!(parse(&longer[..MAX_LINE]), Err(ProxyHeaderError::TooLong));
    assert_eq!(parse(&binary(0x20, 0, &[0; 520])), done(MAX_HEADER, ""));
    assert_eq!(parse(&binary(0x20, 0, &[0; 521])[..FIXED]), Err(ProxyHeaderError::TooLong));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(ip in any::<(IpAddr, bool)>(), port in any::<u16>()) {
        let (ip, text) = ip;
        let (name, family, octets) = match ip {
            IpAddr::V4(ip) => ("TCP4", 0x11, ip.octets().to_vec()),
            IpAddr::V6(ip) => ("TCP6", 0x21, ip.octets().to_vec()),
        };
        let header = match text {
            true => alloc::format!("PROXY {name} {ip} {ip} {port} 0\r\n").into_bytes(),
            false => binary(0x21, family, &[&octets[..], &octets, &port.to_be_bytes(), &[0; 2]].concat()),
        };
        let (len, source) = read(&header).unwrap();
        prop_assert_eq!((len, source.address), (header.len(), Some(SocketAddr::new(ip, port))));
    }

    #[test]
    fn any_bytes_are_a_header_or_an_error(front in 0..4_usize, bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let front = [&b""[..], WORD, SIGNATURE, b"PROXY TCP4 "][front];
        if let Err(error) = read(&[front, &bytes].concat()) {
            prop_assert!(error.to_string().contains("PROXY protocol"));
        }
    }
}
