//! What a deployment grants, and whether a request is within it. Deny by default; a refusal names the missing grant.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::{Host, Url};

const REUSE_CALLS_MAX: u32 = 10_000;
/// What a host may be asked for by, where its grant names no methods: to read.
pub const METHODS_DEFAULT: [&str; 2] = ["GET", "HEAD"];

/// Everything that a deployed connector may reach. Empty grants nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    pub hosts: Vec<HostGrant>,
    /// The methods of those hosts that name none of their own. Empty grants [`METHODS_DEFAULT`].
    pub methods: Vec<String>,
    pub secrets: Vec<SecretGrant>,
    /// How many calls of this tenant one instance serves, one after the other; 0 = a fresh instance for each call. For guests that are
    /// costly to instantiate (Python, JavaScript): what the guest keeps in memory, its next call finds. At most 10 000.
    pub reuse_calls: u32,
}

/// One host, or all hosts under a suffix. In a document it may be written as the text of `host` alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct HostGrant {
    /// `[scheme://]host[:port]`: `https://api.example.com`, `*.example.com`, `http://127.0.0.1:7900`. Without a scheme `https`, without a
    /// port the scheme's own. `*.example.com` means every name below, not `example.com` itself.
    pub host: String,
    /// Methods in upper case. Empty means those of [`Grants::methods`].
    pub methods: Vec<String>,
    /// Whether the name may resolve to a private or loopback address. An address or `localhost` in `host` grants itself.
    pub private: bool,
    /// Paths at which even POST only reads (`/v1/search`). Exact, without query.
    pub read_only_paths: Vec<String>,
}

/// The two ways to write a host grant.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a host, or {host, methods, private, read_only_paths}")]
enum Written {
    Host(String),
    Grant(WrittenGrant),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGrant {
    host: String,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    read_only_paths: Vec<String>,
}

impl From<Written> for HostGrant {
    fn from(written: Written) -> Self {
        match written {
            Written::Host(host) => Self {
                host,
                ..Self::default()
            },
            Written::Grant(WrittenGrant {
                host,
                methods,
                private,
                read_only_paths,
            }) => Self {
                host,
                methods,
                private,
                read_only_paths,
            },
        }
    }
}

/// One secret, and the hosts that it may travel to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretGrant {
    pub name: String,
    /// Written like [`HostGrant::host`]. Empty means: nowhere.
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// A grant that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("grant `{grant}`: {problem}")]
pub struct BadGrant {
    pub grant: String,
    pub problem: String,
}

/// Why a request may not leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied(pub String);

/// Grants, read once at load.
#[derive(Debug)]
pub struct Policy {
    hosts: Vec<HostRule>,
    secrets: Vec<SecretRule>,
}

#[derive(Debug)]
struct HostRule {
    pattern: Pattern,
    methods: Vec<String>,
    private: bool,
    read_only_paths: Vec<String>,
}

#[derive(Debug)]
struct SecretRule {
    name: String,
    hosts: Vec<Pattern>,
}

#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    scheme: String,
    host: HostPattern,
    port: u16,
}

#[derive(Debug, PartialEq, Eq)]
enum HostPattern {
    Exact(Host),
    /// `.example.com`
    Suffix(String),
}

/// Where a request wants to go.
#[derive(Debug, Clone)]
pub struct Target {
    pub method: String,
    pub url: Url,
    host: Host,
    port: u16,
}

/// What a granted request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    pub unsafe_method: bool,
    pub private: bool,
}

impl Policy {
    /// # Errors
    /// [`BadGrant`] for the first grant that cannot be read.
    pub fn read(grants: &Grants) -> Result<Self, BadGrant> {
        if grants.reuse_calls > REUSE_CALLS_MAX {
            return Err(BadGrant {
                grant: format!("reuse_calls: {}", grants.reuse_calls),
                problem: format!("at most {REUSE_CALLS_MAX} calls are granted to one instance"),
            });
        }
        let hosts = grants
            .hosts
            .iter()
            .map(|grant| HostRule::read(grant, &grants.methods))
            .collect::<Result<_, _>>()?;
        let secrets = grants.secrets.iter().map(SecretRule::read).collect::<Result<_, _>>()?;
        Ok(Self { hosts, secrets })
    }

