//! Completion of the command line: one engine for kubectl, which asks `kubectl_complete-keypair`, and for the scripts of three shells.

use std::{ffi::OsString, time::Duration};

use clap::{CommandFactory as _, Parser as _};
use kube::{ResourceExt, api::ListParams};

use super::{
    args::{Args, Shell},
    cluster::Cluster,
    output,
};

/// The first argument with which the scripts ask for completions.
pub const ASK: &str = "__complete";
/// Nobody waits longer for names.
const PATIENCE: Duration = Duration::from_secs(3);

/// The directives of Cobra, which kubectl understands.
const NO_FILES: u8 = 4;
const FILES: u8 = 0;

/// What can follow on the command line.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// One of these words, each with a description.
    Words(Vec<(String, String)>),
    /// The name of a KeyPair.
    KeyPair,
    /// The name of a Secret.
    Secret,
    /// A file.
    File,
    /// Something that cannot be completed.
    Anything,
}

/// Prints the completions of the last word as Cobra does: one each line, then a directive.
pub async fn complete(words: &[OsString]) {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let wanted = wanted(before, last);
    let directive = if wanted == Wanted::File { FILES } else { NO_FILES };
    let candidates = match wanted {
        Wanted::Words(words) => words,
        Wanted::KeyPair => names(before, false).await,
        Wanted::Secret => names(before, true).await,
        Wanted::File | Wanted::Anything => Vec::new(),
    };
    for (word, help) in candidates.iter().filter(|(word, _)| word.starts_with(last)) {
        let line = if help.is_empty() { word.clone() } else { format!("{word}\t{help}") };
        if output::line(&line).is_err() {
            return;
        }
    }
    let _ = output::line(&format!(":{directive}"));
}

/// What the last word is to be, after these words.
fn wanted(before: &[String], last: &str) -> Wanted {
    let root = Args::command();
    let mut command = &root;
    let mut position = 0;
    let mut pending = None;
    for word in before {
        if pending.take().is_some() {
            continue;
        }
        if word == "--" {
            return Wanted::Anything;
        }
        if let Some(flag) = flag(&root, command, word) {
            pending = flag.get_action().takes_values().then_some(flag).filter(|_| !word.contains('='));
        } else if let Some(found) = command.find_subcommand(word) {
            command = found;
        } else if !word.starts_with('-') {
            position += 1;
        }
    }
    if let Some(flag) = pending {
        return of_argument(command.get_name(), flag);
    }
    if last.starts_with('-') {
        let flags = command.get_arguments().chain(root.get_arguments()).filter_map(|flag| {
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("--{}", flag.get_long()?), help))
        });
        return Wanted::Words(flags.collect());
    }
    if command.has_subcommands() {
        let help = |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
        return Wanted::Words(command.get_subcommands().map(|it| (it.get_name().to_owned(), help(it))).collect());
    }
    let argument = command.get_positionals().filter(|argument| !argument.is_last_set()).nth(position);
    argument.map_or(Wanted::Anything, |argument| of_argument(command.get_name(), argument))
}

/// The flag that this word is.
fn flag<'a>(root: &'a clap::Command, command: &'a clap::Command, word: &str) -> Option<&'a clap::Arg> {
    let word = word.split_once('=').map_or(word, |(flag, _)| flag);
    let is_named = |flag: &&clap::Arg| match (word.strip_prefix("--"), word.strip_prefix('-')) {
        (Some(long), _) => flag.get_long() == Some(long),
        (None, Some(short)) => flag.get_short().is_some_and(|known| short == known.to_string()),
        (None, None) => false,
    };
    command.get_arguments().chain(root.get_arguments()).find(is_named)
}

fn of_argument(command: &str, argument: &clap::Arg) -> Wanted {
    let values: Vec<(String, String)> = argument
        .get_possible_values()
        .iter()
        .map(|value| (value.get_name().to_owned(), value.get_help().map(ToString::to_string).unwrap_or_default()))
        .collect();
    match (argument.get_id().as_str(), command) {
        _ if !values.is_empty() => Wanted::Words(values),
        ("secret", _) => Wanted::Secret,
        // A new name.
        ("name", "create") => Wanted::Anything,
        ("name", _) => Wanted::KeyPair,
        ("import" | "output" | "kubeconfig", _) => Wanted::File,
        _ => Wanted::Anything,
    }
}

/// The names in the namespace that the command line selects; none if they cannot be listed.
async fn names(before: &[String], is_for_secrets: bool) -> Vec<(String, String)> {
    let listed = async {
        // The rest of the command line may be incomplete.
        let globals = globals(before);
        let args = Args::try_parse_from(
            [vec!["kubectl-keypair".to_owned()], globals, vec!["public".to_owned(), "x".to_owned()]].concat(),
        );
        let cluster = Cluster::connect(&args.ok()?.global).await.ok()?;
        let params = ListParams::default().limit(500);
        let names: Vec<String> = if is_for_secrets {
            cluster.secrets().list_metadata(&params).await.ok()?.iter().map(ResourceExt::name_any).collect()
        } else {
            cluster.key_pairs().list_metadata(&params).await.ok()?.iter().map(ResourceExt::name_any).collect()
        };
        Some(names.into_iter().map(|name| (name, String::new())).collect())
    };
    tokio::time::timeout(PATIENCE, listed).await.ok().flatten().unwrap_or_default()
}

