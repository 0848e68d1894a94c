//! Compiled code on disk, so that a restart does not compile again: 0.2 ms to load what takes 130 ms (Rust) or seconds (Python) to compile.
//!
//! Compiled code is native code, so only what this host wrote is loaded: the directory is ours alone, and each file carries a
//! MAC under a key that never leaves it. A file is named after the component's digest and the engine's configuration; whatever does not
//! verify is compiled anew. The cache can be deleted at any time.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::hmac;
use rustls::crypto::SecureRandom;
use wasmtime::Engine;
use wasmtime::component::Component;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
const OURS_ALONE: u32 = 0o600;

/// One directory of compiled components.
pub struct CodeCache {
    dir: PathBuf,
    key: hmac::Key,
    /// Tells compiled code of this engine from that of another.
    engine: String,
}

impl CodeCache {
    /// Opens or makes the cache in `dir`, and takes away what another engine left there.
    ///
    /// # Errors
    /// The directory cannot be used, or its key may be known to others.
    pub fn open(dir: &Path, engine: &Engine, random: &dyn SecureRandom) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let key = read_key(&dir.join(KEY_FILE), random)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let cache = Self {
            dir: dir.to_owned(),
            key,
            engine: format!("{:016x}.cwasm", hasher.finish()),
        };
        cache.sweep()?;
        Ok(cache)
    }

    /// The compiled component of this digest, if it is there and is what this host wrote.
    pub fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let name = self.name(digest);
        let file = fs::read(self.dir.join(&name)).ok()?;
        let (tag, code) = file.split_at_checked(TAG_BYTES)?;
        if hmac::verify(&self.key, &signed(&name, code), tag).is_err() {
            tracing::warn!(name, "compiled code does not verify: compiling anew");
            return None;
        }
        let loaded = deserialize(engine, code);
        loaded
            .inspect_err(|error| tracing::warn!(name, %error, "compiled code does not load: compiling anew"))
            .ok()
    }

    /// Keeps what was compiled. A failure costs the next start some time and nothing else.
    pub fn put(&self, component: &Component, digest: &str) {
        if let Err(error) = self.try_put(component, digest) {
            tracing::warn!(%error, dir = %self.dir.display(), "compiled code cannot be kept");
        }
    }

    fn try_put(&self, component: &Component, digest: &str) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        let name = self.name(digest);
        let tag = hmac::sign(&self.key, &signed(&name, &code));
        let unfinished = self.dir.join(format!("{name}.{}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(OURS_ALONE)
            .open(&unfinished)?;
        file.write_all(tag.as_ref())?;
        file.write_all(&code)?;
        fs::rename(unfinished, self.dir.join(name))
    }

    fn name(&self, digest: &str) -> String {
        format!("{}-{}", digest.trim_start_matches("sha256:"), self.engine)
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.contains(".cwasm") && !name.ends_with(&self.engine) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The name is signed, too: a file under another component's name does not verify.
fn signed(name: &str, code: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &[0], code].concat()
}

#[allow(
    unsafe_code,
    reason = "the caller has verified that this host compiled and wrote these bytes"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` verified under a key that only this host's user can read, so `Component::serialize` of an engine
    // of the same configuration made it.
    unsafe { Component::deserialize(engine, code) }
}

fn read_key(path: &Path, random: &dyn SecureRandom) -> io::Result<hmac::Key> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OURS_ALONE)
        .open(path)
    {
        Ok(mut file) => {
            let mut bytes = [0; KEY_BYTES];
            random
                .fill(&mut bytes)
                .map_err(|_| io::Error::other("the system gives no random bytes"))?;
            file.write_all(&bytes)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "{} can be read by others; delete it and this directory's content",
            path.display()
        )));
    }
    let bytes = fs::read(path)?;
    if bytes.len() != KEY_BYTES {
        return Err(io::Error::other(format!("{} is not a key; delete it", path.display())));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:00ff";
    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn open(dir: &Path) -> (Engine, CodeCache) {
        let engine = Engine::default();
        let cache = CodeCache::open(dir, &engine, rustls::crypto::ring::default_provider().secure_random).unwrap();
        (engine, cache)
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = open(dir.path());
        assert!(cache.get(&engine, DIGEST).is_none());
        cache.put(&Component::new(&engine, EMPTY_COMPONENT).unwrap(), DIGEST);
        let (engine, cache) = open(dir.path());
        assert!(cache.get(&engine, DIGEST).is_some());
        assert!(cache.get(&engine, "sha256:ee").is_none());
    }

    #[test]
    fn what_this_host_did_not_write_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = open(dir.path());
        cache.put(&Component::new(&engine, EMPTY_COMPONENT).unwrap(), DIGEST);
        let file = dir.path().join(cache.name(DIGEST));
        let genuine = fs::read(&file).unwrap();

        fs::copy(&file, dir.path().join(cache.name("sha256:ee"))).unwrap();
        assert!(cache.get(&engine, "sha256:ee").is_none(), "under another name");

        let mut changed = genuine.clone();
        *changed.last_mut().unwrap() ^= 1;
        for forged in [changed.as_slice(), &genuine[..TAG_BYTES], &[]] {
            fs::write(&file, forged).unwrap();
            assert!(cache.get(&engine, DIGEST).is_none());
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let key = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, OURS_ALONE);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let random = rustls::crypto::ring::default_provider().secure_random;
        assert!(CodeCache::open(dir.path(), &Engine::default(), random).is_err());
    }

    #[test]
    fn what_another_engine_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let stale = dir.path().join("00ff-0000000000000000.cwasm");
        fs::write(&stale, "old").unwrap();
        drop(open(dir.path()));
        assert!(!stale.exists());
    }
}
