//! What runs inside the containers of the live tests: a static program that does one thing, the
//! first argument, by the bare system calls.

use std::{
    env,
    ffi::{CString, c_char, c_int, c_long, c_ulong, c_void},
    fs,
    io::{self, Read as _, Write as _},
    iter,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{fs::chown, net::UnixListener, process::CommandExt as _},
    process::{Command, ExitCode},
    ptr, thread,
    time::Duration,
};

const MS_BIND: c_ulong = 4096;
const CLONE_NEWNS: c_int = 0x0002_0000;
const CLONE_NEWUSER: c_int = 0x1000_0000;
const PR_SET_NAME: c_int = 15;
const RLIMIT_STACK: c_int = 3;
const AF_INET: c_int = 2;
const SOCK_RAW: c_int = 3;
const IPPROTO_ICMP: c_int = 1;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn memfd_create(name: *const c_char, flags: u32) -> c_int;
    fn prctl(option: c_int, name: *const c_char) -> c_int;
    fn geteuid() -> u32;
    fn mmap(
        at: *mut c_void,
        size: usize,
        access: c_int,
        kind: c_int,
        file: c_int,
        from: i64,
    ) -> *mut c_void;
    fn munmap(at: *mut c_void, size: usize) -> c_int;
    fn setrlimit(resource: c_int, limit: *const u64) -> c_int;
    fn setgid(gid: u32) -> c_int;
    fn setgroups(count: usize, groups: *const u32) -> c_int;
    fn setuid(uid: u32) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
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

#[cfg(target_arch = "x86_64")]
#[path = "compat.rs"]
mod compat;

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
        // Makes a socket with a name in the file system.
        ["socket", path] => {
            let _socket = UnixListener::bind(path)?;
            Ok(())
        }
        // Asks so many times for a socket that sees other's packets, whether it gets one or not.
        ["raw-socket", times] => {
            for _ in 0..times.parse()? {
                // SAFETY: the call takes three numbers.
                unsafe { socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) };
            }
            Ok(())
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
        // Executes itself with about so many bytes of arguments, which would clear a terminal.
        ["long-arguments", bytes] => long_arguments(bytes.parse()?),
        // So many children at once, each of which sets the user id that it has.
        ["fork-bomb", count] => fork_bomb(count.parse()?),
        // Maps and unmaps memory, on all processors.
        ["mmap-storm", count] => mmap_storm(count.parse()?),
        // What a web server does that drops its rights: port, files, log, then another user.
        ["serve"] => serve(),
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
        ["io-uring"] => {
            let mut parameters = [0_u32; 30];
            // SAFETY: io_uring_setup, number 425 everywhere, takes a number and writes to 120 bytes.
            let ring = unsafe { syscall(425, 1, parameters.as_mut_ptr()) };
            check(c_int::try_from(ring)?)
        }
        // A call by the 32-bit entry, as i386 programs make it.
        #[cfg(target_arch = "x86_64")]
        ["compat", number, arguments @ ..] => compat::call(number.parse()?, arguments),
        // A call by its number.
        ["call", number, arguments @ ..] => call(number.parse()?, arguments),
        _ => Err("unknown command".into()),
    }
}

/// Makes a call with up to five arguments: numbers, or texts.
fn call(number: c_long, arguments: &[&str]) -> Result {
    let mut words = [0; 5];
    let mut texts = Vec::new();
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = match argument.parse() {
            Ok(number) => number,
            Err(_) => {
                texts.push(CString::new(*argument)?);
                texts.last().map_or(0, |text| text.as_ptr() as c_long)
            }
        };
    }
    let [a, b, c, d, e] = words;
    // SAFETY: the texts live until the call has returned.
    let result = unsafe { syscall(number, a, b, c, d, e) };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
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

fn long_arguments(bytes: usize) -> Result {
    // The kernel takes 128 KiB for one, and all of them count as part of the stack.
    const ONE: usize = 100_000;
    let unlimited = [u64::MAX; 2];
    // SAFETY: the limit is two numbers of 64 bits, which live until the call has returned.
    check(unsafe { setrlimit(RLIMIT_STACK, unlimited.as_ptr()) })?;
    let escape = "\u{1b}[2J\n\u{1b}]0;gone\u{7}";
    let argument = escape.repeat(ONE / escape.len());
    let count = bytes / argument.len();
    let arguments = iter::repeat_n(argument, count);
    // Without a known command it ends at once.
    let status = Command::new("/proc/self/exe").args(arguments).status()?;
    match status.code() {
        Some(1) => Ok(()),
        _ => Err(format!("{status}").into()),
    }
}

fn fork_bomb(count: usize) -> Result {
    let (mut reader, writer) = io::pipe()?;
    let mut children = Vec::new();
    for _ in 0..count {
        // SAFETY: this program has one thread here, so the child can do what it likes.
        let child = unsafe { fork() };
        check(child)?;
        if child == 0 {
            drop(writer);
            // Until all are there, which the end of the pipe tells.
            let waited = reader.read(&mut [0]);
            // SAFETY: the calls take no pointer.
            let done = unsafe { setuid(geteuid()) };
            std::process::exit(i32::from(waited.is_err() || done != 0));
        }
        children.push(child);
    }
    drop(writer);
    for child in children {
        let mut status = 0;
        // SAFETY: the status is written before the call returns.
        check(unsafe { waitpid(child, &raw mut status, 0) })?;
        if status != 0 {
            return Err(format!("a child failed: {status}").into());
        }
    }
    Ok(())
}

fn mmap_storm(count: usize) -> Result {
    const PAGE: usize = 4096;
    const PRIVATE_ANONYMOUS: c_int = 0x22;
    let storm = move || -> io::Result<()> {
        for _ in 0..count {
            // SAFETY: a new mapping that nobody else knows of, and that is gone right after.
            let failed = unsafe {
                let page = mmap(ptr::null_mut(), PAGE, 0, PRIVATE_ANONYMOUS, -1, 0);
                munmap(page, PAGE)
            };
            if failed != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    let threads = thread::available_parallelism()?.get();
    let storms: Vec<_> = (0..threads).map(|_| thread::spawn(storm)).collect();
    for storm in storms {
        storm.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
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

fn serve() -> Result {
    let listener = TcpListener::bind("0.0.0.0:80")?;
    fs::create_dir_all("/var/cache/nginx/client_temp")?;
    chown("/var/cache/nginx/client_temp", Some(101), None)?;
    fs::create_dir_all("/run")?;
    fs::write("/run/nginx.pid", "1")?;
    // SAFETY: the calls take numbers, and an array of as many as they say.
    unsafe {
        check(setgroups(1, [101].as_ptr()))?;
        check(setgid(101))?;
        check(setuid(101))?;
    }
    // What it does for its clients needs no rights.
    let client = TcpStream::connect("127.0.0.1:80")?;
    let (mut served, _) = listener.accept()?;
    served.write_all(b"hello")?;
    drop((served, client));
    fs::read("/run/nginx.pid")?;
    thread::sleep(Duration::from_secs(3600));
    Ok(())
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
