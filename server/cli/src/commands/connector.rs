//! `tape connector`: what an author of connectors does. Only `effect` needs a server.

mod build;
mod call;
mod effect;
mod folder;
mod identity;
mod inspect;
mod new;
mod oci;
mod pull;
mod push;
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
    /// Call the component by hand: over the model of its upstream, or over the real one
    Call(call::Args),
    /// Play the model of the upstream, for a deployed connector to call
    Upstream(upstream::Args),
    /// Try a deployed connector with one effect, the whole way until it is settled
    Effect(effect::Args),
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
    }
}
