//! The sockets whose clients are away.

use super::entry::Recipient;
use super::{Life, Pid};
use crate::engineio::Id;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use smol_str::SmolStr;

/// The state of a socket whose client is away.
#[derive(Debug)]
pub struct Kept<D> {
    /// The rooms of the socket, in alphabetical order.
    pub rooms: Box<[SmolStr]>,
    /// The owner's data.
    pub data: D,
    pub(super) life: Life,
    /// The client may have missed events that were sent to it by a recovery, however old they are.
    pub(super) is_unconfirmed: bool,
    deadline: Time,
    /// The number of the claim, while the application decides about the client that has come back.
    claim: Option<u64>,
}

impl<D> Kept<D> {
    pub(super) fn new(
        mut rooms: Box<[SmolStr]>,
        data: D,
        life: Life,
        is_unconfirmed: bool,
        deadline: Time,
    ) -> Kept<D> {
        rooms.sort_unstable();
        Kept { rooms, data, life, is_unconfirmed, deadline, claim: None }
    }

    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    /// Returns what is needed to recover the client.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Returns the client of the socket with this id.
    pub(super) fn recipient<'a>(&'a self, id: &'a Id) -> Recipient<'a> {
        Recipient { id: id.as_str(), rooms: &self.rooms }
    }
}

/// The sockets whose clients are away, by their ids.
#[derive(Debug)]
pub(super) struct Sessions<D> {
    by_id: BTreeMap<Id, Kept<D>>,
    /// The deadlines of those that are not claimed.
    deadlines: BTreeSet<(Time, Id)>,
    claims: u64,
}

impl<D> Default for Sessions<D> {
    fn default() -> Self {
        Sessions { by_id: BTreeMap::new(), deadlines: BTreeSet::new(), claims: 0 }
    }
}

impl<D> Sessions<D> {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Id, &Kept<D>)> {
        self.by_id.iter()
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Kept<D>> {
        self.by_id.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &Id) -> Option<&mut Kept<D>> {
        self.by_id.get_mut(id)
    }

    /// Adds a socket. An earlier one with this id is replaced.
    pub(super) fn insert(&mut self, id: Id, kept: Kept<D>) {
        self.remove(&id);
        self.deadlines.insert((kept.deadline, id));
        self.by_id.insert(id, kept);
    }

    pub(super) fn remove(&mut self, id: &Id) -> Option<Kept<D>> {
        let kept = self.by_id.remove(id)?;
        self.deadlines.remove(&(kept.deadline, *id));
        Some(kept)
    }

    /// Returns the socket of a private id, unless its deadline has passed.
    pub(super) fn find(&self, now: Time, pid: &Pid) -> Option<&Kept<D>> {
        let kept = self.by_id.get(&pid.id)?;
        let lives = kept.claim.is_some() || now < kept.deadline;
        (lives && kept.life.secret == pid.secret).then_some(kept)
    }

    /// Holds the deadline of a socket up. An earlier claim is void. Returns the number of the claim.
    pub(super) fn claim(&mut self, id: &Id) -> u64 {
        self.claims += 1;
        if let Some(kept) = self.by_id.get_mut(id) {
            self.deadlines.remove(&(kept.deadline, *id));
            kept.claim = Some(self.claims);
        }
        self.claims
    }

    /// Returns the socket of a claim that is not void.
    pub(super) fn claimed(&self, id: &Id, claim: u64) -> Option<&Kept<D>> {
        self.by_id.get(id).filter(|kept| kept.claim == Some(claim))
    }

    /// Puts the deadline of a claimed socket in force again.
    pub(super) fn release(&mut self, id: &Id, claim: u64) {
        if let Some(kept) = self.by_id.get_mut(id)
            && kept.claim == Some(claim)
        {
            kept.claim = None;
            self.deadlines.insert((kept.deadline, *id));
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes the socket whose deadline is the first.
    pub(super) fn pop(&mut self) -> Option<(Id, Kept<D>)> {
        let (_, id) = self.deadlines.pop_first()?;
        self.by_id.remove(&id).map(|kept| (id, kept))
    }
}
