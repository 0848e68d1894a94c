//! Five hundred worlds. `TAPE_SIM_SEED=n` lives through one of them, `TAPE_SIM_SEEDS=n` through as many.

use tape_simulation::simulate;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

fn live(seed: u64) -> tape_simulation::Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(simulate(seed))
}

#[test]
fn the_invariants_hold_in_every_world() {
    let seeds = match number("TAPE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TAPE_SIM_SEEDS").unwrap_or(500),
    };
    let (mut crashes, mut steps) = (0, 0);
    for seed in seeds.clone() {
        let outcome = live(seed);
        crashes += outcome.crashes;
        steps += outcome.steps;
        assert!(
            outcome.wrong.is_empty(),
            "seed {seed} fails at step {} after {} crashes; again by TAPE_SIM_SEED={seed}:\n{}",
            outcome.steps,
            outcome.crashes,
            outcome.wrong.join("\n"),
        );
    }
    println!(
        "{} worlds, {steps} steps, {crashes} crashes of the server",
        seeds.count()
    );
}

#[test]
fn a_seed_is_the_same_world_every_time() {
    let (one, other) = (live(7), live(7));
    assert_eq!((one.steps, one.crashes), (other.steps, other.crashes));
}
