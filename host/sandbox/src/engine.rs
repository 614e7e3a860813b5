//! The engine: what of WebAssembly is on, how instances are allocated, and the ticker.
//!
//! Invariants:
//! * The same component computes the same on every machine: NaNs are canonical, relaxed SIMD is
//!   deterministic, threads are not compiled in.
//! * A guest that computes is looked at every [`limits::EPOCH_TICK`].
//! * The ticker thread ends when the last engine handle is dropped.
//!
//! What may go wrong: the machine does not give the address space that the pool reserves
//! (`ulimit -v`, small containers). Then instances are allocated on demand, which is slower and
//! needs no reservation; every limit still holds, because [`crate::host::Bounds`] counts.

use std::num::NonZeroUsize;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    Strategy,
};

use crate::limits;

/// How instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// From slots that are reserved once: an instance takes microseconds.
    Pool,
    /// One by one: for machines that do not give the pool its address space.
    OnDemand,
}

/// Builds the engine and starts its ticker.
pub(crate) fn build() -> wasmtime::Result<(Engine, Allocation)> {
    let (engine, allocation) = match build_with(Allocation::Pool) {
        Ok(engine) => (engine, Allocation::Pool),
        Err(_) => (build_with(Allocation::OnDemand)?, Allocation::OnDemand),
    };
    start_ticker(&engine)?;
    Ok((engine, allocation))
}

pub(crate) fn build_with(allocation: Allocation) -> wasmtime::Result<Engine> {
    let mut config = common();
    match allocation {
        Allocation::Pool => {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        }
        Allocation::OnDemand => {
            // Small reservations: a memory then moves when it grows.
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            config.memory_reservation(0);
            config.memory_guard_size(64 * 1024);
            config.memory_reservation_for_growth(1024 * 1024);
        }
    }
    Engine::new(&config)
}

fn common() -> Config {
    let mut config = Config::new();
    config.strategy(Strategy::Cranelift);
    config.cranelift_opt_level(OptLevel::Speed);
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.async_stack_size(limits::STACK_BYTES);
    config.max_wasm_stack(limits::WASM_STACK_BYTES);
    // Two lines of a backtrace would name the guest's functions, not the cause: the log does.
    config.wasm_backtrace_max_frames(None::<NonZeroUsize>);

    // Determinism: between a crash and its resume a tool must walk the same path.
    config.cranelift_nan_canonicalization(true);
    config.wasm_relaxed_simd(true);
    config.relaxed_simd_deterministic(true);

    // What no tool needs stays off: each feature is more compiler to trust. Threads, garbage
    // collection and exceptions are not even compiled in.
    config.wasm_memory64(false);
    config.wasm_custom_page_sizes(false);
    config.wasm_wide_arithmetic(false);
    config
}

fn pool() -> PoolingAllocationConfig {
    let runs = limits::CONCURRENT_RUNS;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(runs);
    pool.total_stacks(runs);
    pool.total_core_instances(runs * limits::CORE_INSTANCES);
    pool.total_memories(runs * limits::MEMORIES);
    pool.total_tables(runs * limits::TABLES);
    pool.max_core_instances_per_component(limits::CORE_INSTANCES);
    pool.max_memories_per_component(limits::MEMORIES);
    pool.max_tables_per_component(limits::TABLES);
    pool.max_memory_size(limits::MEMORY_BYTES);
    pool.table_elements(limits::TABLE_ELEMENTS);
    // Where the kernel says which pages an instance has written (Linux 6.7), those are wiped in
    // place, and not given back to the system and faulted in again by the next instance.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes);
        pool.linear_memory_keep_resident(limits::KEPT_MEMORY_BYTES);
        pool.table_keep_resident(limits::KEPT_TABLE_BYTES);
    }
    pool
}

fn start_ticker(engine: &Engine) -> wasmtime::Result<()> {
    let weak = engine.weak();
    std::thread::Builder::new()
        .name("stoplog-epochs".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(limits::EPOCH_TICK);
                match weak.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => break,
                }
            }
        })
        .map_err(|e| wasmtime::Error::msg(format!("cannot start the epoch ticker: {e}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_allocate_build() {
        assert!(build_with(Allocation::Pool).is_ok());
        assert!(build_with(Allocation::OnDemand).is_ok());
    }
}
