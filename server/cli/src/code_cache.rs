//! Where compiled connectors are kept between two starts.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// What the flag says where nothing is to be kept.
const NONE: &str = "none";

/// The flag of every program that calls connectors.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CodeCacheArgs {
    /// Where compiled connectors are kept, so that a start need not compile them again; none = nowhere. Others must not be
    /// able to write there; it can be deleted at any time [default: tape/connectors in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "FOLDER", env = "TAPE_CONNECTOR_CACHE")]
    connector_cache: Option<PathBuf>,
}

impl CodeCacheArgs {
    /// The folder, if there is to be one.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match &self.connector_cache {
            Some(said) if said.as_os_str() == NONE => None,
            Some(said) => Some(said.clone()),
            None => usual(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")),
        }
    }
}

/// The folder of this user's caches; none for a user without a home.
fn usual(cache_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    // The standard asks to ignore a path that is not absolute.
    let absolute = |path: &PathBuf| path.is_absolute();
    let caches = cache_home.map(PathBuf::from).filter(absolute);
    let in_home = || home.map(PathBuf::from).filter(absolute).map(|home| home.join(".cache"));
    caches
        .or_else(in_home)
        .map(|caches| caches.join("tape").join("connectors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cache_home: &str, home: &str) -> Option<PathBuf> {
        let set = |value: &str| (!value.is_empty()).then(|| value.into());
        usual(set(cache_home), set(home))
    }

    #[test]
    fn it_is_where_the_users_caches_are() {
        assert_eq!(of("/c", "/h"), Some("/c/tape/connectors".into()));
        assert_eq!(of("c", "/h"), Some("/h/.cache/tape/connectors".into()));
        assert_eq!(of("", "/h"), Some("/h/.cache/tape/connectors".into()));
        assert_eq!(of("", ""), None);
    }

    #[test]
    fn it_is_elsewhere_or_nowhere_when_told_so() {
        let told = |said: &str| CodeCacheArgs {
            connector_cache: Some(said.into()),
        };
        assert_eq!(told("/x").folder(), Some("/x".into()));
        assert_eq!(told("none").folder(), None);
    }
}
