//! Durable steps over Postgres, beside one commit per operation in pgbench.

use std::time::Duration;

use anyhow::Context as _;
use tape_load::{Server, Usage, Way, Work};
use tape_store_tests::cluster::Cluster;

use crate::report::{Bound, Line, Report};
use crate::section::{Plan, in_use, ms};

const CLIENTS: usize = 64;

/// What one operation writes, as one statement and so one commit: the guard, the head, a row, an entry. It is a call of
/// one function: no round trip is wasted, which makes it the best that one commit per operation can be.
const FLOOR: &str = "
CREATE TABLE entities (no BIGINT PRIMARY KEY, version BIGINT NOT NULL) WITH (fillfactor = 80);
CREATE TABLE rows (no BIGINT NOT NULL, kind SMALLINT NOT NULL, key BYTEA NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (no, kind, key)) WITH (fillfactor = 80);
CREATE TABLE journal (position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, no BIGINT NOT NULL, seq BIGINT NOT NULL, body BYTEA NOT NULL);
CREATE UNIQUE INDEX journal_by_run ON journal (no, seq);
INSERT INTO entities SELECT n, 1 FROM generate_series(0, 63) n;
INSERT INTO rows SELECT n, 0, '', convert_to(repeat('x', 300), 'UTF8') FROM generate_series(0, 63) n;
CREATE FUNCTION operation(run BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE found BIGINT;
BEGIN
    UPDATE entities SET version = version + 1 WHERE no = run RETURNING version INTO found;
    UPDATE rows SET body = convert_to(repeat('y', 300), 'UTF8') WHERE no = run AND kind = 0 AND key = '';
    INSERT INTO rows VALUES (run, 2, int8send(found), convert_to(repeat('z', 400), 'UTF8'));
    INSERT INTO journal (no, seq, body) VALUES (run, found, convert_to(repeat('j', 100), 'UTF8'));
    RETURN found;
END $$;
";

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let folder = plan.scratch()?;
    let cluster = Cluster::start();
    let url = cluster.database("bench").await;
    let server = Server::start(&plan.setup(url), &folder.path().join("server.log")).await?;
    let alone = tape_load::apply(&server.url, "alone", Work::Step, 1, plan.load).await?;
    report.figure("Postgres: durable step alone, p50 ms", ms(alone.latency.p50()));
    let before = busy(&server, &cluster)?;
    let many = tape_load::apply(&server.url, "many", Work::Step, CLIENTS, plan.load).await?;
    let after = busy(&server, &cluster)?;
    report.figure("Postgres: durable steps, 64 clients, per second", many.rate());
    report.figure("Postgres: durable step, 64 clients, p99 ms", ms(many.latency.p99()));
    for (who, before, after) in [
        ("server's", before.server, after.server),
        ("database's", before.database, after.database),
        ("clients'", before.clients, after.clients),
    ] {
        report.figure(
            format!("Postgres: {who} processors in use"),
            in_use(after.saturating_sub(before), plan.load),
        );
    }
    let streamed = tape_load::apply_by(&server.url, "stream", Work::Step, CLIENTS, plan.load, Way::OneStream).await?;
    report.figure(
        "Postgres: durable steps of 64 runs on one stream, per second",
        streamed.rate(),
    );
    server.stop().await?;

    drop(cluster.database("floor").await);
    cluster.session("floor").await.run(FLOOR).await;
    let script = folder.path().join("operation.sql");
    std::fs::write(&script, "SELECT operation(:client_id);\n")?;
    let said = cluster
        .program("pgbench")
        .args(["--no-vacuum", "--protocol=prepared", "--client=64", "--jobs=2"])
        .arg(format!("--time={}", plan.load.as_secs().max(2)))
        .arg("--file")
        .arg(&script)
        .arg("floor")
        .output()
        .context("pgbench")?;
    let text = String::from_utf8_lossy(&said.stdout);
    let rate: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("pgbench tells no rate: {text}{}", String::from_utf8_lossy(&said.stderr)))?;
    let operations = many.rate() * 2.0;
    report.line(Line::new(
        "Postgres, 64 clients: operations, of one commit each in pgbench",
        format!("{operations:.0}/s"),
        format!("{rate:.0}/s"),
        operations / rate,
        Bound::AtLeast(2.0),
    ));
    Ok(())
}

/// Time on a processor.
struct Busy {
    server: Duration,
    database: Duration,
    clients: Duration,
}

fn busy(server: &Server, cluster: &Cluster) -> anyhow::Result<Busy> {
    // Processes of the database that end meanwhile are none of those that do the work.
    let database = cluster.processes().into_iter().filter_map(|pid| Usage::of(pid).ok());
    Ok(Busy {
        server: server.usage()?.cpu,
        database: database.map(|usage| usage.cpu).sum(),
        clients: Usage::own()?.cpu,
    })
}
