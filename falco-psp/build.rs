//! Embeds the kernel object that `cargo xtask build-ebpf` made, if there is one.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=FALCO_PSP_EBPF_OBJECT");
    println!("cargo::rustc-check-cfg=cfg(kernel_object)");
    let object = env::var_os("FALCO_PSP_EBPF_OBJECT").map_or_else(default_object, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    if object.is_file()
        && let Ok(object) = object.canonicalize()
    {
        println!(
            "cargo::rustc-env=FALCO_PSP_EBPF_OBJECT_PATH={}",
            object.display()
        );
        println!("cargo::rustc-cfg=kernel_object");
    }
}

/// Where `cargo xtask build-ebpf` puts it.
fn default_object() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, PathBuf::from);
    here.join("../target/falco-psp-ebpf.o")
}
