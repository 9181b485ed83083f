//! What lies at the bottom of a chain of transport errors, in words that an operator can act on.

use std::error::Error;
use std::io;

/// The kinds of trouble below HTTP and gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server's certificate, or the handshake. Trying again does not help.
    Tls {
        /// What is wrong.
        message: String,
        /// True when the authority that signed it is unknown: a CA setting would help.
        unknown_authority: bool,
    },
    /// The host's name is not known.
    Dns,
    /// Nobody listens there, or nothing answers in time.
    Unreachable(String),
    /// The connection broke while it was used.
    Broken(String),
    /// Something else: the innermost error's own words.
    Other(String),
}

/// Looks through a chain of errors for the one that explains it.
pub(crate) fn cause_of(error: &(dyn Error + 'static)) -> Cause {
    let mut innermost = error.to_string();
    let mut broken = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return tls_cause(tls);
        }
        let text = error.to_string();
        if text.contains("dns error") || text.contains("failed to lookup address") {
            return Cause::Dns;
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            // An io::Error hides the error it carries from `source`, which gives the carried error's own source.
            if let Some(carried) = io.get_ref() {
                let carried: &(dyn Error + 'static) = carried;
                match cause_of(carried) {
                    Cause::Other(text) => innermost = text,
                    found => return found,
                }
            }
            match io.kind() {
                io::ErrorKind::ConnectionRefused => {
                    return Cause::Unreachable("the connection was refused: nothing listens there".to_owned());
                }
                io::ErrorKind::TimedOut => return Cause::Unreachable("no answer in time".to_owned()),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    return Cause::Unreachable("no route to it".to_owned());
                }
                io::ErrorKind::NotFound => return Cause::Unreachable("no such socket".to_owned()),
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => broken = Some("the connection was cut".to_owned()),
                _ => {}
            }
        }
        if text.contains("connection closed before message completed") || text.contains("connection error") {
            broken = Some("the connection was cut".to_owned());
        }
        if error.source().is_none() && error.downcast_ref::<io::Error>().is_none() {
            innermost = text;
        }
        next = error.source();
    }
    match broken {
        Some(text) => Cause::Broken(text),
        None => Cause::Other(innermost),
    }
}

fn tls_cause(error: &rustls::Error) -> Cause {
    use rustls::{CertificateError, Error, PeerIncompatible};
    let (message, unknown_authority) = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            ("its TLS certificate is signed by an authority that this machine does not know".to_owned(), true)
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            ("its TLS certificate has expired".to_owned(), false)
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            ("its TLS certificate is not valid yet: compare the clocks".to_owned(), false)
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ("its TLS certificate is for another host name (subjectAltName)".to_owned(), false),
        Error::InvalidCertificate(other) => (format!("its TLS certificate is refused: {other}"), false),
        Error::InvalidMessage(_) => ("it does not speak TLS on this port".to_owned(), false),
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            ("it speaks no TLS of version 1.2 or newer".to_owned(), false)
        }
        Error::AlertReceived(alert) => (format!("it ended the TLS handshake with the alert {alert:?}"), false),
        other => (format!("the TLS handshake failed: {other}"), false),
    };
    Cause::Tls { message, unknown_authority }
}

/// Makes a server's text fit for one line of an error: control characters and runs of white space become one space,
/// `secret` is blotted out wherever it was echoed, and what exceeds `max` characters is cut.
pub(crate) fn one_line(text: &str, secret: Option<&str>, max: usize) -> String {
    let text = match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "[redacted]"),
        _ => text.to_owned(),
    };
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        for character in word.chars() {
            if length >= max {
                line.push('…');
                return line;
            }
            line.push(character);
            length += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_one_short_line_without_the_secret() {
        let page = "<html>\r\n <b>\u{1b}[31mtoken s3cret</b>\tend";
        assert_eq!(one_line(page, Some("s3cret"), 100), "<html> <b> [31mtoken [redacted]</b> end");
        assert_eq!(one_line("aaaa bbbb", None, 6), "aaaa b…");
        assert_eq!(one_line("  ", None, 6), "");
    }

    #[test]
    fn what_an_io_error_carries_is_found() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = io::Error::new(io::ErrorKind::InvalidData, tls);
        assert!(matches!(cause_of(&error), Cause::Tls { unknown_authority: true, .. }));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(matches!(cause_of(&refused), Cause::Unreachable(_)));
        let odd = io::Error::other("strange");
        assert_eq!(cause_of(&odd), Cause::Other("strange".to_owned()));
    }
}
