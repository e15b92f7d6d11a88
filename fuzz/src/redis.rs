//! What Redis sends to the connections that subscribe and that read streams.

use super::Choices;

#[allow(dead_code)]
#[path = "../../adapter-redis/src/entries.rs"]
mod entries;
#[path = "../../adapter-redis/src/frame.rs"]
mod frame;

/// What is read does not depend on the pieces in which it comes, and no more memory is asked for than the limit allows.
pub fn redis_frames(data: &[u8]) {
    let mut choices = Choices(data);
    let (kind, limit, size) = (choices.byte(), choices.byte().into(), choices.byte().max(1).into());
    let bytes = choices.0;
    let read = |size| match kind & 3 {
        0 => entries(bytes, size, limit, false),
        1 => entries(bytes, size, limit, true),
        _ => frames(bytes, size, limit),
    };
    assert_eq!(read(bytes.len().max(1)), read(size));
}

/// Returns everything that was read, and whether it ended with an error.
fn frames(bytes: &[u8], size: usize, limit: usize) -> (Vec<String>, bool) {
    let (mut input, mut parser) = (Vec::new(), frame::Frames::new(limit));
    let mut read = Vec::new();
    for piece in bytes.chunks(size) {
        input.extend_from_slice(piece);
        let mut rest = &input[..];
        loop {
            match parser.take(&mut rest) {
                Ok(Some(frame)) => {
                    if let frame::Frame::Message { channel, payload } = &frame {
                        assert!(channel.len() + payload.len() <= limit);
                    }
                    read.push(format!("{frame:?}"));
                }
                Ok(None) => break,
                Err(_) => return (read, true),
            }
        }
        input = rest.to_vec();
        assert!(parser.missing() <= limit + 2);
    }
    (read, false)
}

fn entries(bytes: &[u8], size: usize, limit: usize, of_streams: bool) -> (Vec<String>, bool) {
    let (mut input, mut parser) = (Vec::new(), entries::Entries::new(limit));
    let mut read = Vec::new();
    for piece in bytes.chunks(size) {
        input.extend_from_slice(piece);
        let mut rest = &input[..];
        loop {
            match parser.take(&mut rest, of_streams) {
                Ok(Some(entries::Piece::Entry(entry))) => {
                    let fields: Vec<_> = entry.fields().collect();
                    assert!(
                        fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= limit
                    );
                    read.push(format!("{:?} {fields:?}", entry.id()));
                    parser.reuse(entry);
                }
                Ok(Some(piece)) => read.push(format!("{piece:?} {}", parser.is_complete())),
                Ok(None) => break,
                Err(_) => return (read, true),
            }
        }
        input = rest.to_vec();
        assert!(parser.missing() <= limit + 2);
    }
    (read, false)
}
