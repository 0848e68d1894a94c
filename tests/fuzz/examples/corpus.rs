//! Writes what a fuzzer begins with: valid rows, entries, keys, patterns and predicates.

use std::path::Path;

use tape_fuzz::seeds;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    let all = [
        ("row", seeds::rows()),
        ("entry", seeds::entries()),
        ("key", seeds::keys()),
        ("subject", seeds::subjects()),
        ("predicate", seeds::predicates()),
    ];
    for (target, seeds) in all {
        let folder = Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder)?;
        for (n, bytes) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{n}")), bytes)?;
        }
    }
    std::fs::create_dir_all(Path::new(&folder).join("request"))
}
