//! Who a receiver's certificate must be from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// Why TLS cannot be had.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("cannot read certificates from {}: {why}", .path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: pem::Error,
    },
    /// There is no usable certificate.
    #[error("no CA certificate in {}; it should be PEM with BEGIN CERTIFICATE", .0.display())]
    NoCertificate(PathBuf),
    /// The machine knows no CA.
    #[error("this machine has no CA certificates; name the receiver's CA with --output-ca")]
    NoNative,
    /// The library refuses to start.
    #[error("TLS cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// TLS that trusts the CAs in `ca`, or those that the machine trusts.
pub(super) fn client(ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let found: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
            let found = found.map_err(|why| TlsError::Pem {
                path: path.to_owned(),
                why,
            })?;
            roots.add_parsable_certificates(found);
            if roots.is_empty() {
                return Err(TlsError::NoCertificate(path.to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoNative);
            }
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
