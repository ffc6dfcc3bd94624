//! TLS for the webhook, by files in PEM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

/// The files of a TLS server.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, with those between it and its CA.
    pub cert: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The CAs of the clients; with them, a client without a certificate is refused.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be had.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("cannot read {} from {}: {why}", .what, .path.display())]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("no certificate in {}; it should be PEM with BEGIN CERTIFICATE", .0.display())]
    NoCertificate(PathBuf),
    /// A CA is none.
    #[error("a certificate in {} is no CA's: {why}", .path.display())]
    Ca {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: rustls::Error,
    },
    /// The CAs cannot be used.
    #[error("the CAs in {} cannot be used: {why}", .path.display())]
    Verifier {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: VerifierBuilderError,
    },
    /// Certificate and key cannot be used, mostly as they do not belong together.
    #[error("cannot use {} with {}: {why}", .cert.display(), .key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        why: rustls::Error,
    },
}

/// Reads the files.
pub(super) fn server(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let TlsFiles {
        cert,
        key,
        client_ca,
    } = files;
    let pair = |why| TlsError::Pair {
        cert: cert.clone(),
        key: key.clone(),
        why,
    };
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| TlsError::Pem {
        what: "a private key",
        path: key.clone(),
        why,
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for ca in certificates(path)? {
                roots.add(ca).map_err(|why| TlsError::Ca {
                    path: path.clone(),
                    why,
                })?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|why| TlsError::Verifier {
                path: path.clone(),
                why,
            })?)
        }
    };
    let mut config = builder.with_single_cert(chain, private).map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    let found = found.map_err(|why| TlsError::Pem {
        what: "certificates",
        path: path.to_path_buf(),
        why,
    })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate(path.to_path_buf()));
    }
    Ok(found)
}
