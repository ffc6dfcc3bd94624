//! What protects the pages from other pages of the same browser.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;

/// What a page may do that shows nothing but text.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Whether a request names a host that is not this machine.
///
/// A site whose name is made to lead to a loopback address would else read, by the browser of whoever
/// looks at it, what only this machine is to know.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    // A browser always tells it.
    let Some(host) = headers.get(header::HOST) else {
        return false;
    };
    let authority = host.to_str().ok().map(str::parse::<Authority>);
    let Some(Ok(authority)) = authority else {
        return true;
    };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.to_ascii_lowercase();
    let is_name = host == "localhost" || host.ends_with(".localhost");
    !is_name && !address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Adds what a browser has to know: what the page may do (`policy`, else nothing), and that nobody
/// else may keep, frame or reinterpret it.
pub(super) fn harden(headers: &mut HeaderMap, policy: Option<String>) {
    let policy = policy.map(|policy| HeaderValue::try_from(policy + "; frame-ancestors 'none'"));
    let policy = policy.and_then(Result::ok).unwrap_or(NOTHING);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_not_foreign() {
        let asks_for = |host: &'static str| {
            let host = HeaderValue::from_static(host);
            is_foreign(&HeaderMap::from_iter([(header::HOST, host)]))
        };
        for own in [
            "localhost",
            "LOCALHOST:9764",
            "a.localhost:1",
            "127.0.0.1:9764",
            "127.8.8.8",
            "[::1]:9764",
        ] {
            assert!(!asks_for(own), "{own}");
        }
        for other in [
            "example.com",
            "example.com:9764",
            "localhost.example.com",
            "notlocalhost",
            "127.0.0.1.example.com",
            "10.0.0.1:9764",
            "0.0.0.0",
            "",
            "a b",
            "user@127.0.0.1@example.com",
        ] {
            assert!(asks_for(other), "{other}");
        }
        assert!(!is_foreign(&HeaderMap::new()));
    }
}
