//! Random messages in random pieces, and random bytes.

use super::*;
use proptest::{collection::vec as vec_of, prelude::*};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

/// A message and the sizes of its fragments.
fn message() -> impl Strategy<Value = (Owned, Vec<usize>)> {
    let content = prop_oneof![
        "[a-zß€😀]{0,80}".prop_map(Owned::Text),
        vec_of(any::<u8>(), 0..300).prop_map(Owned::Binary),
        vec_of(any::<u8>(), 0..=125).prop_map(Owned::Ping),
        vec_of(any::<u8>(), 0..=125).prop_map(Owned::Pong),
    ];
    (content, vec_of(0..60usize, 0..5))
}

/// Appends the frames of a message, with a ping after each fragment but the last. Returns the
/// messages to expect.
fn send(to: Role, message: &Owned, sizes: &[usize], wire: &mut Vec<u8>) -> Vec<Owned> {
    let (first, mut rest) = match message {
        Owned::Text(text) => (0x1, text.as_bytes()),
        Owned::Binary(data) => (0x2, &data[..]),
        Owned::Ping(data) => (0x9, &data[..]),
        Owned::Pong(data) => (0xa, &data[..]),
        Owned::Close(_) => unreachable!("not generated"),
    };
    let mut opcode = first;
    let mut expected = vec![];
    for size in sizes.iter().filter(|_| first < 8) {
        let (fragment, tail) = rest.split_at(rest.len().min(*size));
        wire.extend(frame(to, opcode, fragment));
        wire.extend(frame(to, 0x89, fragment));
        expected.push(Owned::Ping(fragment.to_vec()));
        (opcode, rest) = (0, tail);
    }
    wire.extend(frame(to, 0x80 | opcode, rest));
    expected.push(message.clone());
    expected
}

/// Cuts `wire` into chunks of these sizes, which are repeated as needed.
pub(super) fn cut<'a>(mut wire: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = vec![];
    for size in sizes.iter().cycle() {
        if wire.is_empty() {
            break;
        }
        let (chunk, rest) = wire.split_at(wire.len().min(*size));
        chunks.push(chunk);
        wire = rest;
    }
    chunks
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_survive_any_fragments_and_chunks(
        to in role(),
        sent in vec_of(message(), 0..6),
        chunks in vec_of(1..40usize, 1..8),
    ) {
        let mut wire = vec![];
        let mut expected = vec![];
        for (message, sizes) in &sent {
            expected.extend(send(to, message, sizes, &mut wire));
        }
        let outcome = receive_chunks(to, LIMIT, cut(&wire, &chunks));
        prop_assert_eq!(&outcome.messages, &expected);
        prop_assert_eq!(outcome.error, None);
        prop_assert!(outcome.left.is_empty());
        prop_assert_eq!(receive_chunks(to, LIMIT, [&wire[..]]), outcome);
    }

    #[test]
    fn arbitrary_bytes_decode_the_same_in_any_chunks(
        role in role(),
        limit in prop_oneof![0..200usize, Just(usize::MAX)],
        wire in vec_of(any::<u8>(), 0..200),
    ) {
        receive_with_limit(role, limit, &wire);
    }

    /// Frames that are mostly well-formed reach more code than random bytes.
    #[test]
    fn arbitrary_frames_decode_the_same_in_any_chunks(
        role in role(),
        limit in 0..60usize,
        sent in vec_of((first_byte(), payload()), 0..8),
    ) {
        let wire: Vec<u8> = sent
            .iter()
            .flat_map(|(first, payload)| frame(role, *first, payload))
            .collect();
        receive_with_limit(role, limit, &wire);
    }
}

fn first_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => prop::sample::select(&[0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x89, 0x8a][..]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[aß€😀]{0,6}".prop_map(String::into_bytes),
        vec_of(prop::sample::select("€😀".as_bytes()), 0..3),
        vec_of(any::<u8>(), 0..20),
    ]
}
