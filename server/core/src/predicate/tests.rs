use super::*;
use crate::refusal::Status;

fn seen(payload_json: &str) -> Seen<'_> {
    Seen {
        kind: "effect.failed",
        subject: "/tape/effect/failed/r-1/d-0/wire/0",
        run_id: "r-1",
        seq: 7,
        ts_ms: 1_000,
        decision_index: Some(2),
        app: "treasury",
        tenant: "t",
        payload_json,
    }
}

const PAYLOAD: &str = r#"{"tool":"wire","amount":250,"rate":1.5,"big":18446744073709551615,"ok":true,"none":null,"items":[{"sku":"a","n":1},{"sku":"b","n":5}]}"#;

fn wants(text: &str) -> Result<bool, NoAnswer> {
    Predicate::parse(text).unwrap().wants(&seen(PAYLOAD))
}

#[test]
fn an_expression_says_what_is_wanted() {
    for (text, wanted) in [
        ("true", true),
        ("kind == 'effect.failed' && seq > 6", true),
        ("kind.startsWith('run.')", false),
        (
            "subject.contains('/wire/') && run_id.endsWith('1') && size(tenant) == 1",
            true,
        ),
        (
            "app in ['treasury', 'other'] && decision_index == 2 && ts_ms >= 1000",
            true,
        ),
        ("payload.amount > 100 && payload.amount + 1 == 251", true),
        ("payload.rate < 2 || payload.big > 5u", true),
        ("payload.ok ? payload.tool == 'wire' : false", true),
        ("payload.none == null", true),
        ("has(payload.nothing)", false),
        ("!has(payload.nothing) || payload.nothing == 1", true),
        ("payload.items.exists(i, i.sku == 'b' && i.n > 4)", true),
        ("payload.items.all(i, i.n > 1)", false),
        ("payload.items.exists_one(i, i.n > 1)", true),
        ("payload.items.filter(i, i.n > 1).map(i, i.sku) == ['b']", true),
        ("payload.items.map(i, i.n).exists(n, n == seq - 2)", true),
        ("size(payload.items) == 2 && payload.items[0].sku == 'a'", true),
        (
            "payload['tool'] == string('wire') && int('5') == 5 && double(1) == 1.0 && uint(1) == 1u",
            true,
        ),
        ("'(((((((((((((((((((((((((((((((((((((((((' != kind", true),
    ] {
        assert_eq!(wants(text), Ok(wanted), "{text}");
    }
}

#[test]
fn what_makes_no_sense_for_an_event_has_no_answer() {
    for (text, why) in [
        ("payload.nothing == 1", "no key"),
        ("payload.tool > 5", ""),
        ("payload.tool", "not a bool"),
        ("payload.items[9].n == 1", ""),
        ("1 / (payload.amount - 250) == 1", "division by zero"),
        ("payload.amount * 9223372036854775807 > 0", "out of range"),
    ] {
        let no = wants(text).unwrap_err().to_string();
        assert!(no.contains(why) && no.len() < 300, "{text}: {no}");
    }
    let asks = Predicate::parse("payload.a == 1").unwrap();
    let many = format!("[{}1]", "1,".repeat(5_000));
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let large = format!("{:?}", "x".repeat(70_000));
    for payload in ["{", &many, &deep, &large] {
        assert!(matches!(asks.wants(&seen(payload)), Err(NoAnswer::Payload(_))));
        // Who does not ask for it is not told of it.
        assert_eq!(Predicate::parse("seq == 7").unwrap().wants(&seen(payload)), Ok(true));
    }
    assert_eq!(Predicate::parse("payload == null").unwrap().wants(&seen("")), Ok(true));
}

#[test]
fn what_is_no_predicate_is_named_with_its_cure() {
    let long = format!("kind == '{}'", "x".repeat(PREDICATE_BYTES_MAX));
    for (text, what) in [
        ("", "no CEL"),
        ("kind ==", "no CEL at 1:"),
        ("kind = 'x'", "no CEL at 1:"),
        ("kind == 'x", "no CEL at 1:"),
        ("1 +", "no CEL at"),
        ("kind", "gives a string"),
        ("1", "gives a int"),
        ("seq + 1", "gives a int"),
        ("size(kind)", "gives a int"),
        ("[true]", "gives a list"),
        ("payload.items.map(i, i.n)", "gives a list"),
        ("kind == 'x' ? 'yes' : 'no'", "gives a string"),
        ("knd == 'x'", "asks for \"knd\""),
        ("kind == 'x' && nothing", "at byte 15"),
        ("kind.matches('a.*')", "calls \"matches\""),
        ("frob(kind)", "calls \"frob\""),
        ("Foo{a: 1} == 1", "Foo"),
        ("kind > 5", "cannot be evaluated"),
        ("payload.items.all(i, payload.items.exists(j, j == i))", "loop"),
        ("payload.items.all(i, i.all(j, j > 1))", "loop within a loop"),
        ("payload.items.all(i, i != payload)", "whole payload"),
        (&long, "at most 1024"),
    ] {
        let refusal = Predicate::parse(text).expect_err(text);
        assert_eq!(
            (refusal.status, refusal.code, refusal.field),
            (Status::InvalidArgument, "TAPE-J002", Some("predicate_cel")),
            "{text}"
        );
        assert!(refusal.message.contains(what), "{text:?}: {refusal}");
        assert!(!refusal.cure.is_empty());
    }
}

