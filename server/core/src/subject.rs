//! Subject patterns: which journal entries somebody wants, by their subject.
//!
//! A subject is a path, `/tape/<noun>/<verb>/<run>/...`. In a pattern `*` stands for one segment and `**` for any number,
//! also none; everything else stands for itself.

use crate::refusal::Refusal;

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// A pattern that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPattern(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Exact(String),
    One,
    Any,
}

impl SubjectPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, TAPE-J001, with what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let bad = |what: &str, cure: &str| {
            Err(
                Refusal::invalid("subject_pattern", text, format!("A subject pattern {what}."), cure)
                    .coded("TAPE-J001"),
            )
        };
        if text.len() > PATTERN_BYTES_MAX {
            return bad(
                "is at most 1024 bytes long",
                "Shorten it: `**` stands for any number of segments.",
            );
        }
        let Some(path) = text.strip_prefix('/') else {
            return bad("begins with a slash", "Write it as in `/tape/effect/*/**`.");
        };
        if text.chars().any(char::is_control) {
            return bad("has no control characters", "Write it as in `/tape/effect/*/**`.");
        }
        let mut segments = Vec::new();
        for segment in path.split('/') {
            segments.push(match segment {
                "" => return bad("has no empty segments", "Remove the slash too many."),
                "*" => Segment::One,
                // Two in a row say no more than one.
                "**" if segments.last() == Some(&Segment::Any) => continue,
                "**" => Segment::Any,
                part if part.contains('*') => {
                    return bad(
                        "has `*` and `**` only as whole segments",
                        "Put slashes around the star, as in `/tape/effect/*/**`.",
                    );
                }
                part => Segment::Exact(part.to_owned()),
            });
        }
        Ok(Self(segments))
    }

    /// Whether the whole of `subject` is as the pattern says.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        let Some(path) = subject.strip_prefix('/') else {
            return false;
        };
        let parts: Vec<&str> = path.split('/').collect();
        // Only the last `**` is ever tried again: an earlier one that took more could not do better. So the work is
        // bounded by the product of both lengths, whatever the pattern.
        let (mut at, mut taken, mut retry) = (0, 0, None);
        while taken < parts.len() {
            match self.0.get(at) {
                Some(Segment::Any) => {
                    retry = Some((at, taken));
                    at += 1;
                }
                Some(Segment::One) => (at, taken) = (at + 1, taken + 1),
                Some(Segment::Exact(part)) if part == parts[taken] => (at, taken) = (at + 1, taken + 1),
                _ => match retry {
                    Some((any, from)) => {
                        retry = Some((any, from + 1));
                        (at, taken) = (any + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        self.0[at..].iter().all(|segment| *segment == Segment::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let parsed = SubjectPattern::parse(pattern).unwrap();
        for subject in yes {
            assert!(parsed.matches(subject), "{pattern} takes {subject}");
        }
        for subject in no {
            assert!(!parsed.matches(subject), "{pattern} does not take {subject}");
        }
    }

    #[test]
    fn stars_stand_for_segments() {
        check(
            "/tape/run/ended/r-1",
            &["/tape/run/ended/r-1"],
            &["/tape/run/ended", "/tape/run/ended/r-1/x", "tape"],
        );
        check(
            "/tape/effect/*/**",
            &["/tape/effect/begun", "/tape/effect/begun/r/d-0/t/0"],
            &["/tape/effect", "/tape/run/ended/r"],
        );
        check(
            "/tape/*/ended/*",
            &["/tape/run/ended/r"],
            &["/tape/run/ended", "/tape/run/ended/r/x"],
        );
        check("/**", &["/", "/tape", "/tape/run/ended/r"], &[""]);
        check("/**/**/x", &["/x", "/a/b/x"], &["/a/b"]);
    }

    #[test]
    fn a_double_star_in_the_middle_takes_as_much_as_it_must() {
        check("/a/**/b", &["/a/b", "/a/b/b", "/a/x/b/y/b"], &["/a", "/a/b/c"]);
        check(
            "/a/**/b/*/**/c",
            &["/a/b/x/c", "/a/b/b/x/y/b/c", "/a/x/b/b/c"],
            &["/a/b/c", "/a/b/x/y"],
        );
    }

    #[test]
    fn a_pattern_of_many_stars_is_decided_at_once() {
        let pattern = SubjectPattern::parse(&"/**/a".repeat(200)).unwrap();
        assert!(pattern.matches(&"/a".repeat(400)));
        assert!(!pattern.matches(&format!("{}/b", "/a".repeat(400))));
    }

    #[test]
    fn what_is_no_pattern_is_named_with_its_cure() {
        for (text, what) in [
            ("", "begins with a slash"),
            ("tape/run", "begins with a slash"),
            ("/", "no empty segments"),
            ("/tape//x", "no empty segments"),
            ("/tape/", "no empty segments"),
            ("/tape/eff*", "whole segments"),
            ("/tape/***", "whole segments"),
            ("/tape/\n", "no control characters"),
            (&"/a".repeat(600), "at most 1024"),
        ] {
            let refusal = SubjectPattern::parse(text).unwrap_err();
            assert_eq!((refusal.code, refusal.field), ("TAPE-J001", Some("subject_pattern")));
            assert!(refusal.message.contains(what), "{text:?}: {refusal}");
            assert!(!refusal.cure.is_empty());
        }
    }
}
