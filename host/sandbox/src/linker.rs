//! One linker a class: what it does not have, a component of that class cannot import.
//!
//! Invariants:
//! * `effects` is in the linkers of classes 2 to 4 only, `wasi:http` and `wasi:keyvalue` in those of
//!   1 to 4.
//! * Interfaces are added one by one. Nothing is defined as a trap: an import that is missing
//!   fails at load, by name.

use stoplog_model::Class;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime::{Engine, Result};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random, sockets};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi_http::{WasiHttp, WasiHttpView};

use crate::bindings::{context, effects, store, types};
use crate::host::{Call, HasCall};
use crate::virtual_world::{HasClock, HasDice};

/// The linker of a class.
pub(crate) fn of_class(engine: &Engine, class: Class) -> Result<Linker<Call>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    types::add_to_linker::<Call, HasCall>(l, |call| call)?;
    context::add_to_linker::<Call, HasCall>(l, |call| call)?;
    add_inert(l)?;
    if class.reaches_out() {
        add_http(l)?;
        store::add_to_linker::<Call, HasCall>(l, |call| call)?;
    }
    if class.writes() {
        effects::add_to_linker::<Call, HasCall>(l, |call| call)?;
    }
    Ok(linker)
}

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

/// What every standard library drags in: clocks and random numbers are our own, the rest is
/// wasmtime's with an empty context (see [`Call::new`]).
fn add_inert(l: &mut Linker<Call>) -> Result<()> {
    io::error::add_to_linker::<Call, HasTable>(l, Call::table)?;
    io::poll::add_to_linker::<Call, HasTable>(l, Call::table)?;
    io::streams::add_to_linker::<Call, HasTable>(l, Call::table)?;

    clocks::wall_clock::add_to_linker::<Call, HasClock>(l, Call::clocks_view)?;
    clocks::monotonic_clock::add_to_linker::<Call, HasClock>(l, Call::clocks_view)?;

    random::random::add_to_linker::<Call, HasDice>(l, Call::dice)?;
    random::insecure::add_to_linker::<Call, HasDice>(l, Call::dice)?;
    random::insecure_seed::add_to_linker::<Call, HasDice>(l, Call::dice)?;

    cli::exit::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    cli::environment::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    cli::stdin::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    cli::stdout::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    cli::stderr::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    cli::terminal_input::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    cli::terminal_output::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    cli::terminal_stdin::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    cli::terminal_stdout::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    cli::terminal_stderr::add_to_linker::<Call, WasiCli>(l, Call::cli)?;

    filesystem::types::add_to_linker::<Call, WasiFilesystem>(l, Call::filesystem)?;
    filesystem::preopens::add_to_linker::<Call, WasiFilesystem>(l, Call::filesystem)?;

    let network = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<Call, WasiSockets>(l, &network, Call::sockets)?;
    sockets::instance_network::add_to_linker::<Call, WasiSockets>(l, Call::sockets)?;
    sockets::tcp::add_to_linker::<Call, WasiSockets>(l, Call::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<Call, WasiSockets>(l, Call::sockets)?;
    sockets::udp::add_to_linker::<Call, WasiSockets>(l, Call::sockets)?;
    sockets::udp_create_socket::add_to_linker::<Call, WasiSockets>(l, Call::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<Call, WasiSockets>(l, Call::sockets)?;
    Ok(())
}

fn add_http(l: &mut Linker<Call>) -> Result<()> {
    use wasmtime_wasi_http::p2::bindings::http::{outgoing_handler, types};
    outgoing_handler::add_to_linker::<Call, WasiHttp>(l, Call::http)?;
    types::add_to_linker::<Call, WasiHttp>(l, &types::LinkOptions::default(), Call::http)?;
    Ok(())
}
