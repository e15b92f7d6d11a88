//! The list of one client's namespaces.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::take;
use core::ops::{Deref, DerefMut};

/// The namespaces of one client. A single one, as most clients have, needs no memory of its own.
// An enum of its own, because a `SmallVec` takes 8 bytes more, in every session.
#[derive(Debug)]
pub(super) enum Namespaces<S> {
    One(Member<S>),
    Any(Vec<Member<S>>),
}

#[derive(Debug)]
pub(super) struct Member<S> {
    pub(super) name: Arc<str>,
    pub(super) state: State<S>,
}

#[derive(Debug)]
pub(super) enum State<S> {
    /// The application has not decided yet whether to admit this socket.
    Connecting(S),
    Connected(S),
    /// The server closed the namespace. Packets that the client sent before it knew are ignored.
    Left,
}

impl<S> State<S> {
    pub(super) fn into_socket(self) -> Option<S> {
        match self {
            State::Connecting(socket) | State::Connected(socket) => Some(socket),
            State::Left => None,
        }
    }
}

impl<S> Default for Namespaces<S> {
    fn default() -> Self {
        Namespaces::Any(Vec::new())
    }
}

impl<S> Deref for Namespaces<S> {
    type Target = [Member<S>];

    #[inline]
    fn deref(&self) -> &[Member<S>] {
        match self {
            Namespaces::One(member) => core::slice::from_ref(member),
            Namespaces::Any(members) => members,
        }
    }
}

impl<S> DerefMut for Namespaces<S> {
    fn deref_mut(&mut self) -> &mut [Member<S>] {
        match self {
            Namespaces::One(member) => core::slice::from_mut(member),
            Namespaces::Any(members) => members,
        }
    }
}

impl<S> Namespaces<S> {
    pub(super) fn push(&mut self, member: Member<S>) {
        *self = match take(self) {
            Namespaces::One(first) => Namespaces::Any(vec![first, member]),
            Namespaces::Any(members) if members.is_empty() => Namespaces::One(member),
            Namespaces::Any(mut members) => {
                members.push(member);
                Namespaces::Any(members)
            }
        };
    }

    /// Removes the namespace at an index of the list.
    pub(super) fn remove(&mut self, at: usize) -> Option<Member<S>> {
        if at >= self.len() {
            return None;
        }
        match self {
            Namespaces::One(_) => take(self).into_members().next(),
            Namespaces::Any(members) => Some(members.remove(at)),
        }
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(&Member<S>) -> bool) {
        match self {
            Namespaces::One(member) if is_kept(member) => {}
            Namespaces::One(_) => *self = Namespaces::default(),
            Namespaces::Any(members) => members.retain(is_kept),
        }
    }

    pub(super) fn into_members(self) -> impl Iterator<Item = Member<S>> + use<S> {
        let (one, members) = match self {
            Namespaces::One(member) => (Some(member), Vec::new()),
            Namespaces::Any(members) => (None, members),
        };
        one.into_iter().chain(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member<Arc<()>> {
        Member { name: name.into(), state: State::Left }
    }

    fn names(namespaces: &Namespaces<Arc<()>>) -> Vec<&str> {
        namespaces.iter().map(|member| &*member.name).collect()
    }

    #[test]
    fn a_list_keeps_its_order_whether_it_has_one_member_or_more() {
        let mut list = Namespaces::default();
        assert!(list.remove(0).is_none() && names(&list).is_empty());
        list.push(member("a"));
        assert!(matches!(list, Namespaces::One(_)), "it needs no memory");
        list.push(member("b"));
        list.push(member("c"));
        assert_eq!(names(&list), ["a", "b", "c"]);
        assert_eq!(list.remove(1).map(|member| member.name).as_deref(), Some("b"));
        assert!(list.remove(2).is_none());
        list.retain(|member| &*member.name != "a");
        assert_eq!(names(&list), ["c"]);
        list.push(member("d"));
        assert!(list.into_members().map(|member| member.name).eq(["c".into(), "d".into()] as [Arc<str>; 2]));
    }

    #[test]
    fn a_single_member_is_found_removed_and_retained() {
        let mut list = Namespaces::default();
        for name in ["a", "b", "c"] {
            list.push(member(name));
            list.retain(|member| &*member.name == name);
            list.iter_mut().for_each(|member| member.state = State::Connected(Arc::new(())));
            assert_eq!(names(&list), [name]);
            match name {
                "a" => assert!(list.remove(0).is_some_and(|member| member.state.into_socket().is_some())),
                "b" => list.retain(|_| false),
                _ => assert_eq!(take(&mut list).into_members().count(), 1),
            }
            assert!(names(&list).is_empty());
        }
    }

    #[test]
    fn a_list_is_no_larger_than_a_member() {
        assert_eq!(size_of::<Namespaces<Arc<()>>>(), 32);
        assert_eq!(size_of::<Namespaces<Arc<()>>>(), size_of::<Member<Arc<()>>>());
    }
}
