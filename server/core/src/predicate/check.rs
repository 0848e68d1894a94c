//! What is checked of an expression before it is evaluated for the first time.

use cel::Program;
use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};

use super::event::{PAYLOAD, VARIABLES};
use super::{HOW, refused};
use crate::refusal::Refusal;

/// Deepest tree.
pub(super) const DEPTH_MAX: usize = 32;
/// Most nodes, with those that loops are made of.
const NODES_MAX: usize = 400;

/// Functions that may be called. All of them take time in proportion to what they look at, at most.
const FUNCTIONS: [&str; 9] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "string",
    "bool",
];

/// Checks names, depth, size and loops. Whether it looks into the payload.
///
/// Recurses as deep as the expression: call it where the stack is deep enough.
pub(super) fn check(text: &str, program: &Program) -> Result<bool, Refusal> {
    let mut walk = Walk {
        text,
        source: program.source_info(),
        nodes: 0,
        uses_payload: false,
        loops: Vec::new(),
    };
    walk.expr(program.expression(), 1)?;
    match kind_of(program.expression()) {
        None | Some("bool") => Ok(walk.uses_payload),
        Some(kind) => Err(walk.bad(
            program.expression(),
            &format!("gives a {kind}, not a bool"),
            "Compare it with something, as in `seq > 10`.",
        )),
    }
}

struct Walk<'a> {
    text: &'a str,
    source: &'a SourceInfo,
    nodes: usize,
    uses_payload: bool,
    /// Names that the loop around this place brings along: none outside of loops.
    loops: Vec<String>,
}

impl Walk<'_> {
    fn expr(&mut self, found: &IdedExpr, depth: usize) -> Result<(), Refusal> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(refused(
                self.text,
                &format!("is too large: at most {DEPTH_MAX} levels and {NODES_MAX} parts"),
                "Shorten it, or make several reactions of it.",
            ));
        }
        let deeper = depth + 1;
        match &found.expr {
            Expr::Unspecified => Err(refused(self.text, "has an empty part", HOW)),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(found, name),
            Expr::Select(select) => self.expr(&select.operand, deeper),
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.expr(item, deeper)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.expr(&entry.key, deeper)?;
                    self.expr(&entry.value, deeper)
                }
                EntryExpr::StructField(field) => self.expr(&field.value, deeper),
            }),
            Expr::Struct(made) => Err(self.bad(
                found,
                &format!("makes a {:?}, which is not known here", made.type_name),
                HOW,
            )),
            Expr::Call(call) => {
                let operator = !call.func_name.starts_with(char::is_alphabetic);
                if !operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(self.bad(
                        found,
                        &format!("calls {:?}, which is not known here", call.func_name),
                        "Use size, contains, startsWith, endsWith, int, uint, double, string, bool, has, all, exists, exists_one, map or filter.",
                    ));
                }
                let parts = call.target.iter().map(AsRef::as_ref).chain(&call.args);
                parts.into_iter().try_for_each(|part| self.expr(part, deeper))
            }
            Expr::Comprehension(over) => {
                if !self.loops.is_empty() {
                    return Err(self.bad(
                        found,
                        "has a loop within a loop",
                        "Use one all, exists, exists_one, map or filter after the other, or look at one field.",
                    ));
                }
                self.expr(&over.iter_range, deeper)?;
                self.expr(&over.accu_init, deeper)?;
                self.loops = [Some(&over.iter_var), over.iter_var2.as_ref(), Some(&over.accu_var)]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect();
                for part in [&over.loop_cond, &over.loop_step, &over.result] {
                    self.expr(part, deeper)?;
                }
                self.loops.clear();
                Ok(())
            }
        }
    }

    fn name(&mut self, found: &IdedExpr, name: &str) -> Result<(), Refusal> {
        if self.loops.iter().any(|own| own == name) {
            return Ok(());
        }
        if !VARIABLES.iter().any(|(known, _)| *known == name) {
            return Err(self.bad(found, &format!("asks for {name:?}, which is not known here"), HOW));
        }
        if name == PAYLOAD {
            if !self.loops.is_empty() {
                return Err(self.bad(
                    found,
                    "looks at the whole payload again and again within a loop",
                    "Within all, exists, exists_one, map and filter use the loop's own variable.",
                ));
            }
            self.uses_payload = true;
        }
        Ok(())
    }

    fn bad(&self, found: &IdedExpr, what: &str, cure: &str) -> Refusal {
        let what = match self.source.offset_for(found.id) {
            Some((at, _)) => format!("{what} (at byte {at})"),
            None => what.to_owned(),
        };
        refused(self.text, &what, cure)
    }
}

/// The type of what an expression gives, where that can be told without a payload.
fn kind_of(found: &IdedExpr) -> Option<&'static str> {
    match &found.expr {
        Expr::Literal(literal) => Some(match literal {
            LiteralValue::Boolean(_) => "bool",
            LiteralValue::Bytes(_) => "bytes",
            LiteralValue::Double(_) => "double",
            LiteralValue::Int(_) => "int",
            LiteralValue::Null => "null",
            LiteralValue::String(_) => "string",
            LiteralValue::UInt(_) => "uint",
        }),
        Expr::Ident(name) => {
            let (_, kind) = VARIABLES.iter().find(|(known, _)| known == name)?;
            (!kind.is_empty()).then_some(*kind)
        }
        Expr::List(_) => Some("list"),
        Expr::Map(_) => Some("map"),
        Expr::Select(select) => select.test.then_some("bool"),
        Expr::Comprehension(over) => match kind_of(&over.accu_init) {
            Some("list") => Some("list"),
            _ => None,
        },
        Expr::Call(call) => match call.func_name.as_str() {
            operators::CONDITIONAL => {
                let (yes, no) = (kind_of(call.args.get(1)?), kind_of(call.args.get(2)?));
                yes.filter(|kind| *kind != "bool").or(no)
            }
            operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => {
                call.args.iter().find_map(kind_of)
            }
            operators::NEGATE => Some("number"),
            "size" | "int" => Some("int"),
            "uint" => Some("uint"),
            "double" => Some("double"),
            "string" => Some("string"),
            _ => None,
        },
        _ => None,
    }
}
