//! Where the kernel side is hooked in: the table of all hooks, and attaching them.

use aya::programs::kprobe::KProbeError;
use aya::programs::{BtfTracePoint, FExit, KProbe, ProgramError};
use aya::{Btf as KernelBtf, BtfError as KernelBtfError, Ebpf};

use super::load::LoadError;
use super::offsets::{Fact, Missing};

/// What a program is hooked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A tracepoint.
    Tracepoint,
    /// The return of a function. Needs ftrace, and trampolines of the architecture's JIT
    /// (`bpf_trampoline_link_prog` of `kernel/bpf/trampoline.c`).
    Return,
    /// The entry of a function. Needs kprobes.
    Entry,
}

/// A hook, as `doctor` and the header show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Name of the program in the object.
    pub program: &'static str,
    /// What it is hooked to.
    pub at: At,
    /// Name of that in the kernel.
    pub target: &'static str,
    /// Its name in headers and recordings.
    pub name: &'static str,
    /// What it tells.
    pub describes: &'static str,
    /// The first kernel that has it. For people: whether this one has it is tried.
    pub minimum_kernel: &'static str,
    /// What it tells, where the others are worth attaching without it. Of several hooks for the same
    /// the first that can be attached is used.
    pub tier_of: Option<Fact>,
}

impl Hook {
    /// The kind of program and its target, in the kernel's words.
    pub fn label(&self) -> String {
        let kind = match self.at {
            At::Tracepoint => "tp_btf",
            At::Return => "fexit",
            At::Entry => "kprobe",
        };
        format!("{kind} {}", self.target)
    }
}

/// All hooks; of those that tell the same the best comes first.
pub const HOOKS: &[Hook] = &[
    Hook {
        program: "exec",
        at: At::Tracepoint,
        target: "sched_process_exec",
        name: "sched_process_exec",
        describes: "programs executed, with their ids, capabilities and namespaces",
        minimum_kernel: "5.11",
        tier_of: None,
    },
    Hook {
        program: "calls",
        at: At::Tracepoint,
        target: "sys_exit",
        name: "sys_exit",
        describes: "set*id, setgroups, capset and mount calls, with the state after them; writes to \
                    the root file system",
        minimum_kernel: "5.11",
        tier_of: None,
    },
    Hook {
        program: "capable",
        at: At::Tracepoint,
        target: "cap_capable",
        name: "cap_capable",
        describes: "capabilities that calls use",
        minimum_kernel: "6.14",
        tier_of: Some(Fact::CapabilityUse),
    },
    Hook {
        program: "capable_exit",
        at: At::Return,
        target: "cap_capable",
        name: "fexit/cap_capable",
        describes: "capabilities that calls use",
        // For `bpf_task_pt_regs` (`kernel/bpf/helpers.c`).
        minimum_kernel: "5.15",
        tier_of: Some(Fact::CapabilityUse),
    },
    Hook {
        program: "capable_entry",
        at: At::Entry,
        target: "cap_capable",
        name: "kprobe/cap_capable",
        describes: "capabilities that calls use",
        minimum_kernel: "5.15",
        tier_of: Some(Fact::CapabilityUse),
    },
];

/// The name of a hook that can be left out: one of several that tell the same.
///
/// # Errors
/// It is none, with those that are.
pub fn optional(name: &str) -> Result<String, String> {
    let names = HOOKS.iter().filter(|hook| hook.tier_of.is_some());
    let names: Vec<&str> = names.map(|hook| hook.name).collect();
    match names.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "no hook that can be left out; those are {}",
            names.join(", ")
        )),
    }
}

/// Whether one of these hooks, by their names, tells which capabilities are used.
pub fn tells_capability_use(names: &[String]) -> bool {
    let tiers = HOOKS
        .iter()
        .filter(|hook| hook.tier_of == Some(Fact::CapabilityUse));
    let mut names_of_tiers = tiers.map(|tier| tier.name);
    names_of_tiers.any(|tier| names.iter().any(|name| name == tier))
}

/// A hook that could not be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The hook.
    pub hook: Hook,
    /// Why not, in a line.
    pub why: String,
}

/// What became of the hooks.
#[derive(Debug, Default)]
pub struct Attached<'a> {
    /// The names of those that shall be left out.
    pub without: &'a [String],
    /// Those in use.
    pub hooks: Vec<Hook>,
    /// Those that were tried in vain.
    pub refused: Vec<Refused>,
}