/// The flags that select the namespace, with their values.
fn globals(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (name, is_whole) = word.split_once('=').map_or((word.as_str(), false), |(name, _)| (name, true));
        if ["-n", "--namespace", "--context", "--kubeconfig"].contains(&name) {
            found.push(word.clone());
            found.extend(words.next().filter(|_| !is_whole).cloned());
        }
    }
    found
}

/// The script for a shell.
pub const fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    }
}

const BASH: &str = r#"# Completion of kubectl-keypair for bash. Load it with: source <(kubectl keypair completion bash)
# For `kubectl keypair`, which kubectl completes: ln -s "$(command -v kubectl-keypair)" DIRECTORY-IN-PATH/kubectl_complete-keypair
_kubectl_keypair() {
  local word=${COMP_WORDS[COMP_CWORD]} line directive='' tab=$'\t'
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :*) directive=${line#:} ;;
      *) COMPREPLY+=("${line%%"$tab"*}") ;;
    esac
  done < <(kubectl-keypair __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [ "$directive" = 0 ]; then
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
  fi
}
complete -F _kubectl_keypair kubectl-keypair
"#;

const ZSH: &str = r#"#compdef kubectl-keypair
# Completion of kubectl-keypair for zsh. Load it with: source <(kubectl keypair completion zsh)
# For `kubectl keypair`, which kubectl completes: ln -s "$(command -v kubectl-keypair)" DIRECTORY-IN-PATH/kubectl_complete-keypair
_kubectl_keypair() {
  local line directive='' tab=$'\t'
  local -a found
  while IFS= read -r line; do
    case $line in
      :*) directive=${line#:} ;;
      *"$tab"*) found+=("${${line%%"$tab"*}//:/\\:}:${line#*"$tab"}") ;;
      *) found+=("${line//:/\\:}") ;;
    esac
  done < <(kubectl-keypair __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  if [ "$directive" = 0 ]; then _files; else _describe 'kubectl keypair' found; fi
}
compdef _kubectl_keypair kubectl-keypair
"#;

const FISH: &str = r"# Completion of kubectl-keypair for fish. Load it with: kubectl keypair completion fish | source
# For `kubectl keypair`, which kubectl completes: ln -s (command -v kubectl-keypair) DIRECTORY-IN-PATH/kubectl_complete-keypair
function __kubectl_keypair
  set -l words (commandline -opc) (commandline -ct)
  set -l found (kubectl-keypair __complete $words[2..-1] 2>/dev/null)
  if test (count $found) -gt 0
    if test $found[-1] = ':0'
      __fish_complete_path (commandline -ct)
    end
    string match -v -- ':*' $found
  end
end
complete -c kubectl-keypair -f -a '(__kubectl_keypair)'
";

#[cfg(test)]
mod tests {
    use super::*;

    fn after(words: &[&str], last: &str) -> Wanted {
        wanted(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), last)
    }

    fn words(wanted: Wanted) -> Vec<String> {
        let Wanted::Words(words) = wanted else { panic!("{wanted:?}") };
        words.into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn every_position_has_its_completions() {
        let commands = words(after(&[], ""));
        assert_eq!(commands, ["create", "public", "private", "ssh", "rotate", "who", "adopt", "completion"]);
        assert_eq!(words(after(&["-n", "create"], "")), commands, "the value of a flag is not a command");
        for command in ["public", "private", "ssh", "rotate", "who"] {
            assert_eq!(after(&[command], ""), Wanted::KeyPair, "{command}");
            assert_eq!(after(&[command, "login"], ""), Wanted::Anything, "{command}");
        }
        assert_eq!(after(&["create"], ""), Wanted::Anything);
        assert_eq!((after(&["adopt"], ""), after(&["adopt", "a"], "")), (Wanted::Secret, Wanted::KeyPair));
        assert_eq!(words(after(&["completion"], "")), ["bash", "zsh", "fish"]);
        assert_eq!(words(after(&["public", "login", "--phase"], "")), ["Current", "Next", "Previous", "All"]);
        assert_eq!(words(after(&["create", "x", "--profile"], "")), ["Alibaba", "UCloud", "Volcengine", "OpenSSH"]);
        assert_eq!(after(&["create", "x", "--import"], ""), Wanted::File);
        assert_eq!(after(&["private", "x", "-o"], ""), Wanted::File);
        assert_eq!(words(after(&["who", "x", "-o"], "")), ["json"]);
        assert_eq!(after(&["ssh", "login", "host", "--"], "-p"), Wanted::Anything);
        let flags = words(after(&["rotate", "login"], "--"));
        for flag in ["--wait", "--timeout", "--namespace", "--context", "--kubeconfig"] {
            assert!(flags.iter().any(|known| known == flag), "{flag}");
        }
    }

    #[test]
    fn the_names_come_from_the_selected_namespace() {
        let line = ["ssh", "-n", "shop", "--wait", "--context=a", "x", "--kubeconfig", "k"].map(str::to_owned);
        assert_eq!(globals(&line), ["-n", "shop", "--context=a", "--kubeconfig", "k"]);
    }
}
