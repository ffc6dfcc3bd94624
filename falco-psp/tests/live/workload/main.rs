//! What runs inside the containers of the live tests: a static program that does one thing, the
//! first argument, by the bare system calls.

use std::{
    env,
    ffi::{CString, c_char, c_int, c_ulong, c_void},
    fs, io,
    net::{TcpListener, UdpSocket},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
    ptr, thread,
    time::Duration,
};

const MS_BIND: c_ulong = 4096;
const CLONE_NEWNS: c_int = 0x0002_0000;
const CLONE_NEWUSER: c_int = 0x1000_0000;
const PR_SET_NAME: c_int = 15;

unsafe extern "C" {
    fn fork() -> c_int;
    fn memfd_create(name: *const c_char, flags: u32) -> c_int;
    fn prctl(option: c_int, name: *const c_char) -> c_int;
    fn setuid(uid: u32) -> c_int;
    fn unshare(flags: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn setresuid(real: u32, effective: u32, saved: u32) -> c_int;
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
            eprintln!("workload {}: {error}", args.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result {
    match words {
        // What exec-loop executes.
        [] => Ok(()),
        ["sleep"] => {
            thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
        // Waits to be called; at port 0 at one that the kernel chooses, as one who only asks does.
        ["listen", "tcp", port] => {
            let _socket = TcpListener::bind(("0.0.0.0", port.parse()?))?;
            run(&["sleep"])
        }
        ["listen", "udp", port] => {
            let _socket = UdpSocket::bind(("0.0.0.0", port.parse()?))?;
            run(&["sleep"])
        }
        ["setuid", uid] => become_user(uid.parse()?),
        // Gives up root, but not for good.
        ["setuid-back", uid] => {
            // SAFETY: the call takes three numbers.
            check(unsafe { setresuid(1000, 1000, 0) })?;
            become_user(uid.parse()?)
        }
        ["bind", source, target] => bind(source, target),
        ["exec-loop", count, path] => exec_loop(count.parse()?, path),
        ["exec", path, arguments @ ..] => Err(Command::new(path).args(arguments).exec().into()),
        ["print-ids"] => print_ids(),
        // The rest of the words in a child that executes nothing.
        ["fork", rest @ ..] => in_child(rest),
        // The rest under another name.
        ["named", name, rest @ ..] => {
            let name = CString::new(*name)?;
            // SAFETY: the string lives until the call has returned.
            check(unsafe { prctl(PR_SET_NAME, name.as_ptr()) })?;
            run(rest)
        }
        // The rest by a copy of this program that no file system holds.
        ["from-memory", rest @ ..] => from_memory(rest),
        // The rest as root of a user namespace of its own, with mounts of its own.
        ["in-user-namespace", rest @ ..] => in_user_namespace(rest),
        _ => Err("unknown command".into()),
    }
}

fn become_user(uid: u32) -> Result {
    // SAFETY: the call takes a number.
    check(unsafe { setuid(uid) })?;
    print_ids()
}

fn bind(source: &str, target: &str) -> Result {
    let (source, target) = (CString::new(source)?, CString::new(target)?);
    // SAFETY: both strings live until the call has returned; a bind mount takes neither type nor
    // data.
    check(unsafe {
        mount(
            source.as_ptr(),
            target.as_ptr(),
            ptr::null(),
            MS_BIND,
            ptr::null(),
        )
    })
}

/// Executes the program so many times, on all processors, as fast as they can.
fn exec_loop(count: u32, path: &str) -> Result {
    let threads = u32::try_from(thread::available_parallelism()?.get())?;
    let one = |share: u32| -> io::Result<()> {
        for _ in 0..share {
            let status = Command::new(path).status()?;
            if !status.success() {
                return Err(io::Error::other(format!("{path}: {status}")));
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let shares = (0..threads).map(|n| count / threads + u32::from(n < count % threads));
        let runs: Vec<_> = shares
            .map(|share| scope.spawn(move || one(share)))
            .collect();
        for run in runs {
            run.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

fn in_child(words: &[&str]) -> Result {
    // SAFETY: this program has one thread here, so the child can do what it likes.
    let child = unsafe { fork() };
    check(child)?;
    if child == 0 {
        let done = run(words);
        std::process::exit(done.map_or(1, |()| 0));
    }
    let mut status = 0;
    // SAFETY: the status is written before the call returns.
    check(unsafe { waitpid(child, &raw mut status, 0) })?;
    if status != 0 {
        return Err(format!("the child failed: {status}").into());
    }
    Ok(())
}

fn from_memory(words: &[&str]) -> Result {
    // SAFETY: the name is a constant that ends with NUL.
    let file = unsafe { memfd_create(c"copy".as_ptr(), 0) };
    check(file)?;
    let path = format!("/proc/self/fd/{file}");
    fs::copy("/proc/self/exe", &path)?;
    Err(Command::new(path).args(words).exec().into())
}

fn in_user_namespace(words: &[&str]) -> Result {
    // SAFETY: the call takes a number, and this program has one thread.
    check(unsafe { unshare(CLONE_NEWUSER | CLONE_NEWNS) })?;
    fs::write("/proc/self/uid_map", "0 1000 1")?;
    run(words)
}

fn print_ids() -> Result {
    let status = fs::read_to_string("/proc/self/status")?;
    for line in status.lines() {
        let wanted = [
            "Uid:",
            "Gid:",
            "Groups:",
            "CapEff:",
            "CapBnd:",
            "NoNewPrivs:",
        ];
        if wanted.iter().any(|name| line.starts_with(name)) {
            println!("{line}");
        }
    }
    Ok(())
}

fn check(result: c_int) -> Result {
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}
