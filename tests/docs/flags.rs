//! The documentation tables about the command line.

use std::fmt::Write as _;

use clap::{CommandFactory as _, builder::PossibleValue};
use keypair_operator::app::Args;

/// The flags of a command.
pub fn of(command: &str) -> String {
    let args = Args::command();
    let command = args.find_subcommand(command).unwrap();
    let has_variables = command.get_arguments().any(|flag| flag.get_env().is_some());
    let (name, line) = if has_variables { (" variable |", "---|") } else { ("", "") };
    let mut table = format!("| flag |{name} default | meaning |\n|---|{line}---|---|\n");
    for flag in command.get_arguments().filter(|flag| flag.get_id() != "help") {
        let Some(long) = flag.get_long() else { continue };
        let variable = flag.get_env().map_or(String::new(), |name| format!(" `{}` |", name.to_str().unwrap()));
        let values = flag.get_possible_values();
        let takes = if !flag.get_action().takes_values() {
            String::new()
        } else if values.is_empty() {
            format!(" {}", flag.get_value_names().unwrap().iter().map(ToString::to_string).collect::<String>())
        } else {
            format!(" {}", values.iter().map(PossibleValue::get_name).collect::<Vec<_>>().join("\\|"))
        };
        let default = flag.get_default_values().first().and_then(|value| value.to_str()).unwrap_or_default();
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        let help = flag.get_long_help().or(flag.get_help()).unwrap().to_string().replace('\n', " ");
        writeln!(table, "| `--{long}{takes}` |{variable} {default} | {help} |").unwrap();
    }
    table
}
