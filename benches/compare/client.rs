//! A client's stream to the server, with buffers for input and output.

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

/// The number of clients that connect from the same address of this machine.
const CLIENTS_PER_ADDRESS: usize = 1_000;
/// The error of `connect` on Linux for a connection that is not open yet, and will be.
const IN_PROGRESS: i32 = 115;

pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    /// The length of the input that was taken already.
    used: usize,
    output: Vec<u8>,
    written: usize,
}

/// The kinds of frames that the load distinguishes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text,
    Binary,
    Other,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, registry: &Registry, token: usize) -> io::Result<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // From one address, the search for a free port gets slow after ten thousand connections.
        let source = Ipv4Addr::new(127, 0, 1, (token / CLIENTS_PER_ADDRESS) as u8);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        registry.register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, input: Vec::new(), used: 0, output: Vec::new(), written: 0 })
    }

    /// Returns the buffer for output, which the next [`flush`](Client::flush) writes.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(n) => self.written += n,
                // The stream may not be connected yet.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads all bytes that have arrived.
    pub(crate) fn fill(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        self.input.drain(..self.used);
        self.used = 0;
        loop {
            match self.stream.read(scratch) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed a connection"));
                }
                Ok(n) => {
                    self.input.extend_from_slice(&scratch[..n]);
                    if n < scratch.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the bytes that were read and not taken yet.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.used..]
    }

    pub(crate) fn take(&mut self, count: usize) {
        self.used += count;
    }

    /// Returns the payload of a frame that was taken.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.input[range]
    }

    /// Takes a frame if it has arrived completely. Servers do not mask, and none of the compared ones sends fragments.
    pub(crate) fn frame(&mut self) -> Option<(Opcode, Range<usize>)> {
        let input = self.input();
        let (first, second) = (*input.first()?, *input.get(1)?);
        let (header, len) = match second {
            126 => (4, usize::from(u16::from_be_bytes(input.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(input.get(2..10)?.try_into().ok()?) as usize),
            len => (2, usize::from(len)),
        };
        input.get(header..header + len)?;
        let opcode = match first {
            0x81 => Opcode::Text,
            0x82 => Opcode::Binary,
            _ => Opcode::Other,
        };
        let start = self.used + header;
        self.used = start + len;
        Some((opcode, start..start + len))
    }
}

/// Appends a masked frame, as clients send it.
pub(crate) fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    out.push(if opcode == Opcode::Text { 0x81 } else { 0x82 });
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}
