//! `tape explain`: cause and cure of an error code.

use anyhow::bail;
use strsim::damerau_levenshtein;

use crate::cx::Cx;
use crate::exit::Exit;
use crate::explain::{ALL, Explanation, find};
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The code, for example TAPE-R002; without one, all of them
    code: Option<String>,
}

pub fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let Some(code) = &args.code else {
        if cx.is_json() {
            ui::json(&ALL)?;
        } else {
            let rows: Vec<_> = ALL
                .iter()
                .map(|one| [one.code.to_owned(), one.title.to_owned()])
                .collect();
            ui::line(ui::table(["CODE", "MEANING"], &rows))?;
        }
        return Ok(Exit::Fine);
    };
    let Some(found) = find(code) else {
        bail!("there is no code {code}. Did you mean {}?", nearest(code))
    };
    if cx.is_json() {
        ui::json(found)?;
    } else {
        ui::line(render(found))?;
    }
    Ok(Exit::Fine)
}

fn render(one: &Explanation) -> String {
    format!(
        "{}: {}\n\nCause  {}\nCure   {}",
        one.code, one.title, one.cause, one.cure
    )
}

fn nearest(code: &str) -> &'static str {
    let wanted = code.to_uppercase();
    let near = ALL.iter().min_by_key(|one| damerau_levenshtein(&wanted, one.code));
    near.map_or("none", |one| one.code)
}
