//! Where a path of a container leads: through its links, and to which mount.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To the file system that is the process's root: the path without links.
    Root(String),
    /// To another mount.
    Elsewhere,
}

/// Where `path` leads from the root of process `pid`; with `follows` through a link at its end, too.
/// What is not there any more is looked for by the folder that it was in. `None` if the process is gone
/// or the kernel does not tell (before Linux 5.6).
///
/// No mount is entered: the file system behind one may never answer.
pub fn find(pid: u32, path: &str, follows: bool) -> Option<Place> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty()).ok()?;
    let path = path.trim_end_matches('/');
    if follows {
        match open(root.as_fd(), path) {
            Ok(place) => return Some(place),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(_) => return None,
        }
    }
    let mut rest = path;
    let mut names = Vec::new();
    loop {
        let (folder, name) = rest.rsplit_once('/')?;
        names.push(name);
        match open(root.as_fd(), folder) {
            Ok(Place::Root(folder)) => {
                let names = names.iter().rev().filter(|name| !name.is_empty());
                let mut place = folder.trim_end_matches('/').to_owned();
                for name in names {
                    place.push('/');
                    place.push_str(name);
                }
                return Some(Place::Root(place));
            }
            Ok(Place::Elsewhere) => return Some(Place::Elsewhere),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !folder.is_empty() => rest = folder,
            Err(_) => return None,
        }
    }
}

fn open(root: BorrowedFd<'_>, path: &str) -> Result<Place, Errno> {
    let path = match path.trim_matches('/') {
        "" => ".",
        path => path,
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(file) => {
            let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let path = link.map_err(|_| Errno::NOENT)?;
            Ok(Place::Root(path.to_string_lossy().into_owned()))
        }
        Err(Errno::XDEV) => Ok(Place::Elsewhere),
        Err(why) => Err(why),
    }
}

/// A path without `.`, `..` and empty names.
pub fn normal(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn leads_through_links_and_to_folders_of_what_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().canonicalize().unwrap();
        fs::create_dir(own.join("run")).unwrap();
        fs::write(own.join("run/file"), "").unwrap();
        symlink("run", own.join("var")).unwrap();
        symlink("file", own.join("run/link")).unwrap();
        let pid = std::process::id();
        let at = |name: &str| own.join(name).to_str().unwrap().to_owned();
        let place = |name: &str, follows| find(pid, &at(name), follows);
        // Where temporary files are a mount of their own, all of it is elsewhere.
        if find(pid, &at("run"), true) == Some(Place::Elsewhere) {
            assert_eq!(place("var/new", false), Some(Place::Elsewhere));
            return;
        }
        let root = |name: &str| Some(Place::Root(at(name)));
        assert_eq!(place("var/link", true), root("run/file"));
        assert_eq!(place("var/link", false), root("run/link"));
        assert_eq!(place("var/gone", true), root("run/gone"));
        assert_eq!(place("gone/further/down", false), root("gone/further/down"));
        assert_eq!(place("run/file/below", false), root("run/file/below"));
    }

    #[test]
    fn other_mounts_are_elsewhere() {
        let pid = std::process::id();
        assert_eq!(find(pid, "/proc/sys/x", false), Some(Place::Elsewhere));
        assert_eq!(find(pid, "/proc/self/status", true), Some(Place::Elsewhere));
        assert_eq!(find(u32::MAX, "/", true), None);
        assert_eq!(find(pid, "/", true), Some(Place::Root("/".to_owned())));
    }

    #[test]
    fn without_a_process_names_alone_tell() {
        assert_eq!(normal("/a/./b/../c//d/"), "/a/c/d");
        assert_eq!(normal("/../.."), "/");
        assert_eq!(normal(""), "/");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(path: String, follows: bool) {
            let _ = find(std::process::id(), &path.replace('\0', ""), follows);
            let _ = normal(&path);
        }
    }
}
