//! TLS to an API server: whom to believe, and who to be.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A client that trusts the certificates in `ca` (PEM), or else those that the machine trusts, and
/// shows `identity`, a certificate chain with its key (PEM), if there is one.
///
/// # Errors
/// What is wrong with them.
pub(super) fn client(
    ca: Option<&[u8]>,
    identity: Option<(&[u8], &[u8])>,
) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            roots.add_parsable_certificates(certificates(pem, "certificate-authority")?);
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("there is no CA certificate to verify the server by".to_owned());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => {
            let chain = certificates(chain, "client-certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|why| format!("client-key is no key in PEM: {why}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|why| format!("client-certificate and client-key: {why}"))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{what} has no certificate in PEM")),
        Err(why) => Err(format!("{what} is no certificate in PEM: {why}")),
    }
}
