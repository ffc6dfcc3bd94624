//! Runs the README's commands, word for word: what it promises must work.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

/// The exit codes of a command that did what the README says: 2 means that violations were found.
const GOOD: [i32; 2] = [0, 2];

/// Runs every command of the README but the one that runs this.
pub(crate) fn run_commands() -> Result<()> {
    let path = workspace::root().join("README.md");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for line in commands(&text).filter(|line| *line != "cargo xtask test") {
        eprintln!("$ {line}");
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(workspace::root());
        let output = command::output(&mut command)?;
        if !output
            .status
            .code()
            .is_some_and(|code| GOOD.contains(&code))
        {
            bail!(
                "`{line}` of the README failed: {}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    Ok(())
}

/// The commands in the README's blocks of shell, without their comments.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .filter_map(|block| block.split_once("\n```"))
        .flat_map(|(block, _)| block.lines())
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_without_comments() {
        let text = "# T\n```sh\na b   # why\n\nc\n```\ntext\n```text\nno\n```\n```sh\nd\n```\n";
        assert_eq!(commands(text).collect::<Vec<_>>(), ["a b", "c", "d"]);
    }

    #[test]
    fn the_readme_has_the_two_set_up_commands_first() {
        let text = fs::read_to_string(workspace::root().join("README.md")).unwrap();
        let first: Vec<_> = commands(&text).take(2).collect();
        assert_eq!(first, ["cargo xtask demo", "cargo xtask test"]);
    }
}