    /// Whether `target` may be asked, and what that request counts as.
    pub fn permit(&self, target: &Target) -> Result<Permit, Denied> {
        let rules: Vec<&HostRule> = self.hosts.iter().filter(|rule| rule.pattern.matches(target)).collect();
        if rules.is_empty() {
            return Err(Denied(format!(
                "host `{}` is not granted; add it to grants.hosts",
                target.origin()
            )));
        }
        let Some(rule) = rules.iter().find(|rule| rule.methods.contains(&target.method)) else {
            let mut granted: Vec<&str> = rules
                .iter()
                .flat_map(|rule| rule.methods.iter().map(String::as_str))
                .collect();
            granted.sort_unstable();
            granted.dedup();
            return Err(Denied(format!(
                "method {method} is not granted for host `{origin}`, only {}; add it to that grant's methods (tape connector grant NAME \
                 --grant {host}={method})",
                granted.join(", "),
                method = target.method,
                origin = target.origin(),
                host = target.url.origin().ascii_serialization()
            )));
        };
        let safe_method = matches!(target.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        let read_only_path = rule.read_only_paths.iter().any(|path| path == target.url.path());
        Ok(Permit {
            unsafe_method: !safe_method && !read_only_path,
            private: rule.private,
        })
    }

    /// Whether secret `name` may travel to `target`.
    pub fn permit_secret(&self, name: &str, target: &Target) -> Result<(), Denied> {
        let Some(rule) = self.secrets.iter().find(|rule| rule.name == name) else {
            return Err(Denied(format!(
                "secret `{name}` is not granted; add it to grants.secrets"
            )));
        };
        if !rule.hosts.iter().any(|pattern| pattern.matches(target)) {
            let origin = target.origin();
            return Err(Denied(format!(
                "secret `{name}` is not granted for host `{origin}`; add the host to that secret's grant"
            )));
        }
        Ok(())
    }

    /// Whether some request to `origin` may be made.
    pub fn reaches(&self, origin: &str) -> bool {
        Target::parse("GET", origin).is_ok_and(|target| self.hosts.iter().any(|rule| rule.pattern.matches(&target)))
    }

    /// Whether `origin` may be asked by `method`.
    pub fn reaches_by(&self, method: &str, origin: &str) -> bool {
        Target::parse(method, origin).is_ok_and(|target| self.permit(&target).is_ok())
    }

    /// The names of all granted secrets.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|rule| rule.name.as_str())
    }
}

impl HostRule {
    fn read(grant: &HostGrant, methods: &[String]) -> Result<Self, BadGrant> {
        let named = [&grant.methods[..], methods]
            .into_iter()
            .find(|named| !named.is_empty());
        let methods = named.map_or_else(|| METHODS_DEFAULT.map(str::to_owned).to_vec(), <[String]>::to_vec);
        let pattern = Pattern::read(&grant.host)?;
        let bad = |problem: &str| BadGrant {
            grant: grant.host.clone(),
            problem: problem.to_owned(),
        };
        for method in &methods {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
                return Err(bad(&format!("`{method}` is not a method in upper case")));
            }
        }
        if grant.read_only_paths.iter().any(|path| !path.starts_with('/')) {
            return Err(bad("a read-only path begins with `/`"));
        }
        Ok(Self {
            private: grant.private || pattern.names_localhost(),
            pattern,
            methods,
            read_only_paths: grant.read_only_paths.clone(),
        })
    }
}

impl SecretRule {
    fn read(grant: &SecretGrant) -> Result<Self, BadGrant> {
        let hosts = grant
            .hosts
            .iter()
            .map(|host| Pattern::read(host))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            name: grant.name.clone(),
            hosts,
        })
    }
}

