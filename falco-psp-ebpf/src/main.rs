//! The kernel side of falco-psp: it reports what the processes of containers do, and never
//! judges.
//!
//! Each hook counts what it sees in the ledger, drops what is not in a container or has been told
//! before, and hands the rest to the ring. Members of kernel structures are found only through
//! the offset table that the agent fills from the kernel's BTF.
#![no_std]
#![no_main]

mod call;
mod emit;
mod filter;
mod hooks;
mod maps;
mod once;
mod posture;
mod read;
mod scratch;
mod task;

/// The kernel lends some of its helpers only to programs under a licence compatible with the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that could come here: there is nothing to unwind.
    loop {}
}
