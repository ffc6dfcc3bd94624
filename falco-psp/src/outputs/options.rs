//! The options that say where alerts go.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::file::Rotation;
use super::http::HttpSettings;
use super::target::Target;
use super::{Settings, SpoolSettings};
use crate::cli::duration;
use crate::outputs::alert::Format;

/// Where alerts go.
#[derive(Clone, Debug, Args)]
pub struct OutputOptions {
    /// Where alerts go: stdout, file:PATH, http://HOST:PORT/PATH, https://…, syslog,
    /// syslog:HOST:PORT, syslog:tcp://HOST:PORT or syslog:/PATH; may be given several times
    #[arg(long, value_name = "OUTPUT", default_value = "stdout")]
    pub output: Vec<Target>,
    /// Rotate a file of alerts before it is larger: 512KiB, 100MiB, 1GiB; 0: never
    #[arg(long, value_name = "SIZE", default_value = "100MiB", value_parser = size)]
    pub output_file_max_size: u64,
    /// How many rotated files are kept: PATH.1 is the latest
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub output_file_keep: u32,
    /// The CAs of https receivers, in PEM, instead of those that the machine trusts
    #[arg(long, value_name = "FILE")]
    pub output_ca: Option<PathBuf>,
    /// How long an http receiver may take to answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub output_timeout: Duration,
    /// Keep alerts in this folder until an http receiver has them, also for the next run
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// How much disk the spool of each receiver may take
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = spool_size, requires = "spool_dir")]
    pub spool_size: u64,
}

impl OutputOptions {
    /// What they say, with standard output and files written as `format`.
    pub fn settings(&self, format: Format) -> Settings {
        Settings {
            targets: self.output.clone(),
            format,
            rotation: Rotation {
                max_size: self.output_file_max_size,
                keep: self.output_file_keep,
            },
            http: HttpSettings {
                ca: self.output_ca.clone(),
                timeout: self.output_timeout,
            },
            spool: self.spool_dir.clone().map(|folder| SpoolSettings {
                folder,
                max_bytes: self.spool_size,
            }),
        }
    }
}

/// A number of bytes as people write it: `4096`, `512KiB`, `100MiB`, `1GiB`.
fn size(text: &str) -> Result<u64, String> {
    let advice = || format!("\"{text}\" is no size; write it like 512KiB, 100MiB or 1GiB");
    let end = text.trim_end_matches(|c: char| !c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(end);
    let scale: u64 = match unit {
        "" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(advice()),
    };
    let number: u64 = number.parse().map_err(|_| advice())?;
    number.checked_mul(scale).ok_or_else(advice)
}

fn spool_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes < 64 << 10 => Err("less than 64KiB holds no outage".to_owned()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("2KiB"), Ok(2048));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        for bad in ["", "x", "1TB", "-1", "1.5MiB", "99999999999GiB", "MiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(spool_size("10").is_err());
    }
}
