//! Lists that only grow, and are read without a lock.

use std::sync::OnceLock;

/// A list to which any thread may add. A reader takes no lock and writes nothing, so threads that read at the same time
/// do not slow each other.
pub(crate) struct AppendList<T>(Link<T>);

type Link<T> = OnceLock<Box<Node<T>>>;

struct Node<T> {
    item: T,
    next: Link<T>,
}

impl<T> AppendList<T> {
    /// Adds an item behind the others.
    pub(crate) fn push(&self, item: T) {
        let mut node = Box::new(Node { item, next: Link::new() });
        let mut end = &self.0;
        while let Err(rejected) = end.set(node) {
            node = rejected;
            end = &end.get().expect("a link that cannot be set is set").next;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Returns the items in the order in which they were added.
    pub(crate) fn iter(&self) -> Items<'_, T> {
        Items { link: &self.0, behind: None }
    }

    /// Returns the items, and then those of another list.
    pub(crate) fn chain<'a>(&'a self, behind: &'a AppendList<T>) -> Items<'a, T> {
        Items { link: &self.0, behind: Some(behind) }
    }
}

/// The items of a list, or of two.
pub(crate) struct Items<'a, T> {
    link: &'a Link<T>,
    behind: Option<&'a AppendList<T>>,
}

impl<'a, T> Iterator for Items<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        let node = match self.link.get() {
            Some(node) => node,
            None => {
                self.link = &self.behind.take()?.0;
                self.link.get()?
            }
        };
        self.link = &node.next;
        Some(&node.item)
    }
}

impl<T> Clone for Items<'_, T> {
    fn clone(&self) -> Self {
        Items { link: self.link, behind: self.behind }
    }
}

impl<T> Default for AppendList<T> {
    fn default() -> Self {
        AppendList(Link::new())
    }
}

impl<T> Drop for AppendList<T> {
    /// Drops one node after the other, because a recursion over a long list would exceed the stack.
    fn drop(&mut self) {
        let mut rest = self.0.take();
        while let Some(mut node) = rest {
            rest = node.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_in_the_order_in_which_they_were_added() {
        let list = AppendList::default();
        assert!(list.is_empty());
        (0..10).for_each(|n| list.push(n));
        assert!(!list.is_empty() && list.iter().copied().eq(0..10));
    }

    #[test]
    fn the_items_of_two_lists_follow_each_other() {
        let lists = [AppendList::default(), AppendList::default()];
        let [first, second] = &lists;
        assert!(first.chain(second).next().is_none());
        [3, 4].into_iter().for_each(|n| second.push(n));
        assert!(first.chain(second).copied().eq([3, 4]) && second.chain(first).copied().eq([3, 4]));
        [1, 2].into_iter().for_each(|n| first.push(n));
        assert!(first.chain(second).clone().copied().eq([1, 2, 3, 4]) && first.iter().copied().eq([1, 2]));
    }

    #[test]
    fn items_that_threads_add_at_the_same_time_are_all_kept() {
        let list = AppendList::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let list = &list;
                scope.spawn(move || (0..100).for_each(|n| list.push(thread * 100 + n)));
            }
        });
        let mut items: Vec<_> = list.iter().copied().collect();
        items.sort_unstable();
        assert!(items.into_iter().eq(0..400));
    }

    #[test]
    fn a_long_list_is_dropped_without_a_deep_stack() {
        let list = AppendList::default();
        let mut end = &list.0;
        for n in 0..200_000 {
            end = &end.get_or_init(|| Box::new(Node { item: n, next: Link::new() })).next;
        }
        drop(list);
    }
}
