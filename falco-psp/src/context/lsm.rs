//! The kernel's security modules: what AppArmor and SELinux say of a process.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::container::posture::{Fact, SeLinuxLabel, Why};

/// More than a name in `/proc/PID/attr` has: the kernel gives one page.
const PAGE: u64 = 4_096;

/// The profiles that runtimes give to every container that names none. containerd's, Docker's,
/// podman's and older CRI-O's end with a version.
const DEFAULT_PROFILES: [&str; 4] = [
    "cri-containerd.apparmor.d",
    "docker-default",
    "crio-default",
    "containers-default",
];

/// Which of the modules are in force, and where processes show what they say.
#[derive(Clone, Debug)]
pub struct Modules {
    proc: PathBuf,
    /// Whether AppArmor is in force.
    pub app_armor: bool,
    /// Whether SELinux is.
    pub se_linux: bool,
}

impl Modules {
    /// Looks at this kernel.
    pub fn find() -> Self {
        Self::find_below(Path::new("/"))
    }

    fn find_below(root: &Path) -> Self {
        let says = |path: &str, is_so: fn(&str) -> bool| {
            fs::read_to_string(root.join(path)).is_ok_and(|text| is_so(&text))
        };
        Self {
            app_armor: says("sys/module/apparmor/parameters/enabled", |text| {
                text.trim() == "Y"
            }),
            // The file system is there only if SELinux was not switched off at boot
            // (security/selinux/selinuxfs.c, `init_sel_fs`).
            se_linux: says("proc/filesystems", |text| {
                text.split_whitespace().any(|word| word == "selinuxfs")
            }),
            proc: root.join("proc"),
        }
    }

    /// The AppArmor profile of process `pid`, or else the one that was `ordered`, in the words of a
    /// policy.
    pub fn app_armor(&self, pid: u32, ordered: Option<&str>) -> Fact<String> {
        if !self.app_armor {
            return Fact::Unknown(Why::NotInKernel);
        }
        // Its own folder since Linux 5.8; before, AppArmor has the common one if it is in force.
        let profile = self.attribute(pid, "apparmor/current");
        let profile = profile.or_else(|| self.attribute(pid, "current"));
        match profile.as_deref().or(ordered) {
            Some(profile) => Fact::Known(policy_word(profile)),
            None => Fact::Unknown(Why::Ended),
        }
    }

    /// The SELinux label of process `pid`, or else the one that was `ordered`.
    pub fn se_linux(&self, pid: u32, ordered: Option<&str>) -> Fact<SeLinuxLabel> {
        if !self.se_linux {
            return Fact::Unknown(Why::NotInKernel);
        }
        let label = self.attribute(pid, "current");
        let label = label.as_deref().and_then(SeLinuxLabel::parse);
        match label.or_else(|| SeLinuxLabel::parse(ordered?)) {
            Some(label) => Fact::Known(label),
            None => Fact::Unknown(Why::Ended),
        }
    }

    fn attribute(&self, pid: u32, name: &str) -> Option<String> {
        let path = self.proc.join(pid.to_string()).join("attr").join(name);
        let mut bytes = Vec::new();
        let file = fs::File::open(path).ok()?;
        file.take(PAGE).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\0', '\n']);
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// An AppArmor profile in the words of a policy's annotation. The kernel adds its mode:
/// `docker-default (enforce)`.
fn policy_word(profile: &str) -> String {
    let name = match profile.rsplit_once(" (") {
        Some((name, mode)) if mode.ends_with(')') => name,
        _ => profile,
    };
    let is_default = DEFAULT_PROFILES.iter().any(|default| {
        let version = name.strip_prefix(default);
        version.is_some_and(|version| version.is_empty() || version.starts_with('-'))
    });
    match name {
        "unconfined" => name.to_owned(),
        _ if is_default => "runtime/default".to_owned(),
        name => format!("localhost/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Modules) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let modules = Modules::find_below(root.path());
        (root, modules)
    }

    const APP_ARMOR: (&str, &str) = ("sys/module/apparmor/parameters/enabled", "Y\n");
    const SE_LINUX: (&str, &str) = (
        "proc/filesystems",
        "nodev\tproc\nnodev\tselinuxfs\n\text4\n",
    );

    #[test]
    fn profiles_of_app_armor_are_told_in_the_words_of_a_policy() {
        let (_root, modules) = machine(&[
            APP_ARMOR,
            ("proc/1/attr/apparmor/current", "unconfined\n"),
            (
                "proc/2/attr/apparmor/current",
                "cri-containerd.apparmor.d (enforce)\n",
            ),
            ("proc/3/attr/apparmor/current", "k8s-nginx (complain)\n"),
            // Before Linux 5.8.
            ("proc/4/attr/current", "crio-default-1.19 (enforce)\n"),
            (
                "proc/5/attr/apparmor/current",
                ":ns://web (odd) name (enforce)\n",
            ),
            (
                "proc/6/attr/apparmor/current",
                "docker-defaulted (enforce)\n",
            ),
        ]);
        let known = |profile: &str| Fact::Known(profile.to_owned());
        for (pid, expected) in [
            (1, "unconfined"),
            (2, "runtime/default"),
            (3, "localhost/k8s-nginx"),
            (4, "runtime/default"),
            (5, "localhost/:ns://web (odd) name"),
            (6, "localhost/docker-defaulted"),
        ] {
            assert_eq!(modules.app_armor(pid, None), known(expected));
        }
        assert_eq!(modules.app_armor(9, None), Fact::Unknown(Why::Ended));
        let ordered = modules.app_armor(9, Some("docker-default"));
        assert_eq!(ordered, known("runtime/default"));
        assert_eq!(modules.se_linux(1, None), Fact::Unknown(Why::NotInKernel));
    }

    #[test]
    fn labels_of_se_linux_are_read_where_it_is_in_force() {
        let label = "system_u:system_r:container_t:s0:c1,c2";
        let (_root, modules) = machine(&[
            SE_LINUX,
            ("proc/1/attr/current", &format!("{label}\0")),
            ("proc/2/attr/current", "nonsense"),
        ]);
        let parsed = Fact::Known(SeLinuxLabel::parse(label).unwrap());
        assert_eq!(modules.se_linux(1, None), parsed);
        assert_eq!(modules.se_linux(3, Some(label)), parsed);
        for pid in [2, 3] {
            assert_eq!(modules.se_linux(pid, None), Fact::Unknown(Why::Ended));
        }
        assert_eq!(modules.app_armor(1, None), Fact::Unknown(Why::NotInKernel));
    }

    #[test]
    fn what_the_kernel_does_not_have_is_unknown_whatever_was_ordered() {
        let off = ("sys/module/apparmor/parameters/enabled", "N\n");
        let (_root, modules) = machine(&[off, ("proc/1/attr/current", "u:r:t:s0")]);
        let why = Some(Why::NotInKernel);
        assert_eq!(modules.app_armor(1, Some("docker-default")).unknown(), why);
        assert_eq!(modules.se_linux(1, Some("u:r:t:s0")).unknown(), why);
    }
}
