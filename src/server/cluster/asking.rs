//! Waiting for the results of own requests to other servers.

use super::Link;
use crate::log::warn;
use parking_lot::Mutex;
use sockeye_core::Time;
use sockeye_core::cluster::{BusSockets, BusValue, Cluster, ClusterError, RequestId};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// Stands for the name of a server that does not tell it.
const UNNAMED: &str = "unnamed";

/// Waits for the results of a request. The methods are called without a lock.
pub(in crate::server) trait Asker: Send + Sync {
    /// A client or a server has answered.
    fn answer(&self, value: &BusValue) {
        let _ = value;
    }

    /// A server has reported its sockets.
    fn sockets(&self, sockets: BusSockets) {
        let _ = sockets;
    }

    /// The servers were counted. Nothing follows.
    fn counted(&self, servers: usize) {
        let _ = servers;
    }

    /// The request is over, and these servers have not answered. Nothing follows.
    fn finished(&self, silent: Vec<String>);
}

/// Returns the names of silent servers, of which some are known by their number only.
pub(super) fn names<T: ToString>(silent: &[T], unknown: usize) -> Vec<String> {
    let unnamed = std::iter::repeat_n(UNNAMED, unknown).map(str::to_owned);
    silent.iter().map(ToString::to_string).chain(unnamed).collect()
}

/// Logs that a request was not sent, and returns the silent servers.
pub(in crate::server) fn refused(error: ClusterError) -> Vec<String> {
    match error {
        // It was deleted, so that there are no other servers with it.
        ClusterError::UnknownNamespace => Vec::new(),
        error => {
            warn!(cause = %error, "a request to other servers is not sent");
            names(&[UNNAMED], 0)
        }
    }
}

/// A future of all results of a request. Dropping it cancels the request.
pub(in crate::server) struct Gathering {
    link: Weak<Link>,
    request: Option<RequestId>,
    results: Arc<Mutex<Results>>,
}

/// The results of a request.
#[derive(Default)]
pub(in crate::server) struct Gathered {
    pub(in crate::server) sockets: Vec<BusSockets>,
    pub(in crate::server) servers: Option<usize>,
    pub(in crate::server) silent: Vec<String>,
}

#[derive(Default)]
struct Results {
    gathered: Gathered,
    is_over: bool,
    waker: Option<Waker>,
}

impl Gathering {
    /// Sends a request.
    pub(in crate::server) fn begin(
        link: Arc<Link>,
        request: impl FnOnce(&mut Cluster, Time) -> Result<RequestId, ClusterError>,
    ) -> Gathering {
        let results = Arc::<Mutex<Results>>::default();
        let asker = Arc::downgrade(&results);
        let request = link.queue(|state, now| {
            let request = request(&mut state.cluster, now);
            request.inspect(|request| state.expect(request, asker))
        });
        match &request {
            Ok(_) => link.send(),
            Err(error) => results.finished(refused(*error)),
        }
        Gathering { link: Arc::downgrade(&link), request: request.ok(), results }
    }
}

impl Future for Gathering {
    type Output = Gathered;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Gathered> {
        let mut results = self.results.lock();
        if results.is_over {
            return Poll::Ready(std::mem::take(&mut results.gathered));
        }
        let replaced = results.waker.replace(cx.waker().clone());
        drop(results);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if let Some(request) = &self.request
            && let Some(link) = self.link.upgrade()
            && !self.results.lock().is_over
        {
            link.cancel(request);
        }
    }
}

impl Asker for Mutex<Results> {
    fn sockets(&self, sockets: BusSockets) {
        let sockets = sockets.detach();
        self.lock().gathered.sockets.push(sockets);
    }

    fn counted(&self, servers: usize) {
        self.lock().gathered.servers = Some(servers);
        self.finished(Vec::new());
    }

    fn finished(&self, silent: Vec<String>) {
        let waker = {
            let results = &mut *self.lock();
            results.is_over = true;
            results.gathered.silent = silent;
            results.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}
