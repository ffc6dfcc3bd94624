//! Memory that is free goes back to the system.

/// Blocks of this size or larger are given back as soon as they are free, and smaller ones when so
/// much is free at the end of the heap.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 256 << 10;

/// Has the C library give back what is large as soon as it is free.
///
/// Reading the kernel's types takes 20 MiB for a moment. By default glibc raises both of its
/// thresholds when a large block is freed, and keeps what is freed later (`mallopt(3)`, "dynamic
/// mmap threshold"); with either set it does not.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    for threshold in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: sets a number of the allocator, under its own lock.
        if unsafe { libc::mallopt(threshold, LARGE) } == 0 {
            tracing::debug!(threshold, "the allocator keeps what is free");
        }
    }
}

/// Gives back what is small, too, after a peak that will not come again soon, such as a start.
///
/// What is kept lies above what is free, and in the heaps of other threads the thresholds are not
/// asked for that.
pub fn give_back_all() {
    #[cfg(target_env = "gnu")]
    // SAFETY: gives back pages of the allocator that hold nothing, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
