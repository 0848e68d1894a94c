//! The file of tokens.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;
use tape_api::{Grant, Role, Tokens};

/// One entry of a tokens file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    token: Option<String>,
    token_sha256: Option<String>,
    principal: String,
    role: String,
    tenant: Option<String>,
}

/// Shortest token that is taken: shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// Reads a tokens file. Where tenants are `separated`, each token has to name its own: the one without a name is
/// everybody's. What is wrong is told by the number of its entry, never by the token.
pub(super) fn tokens(text: &str, separated: bool) -> Result<Tokens, String> {
    const SHAPE: &str = "write a list of {token or token_sha256, principal, role, tenant}";
    // The parser's own words may quote a secret.
    let entries: Vec<Entry> = serde_saphyr::from_str(text).map_err(|_| format!("it is no list of tokens; {SHAPE}"))?;
    let mut tokens = Tokens::default();
    for (number, entry) in (1..).zip(entries) {
        let grant = Grant {
            role: Role::named(&entry.role).ok_or_else(|| {
                let known = Role::ALL.map(|(name, _)| name).join(", ");
                format!("entry {number}: role {:?} is none of {known}", entry.role)
            })?,
            tenant: match tenant(number, entry.tenant)? {
                Some(unnamed) if separated && unnamed.is_empty() => {
                    return Err(format!(
                        "entry {number}: it names no tenant, and tenancy.mode is hard_multi_tenant; name one, or \"*\" for all"
                    ));
                }
                named => named,
            },
            principal: entry.principal,
        };
        match (entry.token, entry.token_sha256) {
            (Some(token), None) if token.len() >= TOKEN_BYTES_MIN => tokens.add(&token, grant),
            (Some(_), None) => {
                return Err(format!(
                    "entry {number}: the token is shorter than {TOKEN_BYTES_MIN} bytes; make one by `openssl rand -hex 32`"
                ));
            }
            (None, Some(hex)) => {
                let digest = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
                let digest = digest.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| {
                    format!("entry {number}: token_sha256 is not 64 hex digits; `printf %s TOKEN | sha256sum` makes them")
                })?;
                tokens.add_digest(digest, grant);
            }
            _ => {
                return Err(format!(
                    "entry {number}: it needs token or token_sha256, and not both; {SHAPE}"
                ));
            }
        }
    }
    if tokens.is_empty() {
        return Err(format!("it has no token, so nobody could call; {SHAPE}"));
    }
    Ok(tokens)
}

/// `*` is all tenants; none is the tenant without a name.
fn tenant(number: i32, named: Option<String>) -> Result<Option<String>, String> {
    match named {
        Some(all) if all == "*" => Ok(None),
        Some(name) => tape_core::json::check_optional_name("tenant", &name)
            .map(|()| Some(name))
            .map_err(|refusal| format!("entry {number}: {refusal}")),
        None => Ok(Some(String::new())),
    }
}

#[cfg(test)]
mod tests {
    use tape_api::{TokenBook, Verify as _};

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_is_known_by_itself_or_by_its_digest() {
        let digest = "6b97ceae3c01a8d7ea2a8a2d6a02a1e1f6a2b8b4ab24ebd2c1a08c0b5b9b4e11";
        let text = format!(
            "- {{token: {TOKEN}, principal: agent, role: driver, tenant: acme}}\n- {{token_sha256: {digest}, principal: ops, role: operator, tenant: '*'}}\n"
        );
        let known = TokenBook::new(tokens(&text, false).unwrap());
        let grant = known.verify(TOKEN).unwrap().grant;
        assert_eq!((grant.role, grant.tenant.as_deref()), (Role::Driver, Some("acme")));
        assert!(known.verify("something else").is_none());
    }

    #[test]
    fn what_is_wrong_is_told_without_the_token() {
        for (text, problem) in [
            (
                format!("- {{token: {TOKEN}, principal: a, role: king}}"),
                "entry 1: role \"king\"",
            ),
            (
                "- {token: short-secret, principal: a, role: driver}".to_owned(),
                "shorter than 16",
            ),
            (
                format!("- {{token: {TOKEN}, token_sha256: aa, principal: a, role: driver}}"),
                "and not both",
            ),
            (
                format!("- {{token_sha256: {TOKEN}, principal: a, role: driver}}"),
                "64 hex digits",
            ),
            (
                format!("- {{token: {TOKEN}, rule: driver, principal: a}}"),
                "no list of tokens",
            ),
            ("[]".to_owned(), "no token"),
        ] {
            let said = tokens(&text, false).map(drop).unwrap_err();
            assert!(said.contains(problem), "{said}");
            assert!(!said.contains(TOKEN) && !said.contains("short-secret"), "{said}");
        }
    }
}
