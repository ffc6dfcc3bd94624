//! The offsets of real kernels: `tests/btf` has their reduced types, and beside them what the whole
//! types said (`cargo xtask btf`).

use std::{collections::HashMap, fs, path::PathBuf};

use super::super::{
    btf::BtfError,
    load::{self, LoadError},
};
use super::*;

const KERNELS: [&str; 5] = [
    "6.1-amd64",
    "6.1-arm64",
    "6.12-amd64",
    "6.12-arm64",
    "6.18-amd64",
];

fn file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/btf");
    fs::read(folder.join(name)).unwrap()
}

fn types(kernel: &str) -> Btf {
    Btf::parse(&file(&format!("{kernel}.btf"))).unwrap()
}

/// Offset (or size, or value) and width by name.
fn recorded(kernel: &str) -> HashMap<String, (u32, u32)> {
    let text = String::from_utf8(file(&format!("{kernel}.offsets"))).unwrap();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let numbers = (words[1].parse().unwrap(), words[2].parse().unwrap());
        (words[0].to_owned(), numbers)
    };
    text.lines().map(line).collect()
}

#[test]
fn every_kernel_has_all_members_where_its_whole_types_have_them() {
    for kernel in KERNELS {
        let recorded = recorded(kernel);
        let (mut offsets, missing) = find(&types(kernel));
        assert_eq!(missing, [], "{kernel}");
        for entry in TABLE.iter().chain(NESTED) {
            let names = entry.paths.iter();
            let expected = names
                .map(|path| format!("{}.{}", entry.structure, path.join(".")))
                .find_map(|name| recorded.get(&name))
                .unwrap();
            let place = format!("{kernel}: {} {:?}", entry.structure, entry.paths);
            assert_eq!(*(entry.set)(&mut offsets), expected.0 / 8, "{place}");
        }
        let (bit, width) = recorded["linux_binprm.secureexec"];
        assert_eq!(width, 1);
        assert_eq!(offsets.binprm_secureexec_byte, bit / 8);
        assert_eq!(offsets.binprm_secureexec_mask, 1 << (bit % 8));
        assert_eq!(offsets.upid_size, recorded["sizeof(upid)"].0);
        let slot = recorded["pids_cgrp_id"].0;
        let subsys = recorded["css_set.subsys"].0 / 8;
        assert_eq!(offsets.css_set_pids, subsys + 8 * slot);
    }
}

#[test]
fn registers_are_those_of_the_types_architecture() {
    for kernel in KERNELS {
        let recorded = recorded(kernel);
        let at = |name: &str, further| recorded[&format!("pt_regs.{name}")].0 / 8 + further;
        let expected = if kernel.ends_with("arm64") {
            let of_regs = |number: u32| at("regs", 8 * number);
            let first = at("orig_x0", 0);
            [
                at("syscallno", 0),
                first,
                of_regs(1),
                of_regs(2),
                of_regs(3),
                first,
                of_regs(1),
                of_regs(2),
                of_regs(3),
                of_regs(0),
                of_regs(1),
                of_regs(2),
                of_regs(3),
            ]
        } else {
            [
                "orig_ax", "di", "si", "dx", "r10", "bx", "cx", "dx", "si", "di", "si", "dx", "cx",
            ]
            .map(|name| at(name, 0))
        };
        let (found, _) = find(&types(kernel));
        let found = [
            found.regs_call,
            found.regs_arg0,
            found.regs_arg1,
            found.regs_arg2,
            found.regs_arg3,
            found.regs_compat_arg0,
            found.regs_compat_arg1,
            found.regs_compat_arg2,
            found.regs_compat_arg3,
            found.regs_function0,
            found.regs_function1,
            found.regs_function2,
            found.regs_function3,
        ];
        assert_eq!(found, expected, "{kernel}");
    }
}

/// The types of a kernel where this name is another.
fn renamed(kernel: &str, name: &str) -> Btf {
    let mut data = file(&format!("{kernel}.btf"));
    let wanted = format!("\0{name}\0").into_bytes();
    let mut places = data.windows(wanted.len());
    let at = places.position(|found| found == wanted).unwrap();
    data[at + 1] = b'_';
    Btf::parse(&data).unwrap()
}

#[test]
fn a_kernel_without_a_needed_member_is_refused_by_its_name() {
    for kernel in KERNELS {
        let (_, missing) = find(&renamed(kernel, "real_parent"));
        let error = load::know_state(&missing).unwrap_err();
        assert!(
            matches!(&error, LoadError::UnknownKernel(members) if *members == ["task_struct.real_parent"]),
            "{kernel}: {error}"
        );
    }
}

#[test]
fn a_kernel_without_another_member_cannot_tell_its_fact() {
    for kernel in KERNELS {
        let (offsets, missing) = find(&renamed(kernel, "secureexec"));
        assert_eq!(offsets.binprm_secureexec_byte, ABSENT);
        let member = "linux_binprm.secureexec".to_owned();
        let fact = Fact::PrivilegeGain;
        assert_eq!(missing, [Missing { member, fact }], "{kernel}");
        assert!(load::know_state(&missing).is_ok());
    }
}

#[test]
fn cut_types_are_an_error() {
    let whole = file("6.12-arm64.btf");
    for length in 0..whole.len() {
        let error = Btf::parse(&whole[..length]).unwrap_err();
        assert!(matches!(error, BtfError::Truncated(_)), "{length}: {error}");
    }
}
