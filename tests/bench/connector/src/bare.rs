//! wasmtime alone: the same component in the same kind of pool, linked to imports that do nothing. The floor of a call.

use anyhow::Context as _;
use tape_connector_port::EffectCall;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../../wit/tape-connector@1.0.0",
        world: "guest",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

use bindings::exports::tape::connector::connector::Effect;
use bindings::tape::connector::{clock, config, http, log, random};
use bindings::{Guest, GuestPre};

/// A component, ready to be instantiated.
pub struct Bare {
    engine: Engine,
    guest: GuestPre<State>,
    config: String,
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Refuses,
    table: ResourceTable,
    config: String,
}

struct Refuses;

impl Bare {
    /// # Errors
    /// wasmtime does not take it.
    pub fn new(component: &[u8], config: &str) -> anyhow::Result<Self> {
        let engine = wasmtime(Engine::new(&engine_config()))?;
        let mut linker = Linker::new(&engine);
        wasmtime(Guest::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state))?;
        wasmtime(wasmtime_wasi::p2::add_to_linker_async(&mut linker))?;
        wasmtime(wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))?;
        let component = wasmtime(Component::new(&engine, component))?;
        let instance = wasmtime(linker.instantiate_pre(&component))?;
        Ok(Self {
            guest: wasmtime(GuestPre::new(instance))?,
            engine,
            config: config.to_owned(),
        })
    }

    /// A fresh instance, one dispatch.
    ///
    /// # Errors
    /// It crashed.
    pub async fn call(&self, call: &EffectCall) -> anyhow::Result<()> {
        let state = State {
            wasi: WasiCtx::builder().build(),
            http: WasiHttpCtx::new(),
            hooks: Refuses,
            table: ResourceTable::new(),
            config: self.config.clone(),
        };
        let mut store = Store::new(&self.engine, state);
        store.set_epoch_deadline(u64::MAX / 2);
        let guest = wasmtime(self.guest.instantiate_async(&mut store).await)?;
        let effect = effect(call);
        wasmtime(
            guest
                .tape_connector_connector()
                .call_dispatch(&mut store, &effect)
                .await,
        )?;
        Ok(())
    }
}

/// As the host's: the same pool, the same checks in the compiled code.
fn engine_config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(80)
        .total_core_instances(480)
        .max_core_instances_per_component(50)
        .total_memories(160)
        .max_memories_per_component(10)
        .total_tables(480)
        .max_tables_per_component(50)
        .total_stacks(80)
        .max_memory_size(512 * 1024 * 1024)
        .table_elements(100_000)
        .linear_memory_keep_resident(2 * 1024 * 1024)
        .table_keep_resident(64 * 1024)
        .async_stack_keep_resident(32 * 1024)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .memory_init_cow(true)
        .wasm_memory64(false)
        .max_wasm_stack(512 * 1024)
        .async_stack_size(1024 * 1024);
    config
}

fn wasmtime<T>(result: wasmtime::Result<T>) -> anyhow::Result<T> {
    result
        .map_err(|error| anyhow::anyhow!("{error:#}"))
        .context("wasmtime alone")
}

fn effect(call: &EffectCall) -> Effect {
    let call = call.clone();
    Effect {
        tenant: call.tenant,
        app: call.app,
        run_id: call.run_id,
        idempotency_key: call.idempotency_key,
        decision_index: call.decision_index,
        tool: call.tool,
        operation: call.operation,
        business_key: call.business_key,
        attempt: call.attempt,
        payload: call.payload_json,
        deadline_ms: call.deadline_ms,
        trace_parent: call.trace_parent,
        context: Vec::new(),
    }
}

impl http::Host for State {
    async fn send(&mut self, _: http::Request) -> wasmtime::Result<Result<http::Response, http::Error>> {
        Ok(Err(http::Error::Denied("nothing is granted".to_owned())))
    }
}

impl config::Host for State {
    async fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.config.clone())
    }
}

impl log::Host for State {
    async fn write(&mut self, _: log::Level, _: String, _: Vec<(String, String)>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl clock::Host for State {
    async fn now_ms(&mut self) -> wasmtime::Result<i64> {
        Ok(1)
    }

    async fn monotonic_ns(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }
}

impl random::Host for State {
    async fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        Ok(vec![7; len as usize])
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

type Sending = Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>;
type Answer = Result<(::http::Response<wasmtime_wasi_http::WasiBody>, Sending), wasmtime_wasi_http::Error>;

impl wasmtime_wasi_http::WasiHttpHooks for Refuses {
    fn send_request(
        &mut self,
        _: ::http::Request<wasmtime_wasi_http::WasiBody>,
        _: Option<wasmtime_wasi_http::RequestOptions>,
        _: Sending,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        Box::new(async { Err(wasmtime_wasi_http::Error::HttpRequestDenied) })
    }
}
