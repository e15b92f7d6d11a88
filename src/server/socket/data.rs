//! The data that the application stores with a socket: values that stay in the process, and JSON that can leave it.

use super::Socket;
use crate::server::recovery::Values;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::any::{Any, TypeId};
use std::io;
use std::sync::Arc;

/// Maximum length of a socket's shared data as JSON, in bytes.
const MAX_LEN: usize = 64 << 10;

/// The shared data as JSON. It is stored with the socket's other data, so that a socket without any pays nothing.
struct Json(Arc<str>);

/// The reason why shared data was not stored or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedDataError {
    /// The value is longer than 64 KiB as JSON.
    #[error("the shared data is longer than {MAX_LEN} bytes as JSON")]
    TooLong,
    /// The value cannot be written as JSON.
    #[error("the shared data cannot be written as JSON: {0}")]
    Serialize(Box<str>),
    /// The stored value is not of the requested type.
    #[error("the shared data is not of the expected type: {0}")]
    Deserialize(Box<str>),
}

crate::error::serialize_as_text!(SharedDataError);

impl Socket {
    /// Stores `value` with the socket. It replaces an earlier value of the same type, so use a type of your
    /// own.
    ///
    /// The value is kept as long as any handle of the socket, even after the client has gone. A value that
    /// holds a handle of this very socket forms a reference cycle, and both are leaked: hold its
    /// [id](Socket::id) instead, and find the socket by [`Namespace::socket`](crate::Namespace::socket).
    ///
    /// ```
    /// struct Name(String);
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: sockeye::Socket| {
    /// socket.set_data(Name("Ann".into()));
    /// assert_eq!(socket.data::<Name>().map(|name| name.0.clone()), Some("Ann".into()));
    /// # });
    /// ```
    pub fn set_data<T: Send + Sync + 'static>(&self, value: T) {
        let value: Arc<dyn Any + Send + Sync> = Arc::new(value);
        let mut state = self.0.state.lock();
        let data = &mut state.more().data;
        let key = TypeId::of::<T>();
        let replaced = match data.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => Some(std::mem::replace(known, value)),
            None => {
                data.push((key, value));
                None
            }
        };
        // The value's destructor is the application's code, so it runs without the lock.
        drop(state);
        drop(replaced);
    }

    /// Returns the value that was stored by [`set_data`](Socket::set_data).
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let state = self.0.state.lock();
        let data = &state.more.as_ref()?.data;
        let (_, value) = data.iter().find(|(key, _)| *key == TypeId::of::<T>())?;
        value.clone().downcast().ok()
    }

    /// Stores `value` with the socket as JSON, so that it can be shown outside of this process. It replaces the
    /// earlier shared data, whatever its type.
    ///
    /// The value is serialized by the call, once. For data that stays in this process, use
    /// [`set_data`](Socket::set_data), which needs no serialization.
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: sockeye::Socket| {
    /// socket.set_shared_data(("Ann", 7))?;
    /// assert_eq!(socket.shared_data::<(String, u32)>().ok(), Some(Some(("Ann".into(), 7))));
    /// assert_eq!(socket.shared_data_json().as_deref(), Some(r#"["Ann",7]"#));
    /// # Ok::<_, sockeye::HandlerError>(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// If the value cannot be written as JSON, or is longer than 64 KiB. The earlier shared data stays.
    pub fn set_shared_data(&self, value: impl Serialize) -> Result<(), SharedDataError> {
        let mut json = Bounded(Vec::new());
        serde_json::to_writer(&mut json, &value).map_err(|error| match error.is_io() {
            true => SharedDataError::TooLong,
            false => SharedDataError::Serialize(error.to_string().into()),
        })?;
        let json = String::from_utf8(json.0).expect("JSON is UTF-8");
        self.set_data(Json(json.into()));
        Ok(())
    }

    /// Returns the value that was stored by [`set_shared_data`](Socket::set_shared_data), or `None` if there is none.
    ///
    /// # Errors
    /// If the value is not of type `T`.
    pub fn shared_data<T: DeserializeOwned>(&self) -> Result<Option<T>, SharedDataError> {
        read_shared(self.shared_data_json().as_deref())
    }

    /// Returns the JSON that was stored by [`set_shared_data`](Socket::set_shared_data), or `None` if there is none.
    pub fn shared_data_json(&self) -> Option<Arc<str>> {
        self.data::<Json>().map(|json| json.0.clone())
    }
}

/// Returns the shared data among the values of a socket.
pub(in crate::server) fn stored_json(values: &Values) -> Option<&str> {
    let (_, value) = values.iter().find(|(key, _)| *key == TypeId::of::<Json>())?;
    value.downcast_ref::<Json>().map(|json| &*json.0)
}

/// Returns shared data that another process has stored, as a value of a socket. Returns `None` if it is no JSON, or too long.
pub(in crate::server) fn read_stored_json(json: &[u8]) -> Option<(TypeId, Arc<dyn Any + Send + Sync>)> {
    let is_right = json.len() <= MAX_LEN && serde_json::from_slice::<IgnoredAny>(json).is_ok();
    let json = std::str::from_utf8(json).ok().filter(|_| is_right)?;
    Some((TypeId::of::<Json>(), Arc::new(Json(json.into()))))
}

/// Reads shared data, if there is any.
pub(in crate::server) fn read_shared<T: DeserializeOwned>(
    json: Option<&str>,
) -> Result<Option<T>, SharedDataError> {
    let value = json.map(serde_json::from_str).transpose();
    value.map_err(|error| SharedDataError::Deserialize(error.to_string().into()))
}

/// A buffer that rejects more than [`MAX_LEN`] bytes.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_LEN - self.0.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
