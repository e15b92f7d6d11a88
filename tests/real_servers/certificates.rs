//! Certificates for a server of the tests.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::error::Error;
use std::fs;
use std::path::Path;

/// Writes `cert.pem` and `key.pem` of a server at 127.0.0.1, `ca.pem` of the authority that signed it, and `other.pem`
/// of another authority.
pub(crate) fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let authority = |name: &str| -> Result<_, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?.pem(), Issuer::new(params, key)))
    };
    let (ca, issuer) = authority("an authority")?;
    let (other, _) = authority("another authority")?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    fs::write(folder.join("ca.pem"), ca)?;
    fs::write(folder.join("other.pem"), other)?;
    fs::write(folder.join("cert.pem"), certificate.pem())?;
    fs::write(folder.join("key.pem"), key.serialize_pem())?;
    Ok(())
}