/// Every way in which an expression can nest, as deep as the longest expression goes, on a thread with a small stack.
#[test]
fn nothing_overflows_the_stack() {
    fn worst(open: &str, middle: &str, close: &str) -> Vec<String> {
        let times = (PREDICATE_BYTES_MAX - middle.len()) / (open.len() + close.len());
        // As deep as it goes, as deep as the tree may be, and unclosed.
        [times, times / 2, 60, 20]
            .into_iter()
            .flat_map(|n| {
                [
                    format!("{}{middle}{}", open.repeat(n), close.repeat(n)),
                    format!("{}{middle}", open.repeat(n)),
                ]
            })
            .chain([format!("{open}{close}").repeat(PREDICATE_BYTES_MAX / (open.len() + close.len()))])
            .collect()
    }
    let nestings = [
        ("(", "true", ")"),
        ("[", "1", "]"),
        ("{1:", "1", "}"),
        ("!", "true", ""),
        ("-", "1", ""),
        ("! ", "true", ""),
        ("!(", "true", ")"),
        ("-(", "1", ")"),
        ("((", "1", "))"),
        ("([", "1", "])"),
        ("({1:[", "1", "]})"),
        ("a?", "b", ":c"),
        ("true?true:", "true", ""),
        ("true?", "true", ":true"),
        ("", "payload", ".a"),
        ("", "payload", "[0]"),
        ("payload[", "0", "]"),
        ("payload.a(", "0", ")"),
        ("size(", "kind", ")"),
        ("f(", "1", ")"),
        ("A{a:", "1", "}"),
        ("", "true", "&&true"),
        ("", "true", "||true"),
        ("", "1", "+1"),
        ("", "1", "-1"),
        ("", "true", "==true"),
        ("1 in [", "1", "]"),
        ("has(a.b).c(", "1", ")"),
        ("[1].all(x,", "true", ")"),
        ("[1].map(x,", "x", ")"),
        ("", "[1]", ".map(x,x)"),
        ("", "[1]", ".filter(x,true)"),
        ("has(", "a.b", ")"),
        ("'", "a", ""),
        ("\"\"\"", "a", ""),
        ("\\", "a", ""),
        ("(", "", "("),
        ("/*", "", "*/"),
        ("//", "", "\n"),
        ("$", "", "\u{0}"),
    ];
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let looked = small.spawn(move || {
        let (mut read, mut refused) = (0, 0);
        for (open, middle, close) in nestings {
            for text in worst(open, middle, close) {
                match Predicate::parse(&text) {
                    Ok(predicate) => {
                        read += 1;
                        drop(predicate.wants(&seen(PAYLOAD)));
                    }
                    Err(refusal) => {
                        refused += 1;
                        assert_eq!(refusal.code, "TAPE-J002", "{text}");
                    }
                }
            }
        }
        (read, refused)
    });
    let (read, refused) = looked.unwrap().join().unwrap();
    assert!(read > 20 && refused > 100, "{read} read, {refused} refused");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, ..Default::default() })]

    /// Whatever is put together of CEL's own words is read or refused, and evaluated without harm.
    #[test]
    fn any_words_are_read_or_refused(words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..160)) {
        let text = words.concat();
        if let Ok(predicate) = Predicate::parse(&text) {
            drop(predicate.wants(&seen(PAYLOAD)));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        if let Ok(predicate) = Predicate::parse(&text) {
            drop(predicate.wants(&seen(PAYLOAD)));
        }
    }
}

const WORDS: [&str; 48] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "?",
    ":",
    ".",
    ",",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    " in ",
    "true",
    "false",
    "null",
    "0",
    "1",
    "9223372036854775807",
    "1.5",
    "2u",
    "'a'",
    "b'a'",
    "kind",
    "seq",
    "payload",
    ".items",
    ".exists(i,",
    ".map(i,",
    ".all(i,",
    "i",
    ".n",
    "has(",
    "size(",
    "string(",
    "/*x*/",
];

/// The dearest expressions over the largest payload that is looked into, unoptimised: a bound that a runaway would miss by far.
#[test]
#[allow(clippy::disallowed_methods, reason = "it is the time that is looked at")]
fn the_dearest_predicate_ends_soon() {
    let items = format!(r#"{{"l":[{}1]}}"#, "1,".repeat(4_000));
    let sums = format!("{}1<0||", "i+".repeat(20)).repeat(8);
    let joined = format!("{}''==''||", "subject+".repeat(20)).repeat(4);
    for text in [
        format!("payload.l.exists(i,{sums}false)"),
        format!("payload.l.exists(i,{joined}false)"),
        format!("payload.l{}.size()>0", ".map(i,i+1)".repeat(9)),
        format!("payload.l.map(i,[{}1]).size()>0", "i,".repeat(150)),
        format!("[{}payload].all(i,i==i&&i!=null)", "payload,".repeat(60)),
    ] {
        let predicate = Predicate::parse(&text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        let began = std::time::Instant::now();
        drop(predicate.wants(&seen(&items)));
        let took = began.elapsed();
        assert!(took.as_secs() < 20, "{took:?}: {text}");
    }
}