impl Attached<'_> {
    /// Tries a hook, unless a better one tells the same already.
    ///
    /// # Errors
    /// The kernel refuses a hook that nothing works without.
    pub fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        hook: &Hook,
        types: &KernelBtf,
    ) -> Result<(), LoadError> {
        if hook.tier_of.is_some_and(|fact| self.tells(fact)) {
            return Ok(());
        }
        if self.without.iter().any(|name| name == hook.name) {
            let why = "left out by --without-hook".to_owned();
            self.refused.push(Refused { hook: *hook, why });
            return Ok(());
        }
        match attach(ebpf, hook, types) {
            Ok(()) => self.hooks.push(*hook),
            Err(error) if hook.tier_of.is_some() => {
                let why = reason(&error);
                tracing::debug!(hook = hook.name, %error, "not attached");
                self.refused.push(Refused { hook: *hook, why });
            }
            Err(why) => {
                return Err(LoadError::Program {
                    program: hook.program,
                    hook: hook.target,
                    why,
                });
            }
        }
        Ok(())
    }

    fn tells(&self, fact: Fact) -> bool {
        self.hooks.iter().any(|hook| hook.tier_of == Some(fact))
    }

    /// What no hook tells, though some were tried.
    pub fn missing(&self) -> Vec<Missing> {
        missing(&self.hooks, &self.refused)
    }
}

fn missing(hooks: &[Hook], refused: &[Refused]) -> Vec<Missing> {
    let mut all: Vec<Missing> = Vec::new();
    for Refused { hook, why } in refused {
        let Some(fact) = hook.tier_of else { continue };
        if hooks.iter().any(|hook| hook.tier_of == Some(fact)) {
            continue;
        }
        let this = format!("{} ({why})", hook.label());
        match all.iter_mut().find(|missing| missing.fact == fact) {
            Some(missing) => missing.member = format!("{} nor {this}", missing.member),
            None => all.push(Missing { member: this, fact }),
        }
    }
    all
}

fn attach(ebpf: &mut Ebpf, hook: &Hook, types: &KernelBtf) -> Result<(), ProgramError> {
    let program = ebpf
        .program_mut(hook.program)
        .ok_or(ProgramError::NotLoaded)?;
    match hook.at {
        At::Tracepoint => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(hook.target, types)?;
            program.attach().map(|_| ())
        }
        At::Entry => {
            let program: &mut KProbe = program.try_into()?;
            program.load()?;
            program.attach(hook.target, 0).map(|_| ()).inspect_err(|_| {
                // Loaded for nothing, it would only take memory.
                let _ = program.unload();
            })
        }
        At::Return => {
            let program: &mut FExit = program.try_into()?;
            program.load(hook.target, types)?;
            program.attach().map(|_| ()).inspect_err(|_| {
                // Loaded for nothing, it would only take memory.
                let _ = program.unload();
            })
        }
    }
}

/// The reason without the verifier's log, which is for whoever mends the programs.
fn reason(error: &ProgramError) -> String {
    match error {
        ProgramError::Btf(KernelBtfError::UnknownBtfTypeName { .. }) => {
            "not in this kernel".to_owned()
        }
        ProgramError::KProbeError(KProbeError::FileError { .. }) => {
            "no kprobes in this kernel".to_owned()
        }
        ProgramError::LoadError { io_error, .. } => format!("not loaded: {io_error}"),
        ProgramError::SyscallError(error) => format!("not attached: {}", error.io_error),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers() -> Vec<Hook> {
        let tiers = HOOKS.iter().filter(|hook| hook.tier_of.is_some());
        tiers.copied().collect()
    }

    fn refused(hook: &Hook, why: &str) -> Refused {
        let why = why.to_owned();
        Refused { hook: *hook, why }
    }

    #[test]
    fn hooks_have_names_of_their_own() {
        for (at, hook) in HOOKS.iter().enumerate() {
            let mut others = HOOKS[at + 1..].iter();
            assert!(others.all(|other| other.name != hook.name && other.program != hook.program));
        }
    }

    #[test]
    fn a_fact_is_missing_only_if_every_tier_is_refused() {
        let tiers = tiers();
        let first = refused(&tiers[0], "not in this kernel");
        assert_eq!(missing(&tiers[1..], std::slice::from_ref(&first)), []);
        assert_eq!(missing(&tiers[..1], &[]), []);
        let second = refused(&tiers[1], "not attached: EPERM");
        let third = refused(&tiers[2], "left out by --without-hook");
        let missing = missing(&HOOKS[..2], &[first, second, third]);
        let expected = Missing {
            member: "tp_btf cap_capable (not in this kernel) nor fexit cap_capable (not attached: \
                     EPERM) nor kprobe cap_capable (left out by --without-hook)"
                .to_owned(),
            fact: Fact::CapabilityUse,
        };
        assert_eq!(missing, [expected]);
    }

    #[test]
    fn every_tier_tells_the_use_of_capabilities() {
        for tier in tiers() {
            assert!(tells_capability_use(&[tier.name.to_owned()]));
        }
        assert!(!tells_capability_use(&["sys_exit".to_owned()]));
    }
}
