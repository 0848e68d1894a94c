//! What an instance owns: its quota, its way out, its empty WASI. Made for a call and dropped with it, unless it may serve several.

use std::sync::Arc;

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::egress::Egress;
use crate::host::Clock;
use crate::limits::Limits;
use crate::output::{Allowance, Tail};
use crate::wasi::{self, Hooks};

/// Handles that an instance may hold at a time.
const RESOURCES_MAX: usize = 10_000;
const HEADER_FIELDS_BYTES_MAX: usize = 64 * 1024;

/// The state of one instance.
pub struct Sandbox {
    pub egress: Arc<Egress>,
    pub config_json: Arc<str>,
    pub clock: Arc<dyn Clock>,
    pub began: tokio::time::Instant,
    pub random: &'static dyn rustls::crypto::SecureRandom,
    pub log: Allowance,
    pub quota: Quota,
    /// What the call wrote to standard output and error.
    pub tail: Tail,
    wasi: WasiCtx,
    wasi_http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
}

impl Sandbox {
    pub fn new(
        egress: Arc<Egress>,
        config_json: Arc<str>,
        clock: Arc<dyn Clock>,
        random: &'static dyn rustls::crypto::SecureRandom,
    ) -> Self {
        let tail = Tail::default();
        let limits = egress.limits;
        let mut wasi_http = WasiHttpCtx::new();
        wasi_http.set_field_size_limit(HEADER_FIELDS_BYTES_MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            config_json,
            clock,
            began: tokio::time::Instant::now(),
            random,
            log: Allowance::new(limits.log_bytes),
            quota: Quota {
                memory_bytes: limits.memory_bytes,
                exceeded: None,
            },
            wasi: wasi::empty(&tail),
            tail,
            wasi_http,
            hooks: Hooks {
                egress: Arc::clone(&egress),
            },
            table,
            egress,
        }
    }

    /// Begins another call: everything that belongs to the one before is replaced.
    pub fn begin(&mut self, egress: Arc<Egress>) {
        self.log = Allowance::new(egress.limits.log_bytes);
        self.quota.exceeded = None;
        self.tail.clear();
        self.hooks.egress = Arc::clone(&egress);
        self.egress = egress;
    }
}

/// Memory and tables of one instance. Remembers what was refused, because a guest only crashes of it.
pub struct Quota {
    memory_bytes: usize,
    pub exceeded: Option<String>,
}

impl ResourceLimiter for Quota {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired <= self.memory_bytes;
        if !granted {
            self.exceeded = Some(format!(
                "memory: {} bytes are granted (limits.memory_bytes), it asked for {desired}",
                self.memory_bytes
            ));
        }
        Ok(granted)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired <= Limits::TABLE_ELEMENTS_MAX;
        if !granted {
            self.exceeded = Some(format!(
                "tables: {} elements are allowed, it asked for {desired}",
                Limits::TABLE_ELEMENTS_MAX
            ));
        }
        Ok(granted)
    }
}

impl WasiView for Sandbox {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Sandbox {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.wasi_http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}
