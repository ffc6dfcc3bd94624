//! TLS to an API server: whom to believe, and who to be.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Something in PEM.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// This.
    Data(Vec<u8>),
    /// What this file says.
    File(PathBuf),
}

/// Whom to believe and who to be. It is read anew for each connection, as certificates are renewed in
/// their files.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// The certificates to trust; without them, those that the machine trusts.
    pub(super) ca: Option<Source>,
    /// A certificate chain to show, and its key.
    pub(super) identity: Option<(Source, Source)>,
}

impl Source {
    /// Its text now.
    pub(super) fn read(&self) -> Result<Cow<'_, [u8]>, String> {
        match self {
            Self::Data(data) => Ok(Cow::Borrowed(data)),
            Self::File(path) => fs::read(path)
                .map(Cow::Owned)
                .map_err(|why| format!("cannot read {}: {why}", path.display())),
        }
    }
}

impl Tls {
    /// A client as of now.
    ///
    /// # Errors
    /// What is wrong with what it is made of.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(ca) => {
                let found = certificates(&ca.read()?, "certificate-authority")?;
                roots.add_parsable_certificates(found);
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
        let mut config = match &self.identity {
            Some((chain, key)) => {
                let chain = certificates(&chain.read()?, "client-certificate")?;
                let key = PrivateKeyDer::from_pem_slice(&key.read()?)
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
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{what} has no certificate in PEM")),
        Err(why) => Err(format!("{what} is no certificate in PEM: {why}")),
    }
}
