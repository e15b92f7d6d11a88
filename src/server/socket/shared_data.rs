//! The data of a socket that can leave the process.

use super::Socket;
use serde::Serialize;
use serde::de::DeserializeOwned;
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

impl Socket {
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
        let json = self.shared_data_json();
        let value = json.map(|json| serde_json::from_str(&json)).transpose();
        value.map_err(|error| SharedDataError::Deserialize(error.to_string().into()))
    }

    /// Returns the JSON that was stored by [`set_shared_data`](Socket::set_shared_data), or `None` if there is none.
    pub fn shared_data_json(&self) -> Option<Arc<str>> {
        self.data::<Json>().map(|json| json.0.clone())
    }
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
