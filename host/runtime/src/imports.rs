//! The contract's imports, as a guest calls them.

use std::time::Duration;

use crate::contract::bindings::tape::connector::{clock, config, http, log, random};
use crate::egress::{Outgoing, SendError};
use crate::output::{Allowed, one_line};
use crate::sandbox::Sandbox;

const RANDOM_BYTES_MAX: u32 = 64 * 1024;

impl http::Host for Sandbox {
    async fn send(&mut self, request: http::Request) -> wasmtime::Result<Result<http::Response, http::Error>> {
        let outgoing = Outgoing {
            method: request.method,
            url: request.url,
            headers: request
                .headers
                .into_iter()
                .map(|(name, value)| (name, value.into_bytes()))
                .collect(),
            body: request.body.unwrap_or_default().into(),
            timeout: request.timeout_ms.map(|ms| Duration::from_millis(ms.into())),
        };
        let answer = self.egress.send(outgoing).await.map(|incoming| http::Response {
            status: incoming.status,
            headers: incoming
                .headers
                .into_iter()
                .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
                .collect(),
            body: incoming.body.into(),
        });
        Ok(answer.map_err(|error| match error {
            SendError::Denied(why) => http::Error::Denied(why),
            SendError::NotSent(why) => http::Error::NotSent(why),
            SendError::MaybeSent(why) => http::Error::MaybeSent(why),
            SendError::TooLarge(why) => http::Error::TooLarge(why),
        }))
    }
}

impl config::Host for Sandbox {
    async fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.config_json.to_string())
    }
}

impl log::Host for Sandbox {
    async fn write(
        &mut self,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let bytes = message.len()
            + fields
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>();
        match self.log.take(bytes) {
            Allowed::Yes => {}
            Allowed::Cut => {
                tracing::warn!(target: "tape::connector", "the connector logs more than limits.log_bytes in one call: the rest is cut");
                return Ok(());
            }
            Allowed::No => return Ok(()),
        }
        let shown = |text: &str| one_line(&self.egress.vault.redact(text));
        let message = shown(&message);
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", shown(name), shown(value)))
            .collect();
        let fields = fields.join(" ");
        let said = if fields.is_empty() {
            message.clone()
        } else {
            format!("{message} {fields}")
        };
        self.egress.notes.say(self.clock.now_ms(), name_of(level), said);
        match level {
            log::Level::Trace => tracing::trace!(target: "tape::connector", fields, "{message}"),
            log::Level::Debug => tracing::debug!(target: "tape::connector", fields, "{message}"),
            log::Level::Info => tracing::info!(target: "tape::connector", fields, "{message}"),
            log::Level::Warn => tracing::warn!(target: "tape::connector", fields, "{message}"),
            log::Level::Error => tracing::error!(target: "tape::connector", fields, "{message}"),
        }
        Ok(())
    }
}

fn name_of(level: log::Level) -> &'static str {
    match level {
        log::Level::Trace => "trace",
        log::Level::Debug => "debug",
        log::Level::Info => "info",
        log::Level::Warn => "warn",
        log::Level::Error => "error",
    }
}

impl clock::Host for Sandbox {
    async fn now_ms(&mut self) -> wasmtime::Result<i64> {
        Ok(self.clock.now_ms())
    }

    async fn monotonic_ns(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl random::Host for Sandbox {
    async fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        if len > RANDOM_BYTES_MAX {
            wasmtime::bail!("random.bytes gives {RANDOM_BYTES_MAX} bytes at most, not {len}");
        }
        let mut bytes = vec![0; len as usize];
        self.random
            .fill(&mut bytes)
            .map_err(|_| wasmtime::format_err!("the system gives no random bytes"))?;
        Ok(bytes)
    }
}
