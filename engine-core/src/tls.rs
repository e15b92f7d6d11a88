//! Encryption: the settings of a server that is reached by `https` and `wss`, and of a client that reaches one. The
//! runtimes do the rest.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::string::ToString;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

pub use rustls;

/// What a server shows to those who connect, and how long it waits for them.
///
/// [`from_pem`](Tls::from_pem) does for a certificate; for more than that (several names, certificates of clients)
/// make it from rustls' own [`ServerConfig`](rustls::ServerConfig).
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<rustls::ServerConfig>,
    handshake_timeout: Duration,
}

impl Tls {
    /// A chain of certificates, the server's own first, and its private key (PKCS #8, PKCS #1 or SEC1), as they stand
    /// in PEM files. TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when one of them cannot be read or is none, or when they do not
    /// belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> io::Result<Tls> {
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| invalid("certificate", error))?;
        if chain.is_empty() {
            return Err(invalid("certificate", "there is none"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid("private key", error))?;
        // The provider is named: the process may have none, or two to choose from.
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| invalid("certificate and private key", error))?;
        config.alpn_protocols = [b"http/1.1".to_vec()].into();
        Ok(Tls::from(Arc::new(config)))
    }

    /// How long a client may take for the handshake, from when its connection is accepted. 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Tls {
        self.handshake_timeout = timeout;
        self
    }

    /// The settings for rustls, for a runtime.
    pub fn config(&self) -> Arc<rustls::ServerConfig> {
        self.config.clone()
    }

    /// The time for the handshake, for a runtime.
    pub fn timeout(&self) -> Duration {
        self.handshake_timeout
    }
}

/// With settings of your own, which say `http/1.1` or nothing in their ALPN: HTTP/2 is not spoken.
impl From<Arc<rustls::ServerConfig>> for Tls {
    fn from(config: Arc<rustls::ServerConfig>) -> Self {
        Tls { config, handshake_timeout: Duration::from_secs(10) }
    }
}

/// Whom a client trusts that connects by `https` and `wss`: cheap to clone, and to be shared by many.
///
/// For more than that (a certificate of the client's own) make it from rustls' own
/// [`ClientConfig`](rustls::ClientConfig). There is no way here to trust anybody.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<rustls::ClientConfig>);

impl ClientTls {
    /// Trusts whom the system trusts.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) when the system trusts nobody that can be found.
    pub fn system() -> io::Result<ClientTls> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        // Some systems have certificates that cannot be read: the others count.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map_or("there is none".into(), ToString::to_string);
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                std::format!("the system's certificates: {why}"),
            ));
        }
        ClientTls::trusting(roots)
    }

    /// Trusts those whose certificates stand in a PEM file, and nobody else.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when one of them cannot be read, or there is none.
    pub fn from_pem(certificates: &[u8]) -> io::Result<ClientTls> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(certificates) {
            let certificate = certificate.map_err(|error| invalid("certificate", error))?;
            roots.add(certificate).map_err(|error| invalid("certificate", error))?;
        }
        if roots.is_empty() {
            return Err(invalid("certificate", "there is none"));
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

    /// The settings for rustls, for a runtime.
    pub fn config(&self) -> Arc<rustls::ClientConfig> {
        self.0.clone()
    }
}

/// With settings of your own, which say `http/1.1` or nothing in their ALPN: HTTP/2 is not spoken.
impl From<Arc<rustls::ClientConfig>> for ClientTls {
    fn from(config: Arc<rustls::ClientConfig>) -> Self {
        ClientTls(config)
    }
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
    fn a_pair_that_belongs_together_is_taken() {
        let (cert, key) = pair();
        let tls = Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(tls.config().alpn_protocols, [b"http/1.1"]);
    }

    #[test]
    fn a_client_trusts_those_who_are_named() {
        let (cert, key) = pair();
        assert!(ClientTls::from_pem(cert.as_bytes()).is_ok());
        for nobody in ["", &key, "-----BEGIN CERTIFICATE-----\n!"] {
            let error = ClientTls::from_pem(nobody.as_bytes()).unwrap_err();
            assert!(error.kind() == io::ErrorKind::InvalidInput, "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_said() {
        let (cert, key) = pair();
        let (_, other) = pair();
        let says = |cert: &str, key: &str| {
            let error = Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            error.to_string()
        };
        assert_eq!(says("", &key), "certificate: there is none");
        assert_eq!(says(&key, &key), "certificate: there is none");
        assert!(says("-----BEGIN CERTIFICATE-----\n!", &key).starts_with("certificate: "));
        assert!(says(&cert, "").starts_with("private key: "));
        assert!(says(&cert, &other).starts_with("certificate and private key: "));
    }
}
