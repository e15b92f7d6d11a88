//! The namespaces of a server, by name.

use super::Engine;
use super::cluster::Link;
use super::namespace::Namespace;
use super::parent::{Matcher, Parent, PatternError};
use crate::append::AppendList;
use crate::guard::guard;
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use sockeye_core::socketio::{Limits, NamespaceError, Parser, check_namespace, with_slash};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// The namespaces of a server, and the parents that create further ones.
pub(super) struct Namespaces {
    table: RwLock<Table>,
    /// In the order in which they are asked.
    parents: AppendList<Arc<Parent>>,
    created: AppendList<Box<dyn Fn(Namespace) + Send + Sync>>,
    /// The link to other servers, if there is an adapter. It is told of each namespace under the lock of the table.
    pub(super) link: Option<Arc<Link>>,
    /// Removes a child of a parent when its last socket leaves.
    pub(super) cleans_up: bool,
    /// The number of children above which clients create no further ones.
    pub(super) max_children: usize,
    /// There was a namespace with `#` in its name.
    have_hashes: AtomicBool,
}

#[derive(Default)]
struct Table {
    /// Clients may choose names, so the hash is seeded at random.
    by_name: HashMap<Arc<str>, Namespace, RandomState>,
    /// The number of those that have a parent.
    children: usize,
}

/// The namespace that a client asks for.
pub(super) enum Wanted {
    /// One that exists now. It is [in use](Namespace::begin_use).
    Found(Namespace),
    /// One that does not exist. The first of these parents that admits the name creates it; a function has to decide.
    Undecided(Vec<Arc<Parent>>),
    /// None, for a reason that the client is told.
    Refused(&'static str),
}

/// The refusal of a client that asks for a namespace that does not exist.
pub(super) const INVALID: &str = "Invalid namespace";

/// The refusal of a client that asks for one more child than there may be.
const TOO_MANY: &str = "the server has too many namespaces";

impl Default for Namespaces {
    fn default() -> Self {
        Namespaces {
            table: RwLock::default(),
            parents: AppendList::default(),
            created: AppendList::default(),
            link: None,
            cleans_up: false,
            max_children: 10_000,
            have_hashes: AtomicBool::new(false),
        }
    }
}

impl Table {
    fn insert(&mut self, namespace: &Namespace) {
        self.children += usize::from(namespace.is_child());
        self.by_name.insert(namespace.0.name.clone(), namespace.clone());
    }

    fn remove(&mut self, name: &str) -> Option<Namespace> {
        let removed = self.by_name.remove(name)?;
        self.children -= usize::from(removed.is_child());
        Some(removed)
    }
}

impl Namespaces {
    /// Returns the namespace of this name for the application, and creates it if it does not exist.
    pub(super) fn of(
        &self,
        name: &str,
        parser: Parser,
        limits: &Limits,
        engine: &Arc<Engine>,
    ) -> Result<Namespace, NamespaceError> {
        let name = with_slash(name);
        // Kept under the lock, under which an unused child is removed.
        if let Some(known) = self.table.read().by_name.get(&*name) {
            known.keep();
            return Ok(known.clone());
        }
        check_namespace(&name, limits.max_namespace_len)?;
        let (namespace, is_new) = {
            let mut table = self.table.write();
            let known = table.by_name.get(&*name).cloned();
            let is_new = known.is_none();
            let namespace = known.unwrap_or_else(|| {
                match self.parents.iter().find(|parent| parent.has_pattern_for(&name)) {
                    Some(parent) => Namespace::child_of(parent, &name).continued(),
                    None => Namespace::new(&name, parser, Arc::downgrade(engine)).continued(),
                }
            });
            namespace.keep();
            if is_new {
                self.insert(&mut table, &namespace);
            }
            (namespace, is_new)
        };
        if is_new {
            namespace.begin_memory();
            self.send_to_cluster();
            self.tell_created(&namespace);
        }
        Ok(namespace)
    }

    /// Returns the namespace that a client asks for, and creates it if a pattern matches.
    pub(super) fn wanted(&self, name: &str, limits: &Limits) -> Wanted {
        if let Some(known) = self.table.read().by_name.get(name) {
            return Wanted::Found(known.begin_use());
        }
        let mut parents = self.parents.iter().filter(|parent| parent.may_match(name));
        let Some(first) = parents.next() else { return Wanted::Refused(INVALID) };
        // The name is that of a packet, in which a question mark may stand.
        if check_namespace(name, limits.max_namespace_len).is_err() {
            return Wanted::Refused(INVALID);
        }
        match first.matcher {
            Matcher::Pattern(..) => self.child(name, first).map_or_else(Wanted::Refused, Wanted::Found),
            Matcher::Function(_) => Wanted::Undecided([first].into_iter().chain(parents).cloned().collect()),
        }
    }

