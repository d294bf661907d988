//! Where a disk is served, as QEMU, libnbd and fio write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Port of NBD servers that name none.
const PORT: u16 = 10809;

/// An export of an NBD server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uri {
    pub(crate) server: Server,
    pub(crate) export: String,
    /// As it was given.
    text: String,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// Why a text names no export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UriError {
    #[error("give nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH or nbd:unix:PATH")]
    Form,
    #[error("only nbd and nbd+unix are supported, without TLS")]
    Scheme,
    #[error("a port is 1 to 65535")]
    Port,
    #[error("the socket's path is missing: nbd+unix:///EXPORT?socket=PATH")]
    Socket,
    #[error("%XX stands for bytes that are no text")]
    Percent,
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Form)?;
        let (server, export) = match (scheme, rest.strip_prefix("//")) {
            ("nbd", None) => legacy(rest)?,
            ("nbd", Some(rest)) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                let (path, _query) = path.split_once('?').unwrap_or((path, ""));
                (tcp(host)?, decoded(path)?)
            }
            ("nbd+unix", Some(rest)) => {
                let (path, query) = rest.split_once('?').ok_or(UriError::Socket)?;
                let socket = query.split('&').find_map(|pair| pair.strip_prefix("socket="));
                let socket = decoded(socket.ok_or(UriError::Socket)?)?;
                let export = path.strip_prefix('/').unwrap_or(path);
                (unix(&socket)?, decoded(export)?)
            }
            (_other, Some(_)) => return Err(UriError::Scheme),
            (_other, None) => return Err(UriError::Form),
        };
        Ok(Self { server, export, text: text.to_owned() })
    }
}

/// `unix:PATH[:exportname=NAME]` or `HOST:PORT[:exportname=NAME]`.
fn legacy(text: &str) -> Result<(Server, String), UriError> {
    let (server, export) = text.split_once(":exportname=").unwrap_or((text, ""));
    let server = match server.strip_prefix("unix:") {
        Some(path) => unix(path)?,
        None => tcp(server)?,
    };
    Ok((server, export.to_owned()))
}

fn unix(path: &str) -> Result<Server, UriError> {
    if path.is_empty() { Err(UriError::Socket) } else { Ok(Server::Unix(path.into())) }
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`.
fn tcp(text: &str) -> Result<Server, UriError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(UriError::Form)?;
            (host, port.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(UriError::Form);
    }
    let port = match port.map(str::parse) {
        None => PORT,
        Some(Ok(port)) if port > 0 => port,
        Some(_other) => return Err(UriError::Port),
    };
    Ok(Server::Tcp { host: host.to_owned(), port })
}

/// `%2F` is a slash.
fn decoded(text: &str) -> Result<String, UriError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2).ok_or(UriError::Percent)?;
        let digits = std::str::from_utf8(digits).map_err(|_no_text| UriError::Percent)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_no_number| UriError::Percent)?);
        rest = behind;
    }
    String::from_utf8(bytes).map_err(|_no_text| UriError::Percent)
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(Server, String), UriError> {
        text.parse().map(|uri: Uri| (uri.server, uri.export))
    }

    fn on_tcp(host: &str, port: u16, export: &str) -> Result<(Server, String), UriError> {
        Ok((Server::Tcp { host: host.to_owned(), port }, export.to_owned()))
    }

    fn on_unix(path: &str, export: &str) -> Result<(Server, String), UriError> {
        Ok((Server::Unix(path.into()), export.to_owned()))
    }

    #[test]
    fn every_way_to_write_an_export_is_read() {
        assert_eq!(parsed("nbd://a.b"), on_tcp("a.b", 10809, ""));
        assert_eq!(parsed("nbd://a:1/"), on_tcp("a", 1, ""));
        assert_eq!(parsed("nbd://[::1]:9/lu%200/x"), on_tcp("::1", 9, "lu 0/x"));
        assert_eq!(parsed("nbd+unix:///lu0?socket=/run/d.sock"), on_unix("/run/d.sock", "lu0"));
        assert_eq!(parsed("nbd+unix:///?a=b&socket=/d%3fx"), on_unix("/d?x", ""));
        assert_eq!(parsed("nbd:unix:/run/d.sock"), on_unix("/run/d.sock", ""));
        assert_eq!(parsed("nbd:unix:/d:exportname=lu0"), on_unix("/d", "lu0"));
        assert_eq!(parsed("nbd:h:7:exportname=e"), on_tcp("h", 7, "e"));
    }

    #[test]
    fn anything_else_is_refused_with_what_is_wrong() {
        for (text, error) in [
            ("", UriError::Form),
            ("/run/d.sock", UriError::Form),
            ("nbd://", UriError::Form),
            ("nbd://[::1", UriError::Form),
            ("nbds://h/", UriError::Scheme),
            ("http://h/", UriError::Scheme),
            ("nbd://h:0/", UriError::Port),
            ("nbd://h:x/", UriError::Port),
            ("nbd+unix:///lu0", UriError::Socket),
            ("nbd+unix:///lu0?socket=", UriError::Socket),
            ("nbd:unix:", UriError::Socket),
            ("nbd://h/%f", UriError::Percent),
            ("nbd://h/%zz", UriError::Percent),
            ("nbd://h/%ff", UriError::Percent),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
    }
}