impl Pattern {
    fn read(text: &str) -> Result<Self, BadGrant> {
        let bad = |problem: &str| BadGrant {
            grant: text.to_owned(),
            problem: problem.to_owned(),
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        if !matches!(scheme, "http" | "https") {
            return Err(bad("the scheme is http or https"));
        }
        let (wildcard, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|error| bad(&format!("not a host: {error}")))?;
        let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !plain || rest.contains('*') {
            return Err(bad(
                "expected [scheme://]host[:port], a leading `*.` at most, and no path",
            ));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(bad("there is no host in it"));
        };
        let host = match (wildcard, host.to_owned()) {
            (false, host) => HostPattern::Exact(host),
            (true, Host::Domain(name)) => HostPattern::Suffix(format!(".{name}")),
            (true, _) => return Err(bad("an address has no names below it")),
        };
        Ok(Self {
            scheme: scheme.to_owned(),
            host,
            port,
        })
    }

    fn matches(&self, target: &Target) -> bool {
        let host = match (&self.host, &target.host) {
            (HostPattern::Exact(granted), asked) => granted == asked,
            (HostPattern::Suffix(suffix), Host::Domain(name)) => {
                name.len() > suffix.len() && name.ends_with(suffix.as_str())
            }
            (HostPattern::Suffix(_), _) => false,
        };
        host && self.port == target.port && self.scheme == target.url.scheme()
    }

    fn names_localhost(&self) -> bool {
        matches!(&self.host, HostPattern::Exact(Host::Domain(name)) if name == "localhost")
    }
}

impl Target {
    /// Reads where a request wants to go.
    pub fn parse(method: &str, url: &str) -> Result<Self, Denied> {
        if url.contains("{{secret:") {
            return Err(Denied(
                "a secret in a url is refused, because urls are logged; use a header or the body".to_owned(),
            ));
        }
        let parsed = Url::parse(url).map_err(|error| Denied(format!("the url cannot be read: {error}")))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(Denied(format!("scheme `{}` is not http or https", parsed.scheme())));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(Denied(
                "credentials in a url are refused; use a header with {{secret:NAME}}".to_owned(),
            ));
        }
        let (Some(host), Some(port)) = (
            parsed.host().map(|host| host.to_owned()),
            parsed.port_or_known_default(),
        ) else {
            return Err(Denied("the url names no host".to_owned()));
        };
        let known = http::Method::from_bytes(method.as_bytes()).is_ok_and(|method| method != http::Method::CONNECT);
        if !known {
            return Err(Denied(format!("`{method}` is not a method that can be sent")));
        }
        Ok(Self {
            method: method.to_ascii_uppercase(),
            url: parsed,
            host,
            port,
        })
    }

    /// `host:port`, as the evidence has it.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn origin(&self) -> String {
        format!("{}://{}", self.url.scheme(), self.authority())
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far from home an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    Public,
    /// Ours: loopback, private networks, carrier-grade NAT. Only where granted.
    Private,
    /// Link-local (where clouds keep their credentials), multicast, unspecified, reserved. Never by name.
    Never,
}

/// Judges an address, looking through the ways in which IPv6 wraps IPv4.
pub fn distance(address: IpAddr) -> Distance {
    let address = match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => {
            let segments = address.segments();
            if let Some(wrapped) = address.to_ipv4_mapped() {
                wrapped
            } else if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
                let [.., a, b, c, d] = address.octets();
                [a, b, c, d].into()
            } else if segments[0] == 0x2002 {
                let [_, _, a, b, c, d, ..] = address.octets();
                [a, b, c, d].into()
            } else if address.is_loopback() || (segments[0] & 0xfe00) == 0xfc00 {
                return Distance::Private;
            } else if (segments[0] & 0xe000) == 0x2000 {
                return Distance::Public;
            } else {
                // Everything outside global unicast: link-local, multicast, unspecified, reserved.
                return Distance::Never;
            }
        }
    };
    let [a, b, ..] = address.octets();
    if address.is_loopback() || address.is_private() || (a == 100 && (64..128).contains(&b)) {
        Distance::Private
    } else if a == 0 || a >= 224 || address.is_link_local() || (a == 192 && b == 0 && address.octets()[2] == 0) {
        Distance::Never
    } else {
        Distance::Public
    }
}

#[cfg(test)]
mod tests;
