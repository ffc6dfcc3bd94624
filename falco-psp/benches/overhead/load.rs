//! The load: system calls in a loop, by a static program in a container. It prints the nanoseconds
//! of one turn, the best of some batches: what disturbs only makes a batch longer.

use std::{
    env,
    ffi::{CStr, CString, c_char, c_int, c_long, c_ulong, c_void},
    io,
    process::ExitCode,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Where the bench puts the program that does nothing.
const NOTHING: &str = "/bin/nothing";
const BATCHES: u32 = 10;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const O_RDONLY: c_int = 0;
const O_WRONLY: c_int = 1;
const O_CREAT: c_int = 0o100;
#[cfg(target_arch = "x86_64")]
const SYS_SETUID: c_long = 105;
#[cfg(target_arch = "aarch64")]
const SYS_SETUID: c_long = 146;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

unsafe extern "C" {
    fn _exit(status: c_int) -> !;
    fn execv(path: *const c_char, arguments: *const *const c_char) -> c_int;
    fn fork() -> c_int;
    fn getppid() -> c_int;
    fn waitpid(child: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn capget(header: *mut CapabilityHeader, data: *mut CapabilityData) -> c_int;
    fn capset(header: *mut CapabilityHeader, data: *const CapabilityData) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn close(file: c_int) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load {}: {error}", args.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result {
    match words {
        ["sleep"] => {
            thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
        ["exec", turns] => measure(turns, exec),
        ["setuid", turns] => measure(turns, setuid),
        ["capset", turns] => {
            let (mut header, data) = capabilities()?;
            // SAFETY: both structures are as version 3 of the call wants them.
            measure(turns, || {
                check(unsafe { capset(&raw mut header, data.as_ptr()) })
            })
        }
        ["mount", turns] => measure(turns, mount_and_unmount),
        ["open", turns] => {
            let path = CString::new(NOTHING)?;
            measure(turns, || open_and_close(&path, O_RDONLY))
        }
        ["write", turns] => measure(turns, || open_and_close(c"/written", O_WRONLY | O_CREAT)),
        ["getppid", turns] => measure(turns, || {
            // SAFETY: the call takes nothing and cannot fail.
            unsafe { getppid() };
            Ok(())
        }),
        // As many events as the processors can make; prints how many.
        ["flood", "setuid", seconds] => flood(seconds, setuid),
        ["flood", "exec", seconds] => flood(seconds, exec),
        // One exec after the other, with a pause.
        ["paced", count, millis] => {
            let pause = Duration::from_millis(millis.parse()?);
            for _ in 0..count.parse()? {
                exec()?;
                thread::sleep(pause);
            }
            Ok(())
        }
        _ => Err("unknown command".into()),
    }
}

/// The bare call: that of the C library has all threads make it.
fn setuid() -> Result {
    // SAFETY: the call takes a number.
    match unsafe { syscall(SYS_SETUID, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().into()),
    }
}

/// Executes the program that does nothing, and waits for its end, with no calls beside: that of the
/// standard library makes a hundred more, which set each signal as it was.
fn exec() -> Result {
    let path = c"/bin/nothing".as_ptr();
    let arguments = [path, ptr::null()];
    // SAFETY: the child calls nothing but these two, which take strings and arrays that live.
    let child = unsafe { fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe {
            execv(path, arguments.as_ptr());
            _exit(1)
        }
    }
    check(child)?;
    let mut status = 0;
    // SAFETY: the status is written before the call returns.
    check(unsafe { waitpid(child, &raw mut status, 0) })?;
    match status {
        0 => Ok(()),
        _ => Err("the program failed".into()),
    }
}

fn capabilities() -> Result<(CapabilityHeader, [CapabilityData; 2])> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: both structures are as version 3 of the call wants them.
    check(unsafe { capget(&raw mut header, data.as_mut_ptr()) })?;
    Ok((header, data))
}

fn open_and_close(path: &CStr, flags: c_int) -> Result {
    // SAFETY: the path lives until the call has returned; a mode is taken if the file is made.
    let file = unsafe { open(path.as_ptr(), flags, 0o600) };
    check(file)?;
    // SAFETY: the file was opened here, and nobody else knows it.
    check(unsafe { close(file) })
}

fn mount_and_unmount() -> Result {
    let (kind, target) = (c"tmpfs".as_ptr(), c"/mnt".as_ptr());
    // SAFETY: the strings are constants; a tmpfs needs no data.
    check(unsafe { mount(kind, target, kind, 0, ptr::null()) })?;
    // SAFETY: the string is a constant.
    check(unsafe { umount2(target, 0) })
}

fn measure(turns: &str, mut turn: impl FnMut() -> Result) -> Result {
    let turns: u32 = turns.parse()?;
    let batch = (turns / BATCHES).max(1);
    let mut best = f64::INFINITY;
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..batch {
            turn()?;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(batch));
    }
    println!("{best}");
    Ok(())
}

fn flood(seconds: &str, turn: impl Fn() -> Result + Sync) -> Result {
    let time = Duration::from_secs(seconds.parse()?);
    let over = AtomicBool::new(false);
    let threads = thread::available_parallelism()?.get();
    let one = || {
        let mut turns = 0_u64;
        while !over.load(Ordering::Relaxed) && turn().is_ok() {
            turns += 1;
        }
        turns
    };
    let turns: u64 = thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        runs.into_iter().map(|run| run.join().unwrap_or(0)).sum()
    });
    println!("{turns}");
    Ok(())
}

fn check(result: c_int) -> Result {
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}
