//! Calls by the 32-bit entry of an x86_64 kernel.

use std::{arch::asm, io, ptr};

use super::{Result, mmap};

const PROT_READ_WRITE: i32 = 3;
/// `MAP_PRIVATE`, `MAP_ANONYMOUS`, and `MAP_32BIT`: such a call cannot name higher addresses.
const LOW: i32 = 0x02 | 0x20 | 0x40;
const PAGE: usize = 4096;

/// Makes the call with up to four arguments, numbers or texts. The register of a 64-bit call's first
/// argument has the second: who takes it for one finds that.
pub(super) fn call(number: u32, arguments: &[&str]) -> Result {
    let mut words = [0_u64; 4];
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = match argument.parse::<i32>() {
            Ok(number) => u64::from(number.cast_unsigned()),
            Err(_) => low(argument)?,
        };
    }
    let [first, second, third, fourth] = words;
    let result: i64;
    // SAFETY: the call changes no memory of this process, and its texts live for ever; rbx, which may
    // not be named, is as it was afterwards.
    unsafe {
        asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) first => _,
            inlateout("rax") u64::from(number) => result,
            in("rcx") second,
            in("rdx") third,
            in("rdi") second,
            in("rsi") fourth,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    if result < 0 {
        let errno = i32::try_from(-result)?;
        return Err(io::Error::from_raw_os_error(errno).into());
    }
    Ok(())
}

/// The address of a copy of the text below 4 GiB.
fn low(text: &str) -> Result<u64> {
    if text.len() >= PAGE {
        return Err("a text is too long".into());
    }
    // SAFETY: new memory, of which nothing is given back.
    let page = unsafe { mmap(ptr::null_mut(), PAGE, PROT_READ_WRITE, LOW, -1, 0) };
    if page as isize == -1 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the page is longer than the text, and zero behind it.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), page.cast(), text.len()) };
    Ok(page as u64)
}
