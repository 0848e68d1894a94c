//! `tape connector`: what an author of connectors does, without a server; and what is deployed in the one that runs.

mod activate;
mod build;
mod call;
mod deployed;
mod effect;
mod folder;
mod grant;
mod history;
mod identity;
mod inspect;
mod list;
mod logs;
mod new;
mod oci;
mod pull;
mod push;
mod put;
mod remove;
mod rollback;
mod sign;
mod test;
mod upstream;

use crate::cx::Cx;
use crate::exit::Exit;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a connector's project that builds, and holds its tests
    New(new::Args),
    /// Build the component, and check that the host accepts it
    Build(build::Args),
    /// Try the component: the facts that every connector holds, and its own cases
    Test(test::Args),
    /// What a component is, asks for, and can do
    Inspect(inspect::Args),
    /// Vouch for a component with a key, or make a key
    Sign(sign::Args),
    /// Push a component, with its signatures, into an OCI registry
    Push(push::Args),
    /// Pull a component, with its signatures, out of an OCI registry into a file
    Pull(pull::Args),
    /// Call a component by hand: over the model of its upstream, over the real one, or as it is deployed
    Call(call::Args),
    /// Play the model of the upstream, for a deployed connector to call
    Upstream(upstream::Args),
    /// Try a deployed connector with one effect, the whole way until it is settled
    Effect(effect::Args),
    /// Put a version into the running server
    Put(put::Args),
    /// Direct calls to a version: all of them, or a share
    Activate(activate::Args),
    /// Go back to what was active before the version came that came last
    Rollback(rollback::Args),
    /// What is deployed, what it gets of the calls, and how it does
    List(list::Args),
    /// What a version may reach, and its configuration; changes both
    Grant(grant::Args),
    /// What a connector said, and how its calls ended
    Logs(logs::Args),
    /// Who changed what, and why
    History(history::Args),
    /// Take a version away
    Remove(remove::Args),
}

pub async fn run(command: Command, cx: &Cx) -> anyhow::Result<Exit> {
    match command {
        Command::New(args) => new::run(&args, cx),
        Command::Build(args) => build::run(&args, cx).await,
        Command::Test(args) => test::run(&args, cx).await,
        Command::Inspect(args) => inspect::run(&args, cx).await,
        Command::Sign(args) => sign::run(&args, cx).await,
        Command::Push(args) => push::run(&args, cx).await,
        Command::Pull(args) => pull::run(&args, cx).await,
        Command::Call(args) => call::run(&args, cx).await,
        Command::Upstream(args) => upstream::run(&args).await,
        Command::Effect(args) => effect::run(&args, cx).await,
        Command::Put(args) => put::run(&args, cx).await,
        Command::Activate(args) => activate::run(&args, cx).await,
        Command::Rollback(args) => rollback::run(&args, cx).await,
        Command::List(args) => list::run(&args, cx).await,
        Command::Grant(args) => grant::run(&args, cx).await,
        Command::Logs(args) => logs::run(&args, cx).await,
        Command::History(args) => history::run(&args, cx).await,
        Command::Remove(args) => remove::run(&args, cx).await,
    }
}
