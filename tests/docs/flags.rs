//! The documentation tables about the command line.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _, builder::PossibleValue};
use keypair_operator::{app::Args, plugin};

/// The flags of a command.
pub fn of(command: &str) -> String {
    let args = Args::command();
    table(args.find_subcommand(command).unwrap())
}

/// The commands of `kubectl keypair`: usage, description and flags of each.
pub fn plugin_commands() -> String {
    let mut args = plugin::Args::command();
    args.build();
    let mut text = String::new();
    for command in args.get_subcommands() {
        let usage = command.clone().render_usage().to_string().replace("Usage: ", "");
        let about = command.get_long_about().or(command.get_about()).unwrap().to_string();
        // The flags that all commands have are described once.
        let is_own = |flag: &&clap::Arg| !flag.is_global_set() && flag.get_long().is_some() && flag.get_id() != "help";
        writeln!(text, "### {}\n\n```text\n{usage}\n```\n\n{about}\n", command.get_name()).unwrap();
        if command.get_arguments().any(|flag| is_own(&flag)) {
            writeln!(text, "{}", table(command)).unwrap();
        }
    }
    text.trim_end().to_owned() + "\n"
}

/// The flags that all commands of `kubectl keypair` have.
pub fn plugin_globals() -> String {
    let args = plugin::Args::command();
    let globals = args.get_arguments().filter(|flag| flag.is_global_set()).cloned();
    table(&Command::new("kubectl").args(globals.map(|flag| flag.global(false))))
}

fn table(command: &Command) -> String {
    let has_variables = command.get_arguments().any(|flag| flag.get_env().is_some());
    let (name, line) = if has_variables { (" variable |", "---|") } else { ("", "") };
    let mut table = format!("| flag |{name} default | meaning |\n|---|{line}---|---|\n");
    for flag in command.get_arguments().filter(|flag| flag.get_id() != "help" && !flag.is_global_set()) {
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
        let short = flag.get_short().map_or(String::new(), |short| format!("-{short}, "));
        writeln!(table, "| `{short}--{long}{takes}` |{variable} {default} | {help} |").unwrap();
    }
    table
}
