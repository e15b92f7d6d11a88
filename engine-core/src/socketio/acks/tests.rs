use crate::socketio::{Acks, AcksFull, MAX_ACK_ID};
use crate::time::Time;
use core::time::Duration;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

/// A table whose next id is this one.
fn next_is<T>(id: u64, limit: u32) -> Acks<T> {
    let mut acks = Acks::new(limit);
    acks.next = u32::try_from(id).unwrap();
    acks
}

#[test]
fn ids_begin_with_zero_and_an_answer_is_taken_once() {
    let mut acks = Acks::new(10);
    assert_eq!(acks.insert(None, 'a'), Ok(0));
    assert_eq!(acks.insert(None, 'b'), Ok(1));
    assert_eq!((acks.take(1), acks.take(1), acks.take(7)), (Some('b'), None, None));
    // Not at once again: a late answer would be taken for another's.
    assert_eq!(acks.insert(None, 'c'), Ok(2));
    *acks.get_mut(0).unwrap() = 'x';
    assert_eq!(acks.iter().collect::<Vec<_>>(), [(0, &'x'), (2, &'c')]);
}

#[test]
fn ids_wrap_at_two_to_the_31_and_skip_those_that_are_pending() {
    let mut acks = Acks::new(10);
    assert_eq!(acks.insert(None, ()), Ok(0));
    acks.insert_at(2, None, ()).unwrap();
    acks.insert_at(MAX_ACK_ID - 1, None, ()).unwrap();
    acks.next = u32::try_from(MAX_ACK_ID).unwrap() - 1;
    let ids: Vec<_> = (0..4).map(|_| acks.insert(None, ()).unwrap()).collect();
    assert_eq!(ids, [MAX_ACK_ID, 1, 3, 4]);
    assert_eq!(MAX_ACK_ID, i32::MAX as u64);
    let mut acks = next_is::<()>(MAX_ACK_ID, 10);
    assert_eq!([acks.next_id(), acks.next_id()], [MAX_ACK_ID, 0]);
}

#[test]
fn a_full_table_takes_no_more_until_one_is_taken() {
    let mut acks = Acks::new(2);
    acks.insert(Some(at(1)), 'a').unwrap();
    acks.insert(None, 'b').unwrap();
    assert_eq!(acks.insert(None, 'c'), Err(AcksFull));
    assert_eq!(acks.insert_at(9, None, 'c'), Err(AcksFull));
    assert!(acks.is_full() && acks.len() == 2);
    // In place of one that is pending there is capacity.
    acks.insert_at(0, None, 'd').unwrap();
    assert_eq!((acks.next_deadline(), acks.take(0)), (None, Some('d')));
    assert_eq!(acks.insert(None, 'e'), Ok(2));
    assert_eq!(Acks::new(0).insert(None, ()), Err(AcksFull));
}

#[test]
fn the_earliest_deadline_expires_first_and_exactly() {
    let mut acks = Acks::new(10);
    acks.insert(Some(at(5)), 'a').unwrap();
    acks.insert(None, 'b').unwrap();
    acks.insert(Some(at(3)), 'c').unwrap();
    acks.insert(Some(at(5)), 'd').unwrap();
    assert_eq!(acks.next_deadline(), Some(at(3)));
    assert_eq!(acks.take_expired(at(2) + Duration::from_nanos(999_999_999)), None);
    assert_eq!(acks.take_expired(at(3)), Some((2, 'c')));
    assert_eq!(acks.take_expired(at(3)), None);
    assert_eq!(acks.take(0), Some('a'));
    assert_eq!(acks.take_expired(at(9)), Some((3, 'd')));
    assert_eq!((acks.take_expired(at(9)), acks.next_deadline()), (None, None));
    assert_eq!(acks.len(), 1);
}

#[test]
fn an_idle_table_allocates_nothing() {
    let mut acks = Acks::new(10);
    assert!(acks.table.is_none() && size_of::<Acks<[u64; 9]>>() <= 16);
    let id = acks.insert(Some(at(1)), ()).unwrap();
    acks.take(id);
    assert!(acks.table.is_none() && acks.is_empty());
    acks.insert(None, ()).unwrap();
    assert_eq!(acks.drain().collect::<Vec<_>>(), [(1, ())]);
    assert!(acks.table.is_none());
    assert_eq!(acks.insert(None, ()), Ok(2));
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Option<u64>),
    InsertAt(u64, Option<u64>),
    Take(u64),
    Expire(u64),
    Drain,
}

fn any_step() -> impl Strategy<Value = Step> {
    let deadline = || proptest::option::of(0..20_u64);
    let id = || prop_oneof![0..12_u64, MAX_ACK_ID - 6..=MAX_ACK_ID];
    prop_oneof![
        5 => deadline().prop_map(Step::Insert),
        2 => (id(), deadline()).prop_map(|(id, deadline)| Step::InsertAt(id, deadline)),
        4 => id().prop_map(Step::Take),
        2 => (0..20_u64).prop_map(Step::Expire),
        1 => Just(Step::Drain),
    ]
}

proptest! {
    #[test]
    fn it_does_what_a_plain_map_does(
        steps in proptest::collection::vec(any_step(), 0..80),
        start in 0..8_u64,
        limit in 0..12_u32,
    ) {
        let mut acks = next_is(MAX_ACK_ID - start, limit);
        let mut model = BTreeMap::<u64, (Option<Time>, usize)>::new();
        let mut next = MAX_ACK_ID - start;
        for (value, step) in steps.into_iter().enumerate() {
            let is_full = model.len() >= limit as usize;
            match step {
                Step::Insert(_) if is_full => prop_assert_eq!(acks.insert(None, value), Err(AcksFull)),
                Step::Insert(deadline) => {
                    while model.contains_key(&next) {
                        next = (next + 1) % (MAX_ACK_ID + 1);
                    }
                    prop_assert_eq!(acks.insert(deadline.map(at), value), Ok(next));
                    model.insert(next, (deadline.map(at), value));
                    next = (next + 1) % (MAX_ACK_ID + 1);
                }
                Step::InsertAt(id, deadline) => {
                    let added = acks.insert_at(id, deadline.map(at), value);
                    prop_assert_eq!(added.is_err(), is_full && !model.contains_key(&id));
                    if added.is_ok() {
                        model.insert(id, (deadline.map(at), value));
                    }
                }
                Step::Take(id) => prop_assert_eq!(acks.take(id), model.remove(&id).map(|(_, value)| value)),
                Step::Expire(now) => {
                    let due = model.iter().filter_map(|(id, (deadline, _))| Some((deadline.filter(|it| *it <= at(now))?, *id)));
                    let mut due: Vec<_> = due.collect();
                    due.sort();
                    for (_, id) in due {
                        let (_, value) = model.remove(&id).unwrap();
                        prop_assert_eq!(acks.take_expired(at(now)), Some((id, value)));
                    }
                    prop_assert_eq!(acks.take_expired(at(now)), None);
                }
                Step::Drain => {
                    let all: Vec<_> = acks.drain().collect();
                    let expected = core::mem::take(&mut model).into_iter().map(|(id, (_, value))| (id, value));
                    prop_assert_eq!(all, expected.collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(acks.len(), model.len());
            prop_assert_eq!(acks.is_empty(), model.is_empty());
            prop_assert_eq!(acks.next_deadline(), model.values().filter_map(|(deadline, _)| *deadline).min());
            prop_assert!(acks.iter().map(|(id, value)| (id, *value)).eq(model.iter().map(|(id, (_, value))| (*id, *value))));
        }
    }
}
