//! Memory: pages of the program's text that only the start and the compiling of a connector needed are given back.
//!
//! The compiler alone is 20 MB of text. Once a connector is loaded it is not needed until the next one comes, and the kernel keeps it
//! mapped all the same. Giving it back costs nothing but the page faults of what is needed after all: the pages stay in the
//! page cache for as long as the machine has room for them.

/// Unmaps the pages of this program's text. They come back, one by one, when they are run.
#[cfg(target_os = "linux")]
pub(crate) fn forget_text() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let here = forget_text as fn() as usize;
    let Some((start, length)) = maps.lines().find_map(|line| text_around(line, here)) else {
        tracing::debug!("the program's text was not found in /proc/self/maps; its pages stay");
        return;
    };
    let Some(start) = std::ptr::NonNull::new(std::ptr::with_exposed_provenance_mut(start)) else {
        return;
    };
    #[allow(
        unsafe_code,
        reason = "the range is a private mapping of a file, executable and not writable: its pages hold nothing but the file's bytes, and are read from it again"
    )]
    let forgotten = unsafe { nix::sys::mman::madvise(start, length, nix::sys::mman::MmapAdvise::MADV_DONTNEED) };
    if let Err(error) = forgotten {
        tracing::debug!(%error, "the pages of the program's text stay");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn forget_text() {}

/// Start and length of a mapping, if it is executable, nobody can write to it, it is a file's, and `address` lies within it.
#[cfg(target_os = "linux")]
fn text_around(line: &str, address: usize) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let text = fields.next()? == "r-xp" && fields.nth(3)?.starts_with('/');
    (text && (start..end).contains(&address)).then_some((start, end - start))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_a_files_own_text_is_given_back() {
        let line = |flags, path| format!("1000-3000 {flags} 00000000 fe:00 1234  {path}");
        assert_eq!(
            text_around(&line("r-xp", "/bin/tape-server"), 0x2000),
            Some((0x1000, 0x2000))
        );
        assert_eq!(text_around(&line("r-xp", "/bin/tape-server"), 0x3000), None);
        assert_eq!(text_around(&line("rwxp", "/bin/tape-server"), 0x2000), None);
        assert_eq!(text_around(&line("r--p", "/bin/tape-server"), 0x2000), None);
        assert_eq!(text_around(&line("r-xp", "[vdso]"), 0x2000), None);
        assert_eq!(text_around("1000-3000 r-xp 00000000 00:00 0", 0x2000), None);
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        let mapped = || {
            let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let mut lines = smaps
                .lines()
                .skip_while(|line| text_around(line, forget_text as fn() as usize).is_none());
            let resident = lines.find(|line| line.starts_with("Rss:")).unwrap();
            resident
                .split_ascii_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        let before = mapped();
        forget_text();
        let after = mapped();
        assert!(after < before, "{before} kB of text became {after}");
    }
}
