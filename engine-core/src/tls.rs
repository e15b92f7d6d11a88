//! TLS: the settings of a server that accepts `https` and `wss`, and of a client that connects by them. The runtimes do
//! the encryption.

use crate::host::{Host, Peer};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::string::ToString;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

pub use rustls;

/// The TLS settings of a server: its certificate and the timeout of the handshake.
///
/// For a single certificate use [`from_pem`](Tls::from_pem). For more than that (several names, client certificates)
/// convert rustls' own [`ServerConfig`](rustls::ServerConfig).
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<rustls::ServerConfig>,
    handshake_timeout: Duration,
}

impl Tls {
    /// Creates settings for TLS 1.2 and 1.3 from the contents of two PEM files: a chain of certificates, the server's
    /// own first, and its private key (PKCS #8, PKCS #1 or SEC1).
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if one of them is missing or cannot be parsed, or if they do not
    /// belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> io::Result<Tls> {
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| invalid("certificate", error))?;
        if chain.is_empty() {
            return Err(invalid("certificate", "none found"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid("private key", error))?;
        // The provider is explicit, because the process may have no default one, or two to choose from.
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| invalid("certificate and private key", error))?;
        config.alpn_protocols = [b"http/1.1".to_vec()].into();
        Ok(Tls::from(Arc::new(config)))
    }

    /// Sets how long a client may take for the TLS handshake, from when its connection is accepted. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Tls {
        self.handshake_timeout = timeout;
        self
    }

    /// Returns the settings for rustls. For runtimes.
    pub fn config(&self) -> Arc<rustls::ServerConfig> {
        self.config.clone()
    }

    /// Returns the timeout of the handshake. For runtimes.
    pub fn timeout(&self) -> Duration {
        self.handshake_timeout
    }
}

/// Uses settings of your own. Their ALPN protocols must be `http/1.1` or empty, because HTTP/2 is not supported.
impl From<Arc<rustls::ServerConfig>> for Tls {
    fn from(config: Arc<rustls::ServerConfig>) -> Self {
        Tls { config, handshake_timeout: Duration::from_secs(10) }
    }
}

/// The certificates that a client trusts when it connects by `https` and `wss`. Cheap to clone, so that many clients
/// can share it.
///
/// For more than that (such as a client certificate) convert rustls' own [`ClientConfig`](rustls::ClientConfig). No
/// method here turns the verification of certificates off.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<rustls::ClientConfig>);

impl ClientTls {
    /// Trusts the system's root certificates.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if no root certificate of the system can be found and parsed.
    pub fn system() -> io::Result<ClientTls> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        // Some systems have certificates that cannot be parsed; those are skipped.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map_or("none found".into(), ToString::to_string);
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                std::format!("the system's certificates: {why}"),
            ));
        }
        ClientTls::trusting(roots)
    }

    /// Trusts only the certificates in the contents of a PEM file.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if one of them cannot be parsed, or if there is none.
    pub fn from_pem(certificates: &[u8]) -> io::Result<ClientTls> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(certificates) {
            let certificate = certificate.map_err(|error| invalid("certificate", error))?;
            roots.add(certificate).map_err(|error| invalid("certificate", error))?;
        }
        if roots.is_empty() {
            return Err(invalid("certificate", "none found"));
        }
        ClientTls::trusting(roots)
    }

    fn trusting(roots: rustls::RootCertStore) -> io::Result<ClientTls> {
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = [b"http/1.1".to_vec()].into();
        Ok(ClientTls(Arc::new(config)))
    }

    /// Returns the settings for rustls. For runtimes.
    pub fn config(&self) -> Arc<rustls::ClientConfig> {
        self.0.clone()
    }
}

/// Uses settings of your own. Their ALPN protocols must be `http/1.1` or empty, because HTTP/2 is not supported.
impl From<Arc<rustls::ClientConfig>> for ClientTls {
    fn from(config: Arc<rustls::ClientConfig>) -> Self {
        ClientTls(config)
    }
}

/// Returns the stream of a TLS handshake that succeeded, unless the server was closed meanwhile; tells the server of one that
/// failed, or that is `None` because it took too long. For runtimes. The failed handshake has already sent its alert.
pub fn accepted<H: Host, S>(server: &H, peer: Peer, handshake: Option<io::Result<S>>) -> Option<S> {
    match handshake.unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long"))) {
        // No task keeps the time of a closed server.
        Ok(stream) => (!server.is_closed()).then_some(stream),
        Err(error) => {
            let error = match is_plain(&error) {
                true => {
                    io::Error::new(error.kind(), "the client does not speak TLS: it connects by http or ws")
                }
                false => error,
            };
            server.handle_refused(Peer { secure: true, ..peer }, &error);
            None
        }
    }
}

/// Returns whether a handshake failed because the peer does not speak TLS at all.
pub fn is_plain(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    // The first byte is that of no record.
    matches!(cause, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)))
}

fn invalid(what: &str, error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, std::format!("{what}: {}", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    fn pair() -> (std::string::String, std::string::String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn a_matching_certificate_and_key_are_accepted() {
        let (cert, key) = pair();
        let tls = Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(tls.config().alpn_protocols, [b"http/1.1"]);
    }

    #[test]
    fn a_client_needs_valid_certificates_to_trust() {
        let (cert, key) = pair();
        assert!(ClientTls::from_pem(cert.as_bytes()).is_ok());
        for invalid in ["", &key, "-----BEGIN CERTIFICATE-----\n!"] {
            let error = ClientTls::from_pem(invalid.as_bytes()).unwrap_err();
            assert!(error.kind() == io::ErrorKind::InvalidInput, "{error}");
        }
    }

    #[test]
    fn the_error_says_whether_certificate_or_key_is_wrong() {
        let (cert, key) = pair();
        let (_, other) = pair();
        let says = |cert: &str, key: &str| {
            let error = Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            error.to_string()
        };
        assert_eq!(says("", &key), "certificate: none found");
        assert_eq!(says(&key, &key), "certificate: none found");
        assert!(says("-----BEGIN CERTIFICATE-----\n!", &key).starts_with("certificate: "));
        assert!(says(&cert, "").starts_with("private key: "));
        assert!(says(&cert, &other).starts_with("certificate and private key: "));
    }
}