    /// Returns the namespace that a client asks for, whose parent is known. It is created once, even if many clients ask
    /// for it at the same time, and is [in use](Namespace::begin_use).
    ///
    /// # Errors
    /// The reason for the client, if there are too many.
    pub(super) fn child(&self, name: &str, parent: &Arc<Parent>) -> Result<Namespace, &'static str> {
        let child = {
            let mut table = self.table.write();
            if let Some(known) = table.by_name.get(name) {
                return Ok(known.begin_use());
            }
            if table.children >= self.max_children {
                return Err(TOO_MANY);
            }
            let child = Namespace::child_of(parent, name).continued().begin_use();
            self.insert(&mut table, &child);
            child
        };
        child.begin_memory();
        self.send_to_cluster();
        self.tell_created(&child);
        Ok(child)
    }

    /// Removes a child that is no longer in use, unless it has to be kept.
    pub(super) fn remove_unused(&self, child: &Namespace) {
        // Dropped without the lock, as its handlers belong to the application.
        let _removed = {
            let mut table = self.table.write();
            let is_listed = table.by_name.get(child.name()).is_some_and(|known| known.is(child));
            let is_removed = is_listed && child.is_unused(self.cleans_up);
            is_removed.then(|| self.take(&mut table, child.name()))
        };
        self.send_to_cluster();
    }

    /// Removes a namespace, but not the main one.
    pub(super) fn remove(&self, name: &str) -> Option<Namespace> {
        let name = with_slash(name);
        if name == "/" { None } else { self.take(&mut self.table.write(), &name) }
    }

    fn take(&self, table: &mut Table, name: &str) -> Option<Namespace> {
        let removed = table.remove(name)?;
        if let Some(link) = &self.link {
            link.queue(|state, now| state.cluster.remove_namespace(now, name));
        }
        Some(removed)
    }

    /// Returns the namespace of this name, if it exists.
    pub(super) fn get(&self, name: &str) -> Option<Namespace> {
        self.table.read().by_name.get(name).cloned()
    }

    /// Returns whether the name of a namespace may have `#` in it.
    pub(super) fn have_hashes(&self) -> bool {
        self.have_hashes.load(Ordering::Acquire)
    }

    fn insert(&self, table: &mut Table, namespace: &Namespace) {
        if namespace.name().contains('#') {
            self.have_hashes.store(true, Ordering::Release);
        }
        table.insert(namespace);
        if let Some(link) = &self.link {
            link.queue(|state, now| state.cluster.add_namespace(now, namespace.name()));
        }
    }

    /// Sends what the cluster has queued. The caller must hold no lock.
    pub(super) fn send_to_cluster(&self) {
        if let Some(link) = &self.link {
            link.send();
        }
    }

    /// Returns all namespaces at this moment.
    pub(super) fn all(&self) -> Vec<Namespace> {
        self.table.read().by_name.values().cloned().collect()
    }

    /// Returns the children of a parent.
    pub(super) fn children(&self, parent: &Arc<Parent>) -> Vec<Namespace> {
        let table = self.table.read();
        table
            .by_name
            .values()
            .filter(|it| it.parent().is_some_and(|it| Arc::ptr_eq(it, parent)))
            .cloned()
            .collect()
    }

    /// Adds a parent whose children have names that match a pattern.
    pub(super) fn add_pattern(
        &self,
        pattern: &str,
        parser: Parser,
        limits: &Limits,
        engine: Weak<Engine>,
    ) -> Result<Arc<Parent>, PatternError> {
        let parent = Arc::new(Parent::with_pattern(pattern, parser, limits, engine)?);
        // Patterns that two threads add at the same time are compared.
        let _table = self.table.write();
        if let Some(earlier) = self.parents.iter().find(|earlier| earlier.shadows(&parent)) {
            return Err(PatternError::Shadowed { by: earlier.namespace.name().into() });
        }
        self.parents.push(parent.clone());
        Ok(parent)
    }

    /// Adds a parent whose function decides about names.
    pub(super) fn add_function(&self, parent: Parent) -> Arc<Parent> {
        let parent = Arc::new(parent);
        self.parents.push(parent.clone());
        parent
    }

    pub(super) fn on_created(&self, f: impl Fn(Namespace) + Send + Sync + 'static) {
        self.created.push(Box::new(f));
    }

    /// Tells the application of a new namespace. The caller must hold no lock.
    fn tell_created(&self, namespace: &Namespace) {
        for f in self.created.iter() {
            guard("on_new_namespace", || f(namespace.clone()));
        }
    }
}
