//! A tape.yaml that somebody has damaged is read, or refused with a sentence; never a panic, never a machine out of memory.

use proptest::prelude::*;

use super::*;

const SCAFFOLD: &str = include_str!("../../../cli/templates/adk-python/tape.yaml");

/// One slip of the hand: where, in thousandths of the text, and what.
#[derive(Clone, Debug)]
enum Slip {
    Type(u16, &'static str),
    Delete(u16, usize),
    RepeatLine(u16),
    DropLine(u16),
    Value(u16, &'static str),
}

fn slip() -> impl Strategy<Value = Slip> {
    let at = 0..1_000_u16;
    let typed = prop::sample::select(vec![
        ":", " ", "  ", "\t", "\n", "{", "}", "[", "]", "- ", "&a ", "*a", "!x ", "$", "${", "}", "|", ">", "\"", "'",
        "#", "%", "é", "\u{0}", "<<: ",
    ]);
    let value = prop::sample::select(vec![
        "",
        "null",
        "true",
        "-1",
        "1e400",
        "99999999999999999999",
        "[]",
        "{}",
        "\"\"",
        "${X}",
        "${X:-y}",
        "2001-01-01",
        "0x10",
        ".nan",
    ]);
    prop_oneof![
        (at.clone(), typed).prop_map(|(at, text)| Slip::Type(at, text)),
        (at.clone(), 1..40_usize).prop_map(|(at, count)| Slip::Delete(at, count)),
        at.clone().prop_map(Slip::RepeatLine),
        at.clone().prop_map(Slip::DropLine),
        (at, value).prop_map(|(at, value)| Slip::Value(at, value)),
    ]
}

fn damage(text: &str, slip: &Slip) -> String {
    let share = |at: u16, of: usize| of * usize::from(at) / 1_000;
    let mut letters: Vec<char> = text.chars().collect();
    let mut lines: Vec<&str> = text.lines().collect();
    match slip {
        Slip::Type(at, typed) => {
            let at = share(*at, letters.len());
            letters.splice(at..at, typed.chars());
            letters.into_iter().collect()
        }
        Slip::Delete(at, count) => {
            let at = share(*at, letters.len());
            letters.drain(at..(at + count).min(letters.len()));
            letters.into_iter().collect()
        }
        Slip::RepeatLine(at) => {
            let at = share(*at, lines.len());
            lines.insert(at, lines.get(at).copied().unwrap_or_default());
            lines.join("\n")
        }
        Slip::DropLine(at) if !lines.is_empty() => {
            lines.remove(share(*at, lines.len()));
            lines.join("\n")
        }
        Slip::DropLine(_) => String::new(),
        Slip::Value(at, value) => {
            let at = share(*at, lines.len());
            let line = lines.get(at).map_or_else(String::new, |line| {
                let key = line.split_once(':').map_or(*line, |(key, _)| key);
                format!("{key}: {value}")
            });
            let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
            if let Some(damaged) = lines.get_mut(at) {
                *damaged = line;
            }
            lines.join("\n")
        }
    }
}

fn parse(text: &str) -> Result<Project, ProjectError> {
    Project::parse(text, Path::new("/p"), &|_| None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_read_or_refused_with_a_sentence(slips in prop::collection::vec(slip(), 1..5)) {
        let whole = SCAFFOLD.replace("{{name}}", "treasury");
        let text = slips.iter().fold(whole, |text, slip| damage(&text, slip));
        if let Err(error) = parse(&text) {
            let said = error.to_string();
            prop_assert!(said.starts_with("TAPE-V010: ") && said.ends_with(['.', '?']), "{said}");
        }
    }
}

#[test]
fn anchors_that_multiply_are_refused() {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for n in 1..12 {
        let all = vec![format!("*a{}", n - 1); 9].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{all}]\n"));
    }
    assert!(parse(&text).is_err());
}

#[test]
fn brackets_without_end_are_refused() {
    for open in ["[", "{a: ", "- "] {
        assert!(parse(&open.repeat(100_000)).is_err());
    }
}
