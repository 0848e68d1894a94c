//! The engine: pooled instances, copy-on-write images, and a clock that interrupts guests which do not stop by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits::Limits;

/// How often a running guest looks whether its time is up.
const EPOCH: Duration = Duration::from_millis(10);
/// Python and JavaScript components consist of this many core instances and memories.
const CORE_INSTANCES_PER_COMPONENT: u32 = 50;
const MEMORIES_PER_COMPONENT: u32 = 10;
/// A typical component has one memory and a handful of core instances; the pool is sized for that, the maximum above is for one.
const CORE_INSTANCES_PER_CALL: u32 = 6;
const MEMORIES_PER_CALL: u32 = 2;

/// Instances that wait for their next call, over all connectors that may reuse theirs.
pub const IDLE_MAX: u32 = 16;

/// An engine whose pool holds `calls_max` calls and what waits for another one; on demand, with a warning, where the address space is too small for a pool.
pub fn engine(calls_max: u32) -> wasmtime::Result<Engine> {
    let pooled = config(InstanceAllocationStrategy::Pooling(pool(calls_max + IDLE_MAX)));
    Engine::new(&pooled).or_else(|error| {
        tracing::warn!(%error, "no room for an instance pool: connectors are instantiated on demand, which is slower");
        Engine::new(&config(InstanceAllocationStrategy::OnDemand))
    })
}

fn config(allocation: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    config
        .allocation_strategy(allocation)
        .epoch_interruption(true)
        .memory_init_cow(true)
        // Compiling on all cores raises the latency of calls that run meanwhile.
        .parallel_compilation(false)
        .wasm_memory64(false)
        .max_wasm_stack(512 * 1024)
        .async_stack_size(1024 * 1024);
    config
}

fn pool(calls_max: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls_max)
        .total_core_instances((calls_max * CORE_INSTANCES_PER_CALL).max(CORE_INSTANCES_PER_COMPONENT))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .total_memories((calls_max * MEMORIES_PER_CALL).max(MEMORIES_PER_COMPONENT))
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .total_tables((calls_max * CORE_INSTANCES_PER_CALL).max(CORE_INSTANCES_PER_COMPONENT))
        .max_tables_per_component(CORE_INSTANCES_PER_COMPONENT)
        .total_stacks(calls_max)
        .max_memory_size(Limits::MEMORY_BYTES_MAX)
        .table_elements(Limits::TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(2 * 1024 * 1024)
        .table_keep_resident(64 * 1024)
        .async_stack_keep_resident(32 * 1024)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Advances the engine's epoch while calls are running; an idle host is not woken.
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    stop: AtomicBool,
}

/// Keeps the ticker awake for as long as it lives.
pub struct Ticking<'a>(&'a Ticker);

impl Ticker {
    pub fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, state) = (engine.weak(), Arc::clone(&shared));
        let thread = thread::Builder::new().name("tape-epochs".to_owned()).spawn(move || {
            while !state.stop.load(Ordering::Acquire) {
                if state.running.load(Ordering::Acquire) == 0 {
                    thread::park();
                    continue;
                }
                thread::sleep(EPOCH);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub fn tick(&self) -> Ticking<'_> {
        if self.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.wake();
        }
        Ticking(self)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It only counts; if it panicked there is nothing to save.
            thread.join().ok();
        }
    }
}
