//! Every connector that is shipped holds what the kit asks of it.

use tape_connector_kit::Finding;
use tape_connector_tests::{holds, subject};

#[tokio::test]
async fn bank() {
    let report = holds(subject("bank")).await;
    // The list is not empty by mistake: these must have been tried.
    for fact in [
        "a lost answer is unknown, and what happened is found",
        "undone twice is undone once",
    ] {
        let line = report
            .facts
            .iter()
            .find(|line| line.name == fact)
            .expect("the fact is on the list");
        assert_eq!(line.finding, Finding::Holds);
    }
}
