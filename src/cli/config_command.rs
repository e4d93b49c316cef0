//! `semel config check`, `semel config print`, and the flags of the server's settings.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::exit::Exit;
use super::output::write_out;
use crate::config::{self, Kind, Loaded, SETTINGS, Setting, Sources};

/// Check or print the server's configuration
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check everything as `semel serve` would, and say all that is wrong
    Check(ConfigArgs),
    /// Print the effective values and where each comes from; secrets hidden
    Print(ConfigArgs),
}

impl ConfigCommand {
    pub(crate) fn run(self) -> Exit {
        match self {
            Self::Check(args) => match args.load() {
                Ok(loaded) => {
                    for warning in &loaded.warnings {
                        eprintln!("semel: {warning}");
                    }
                    let file = match &loaded.file {
                        Some(file) => format!("{}, ", file.display()),
                        None => String::new(),
                    };
                    write_out(&format!("the configuration is sound ({file}environment and flags)\n"));
                    Exit::DONE
                }
                Err(exit) => exit,
            },
            Self::Print(args) => match args.load() {
                Ok(loaded) => {
                    write_out(&loaded.print());
                    Exit::DONE
                }
                Err(exit) => exit,
            },
        }
    }
}

/// The flags of every setting, made from the one table of settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    file: Option<PathBuf>,
    flags: Vec<(&'static Setting, String)>,
}

impl ConfigArgs {
    /// Reads and checks the configuration; says what is wrong with it.
    pub(crate) fn load(self) -> Result<Loaded, Exit> {
        let sources = Sources {
            file: self.file,
            default_file: Some(PathBuf::from(config::DEFAULT_FILE)),
            environment: std::env::vars_os().collect(),
            flags: self.flags,
        };
        config::load(sources).map_err(|problems| {
            let count = problems.0.len();
            let noun = if count == 1 { "error" } else { "errors" };
            eprintln!("semel: the configuration has {count} {noun}:\n{problems}");
            Exit::CONFIGURATION
        })
    }
}

impl FromArgMatches for ConfigArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one::<PathBuf>("config").cloned();
        let given = |setting: &'static Setting| {
            setting.flag()?;
            matches.get_one::<String>(setting.key).map(|text| (setting, text.clone()))
        };
        self.flags = SETTINGS.iter().filter_map(given).collect();
        Ok(())
    }
}

impl Args for ConfigArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .env("SEMEL_CONFIG")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("The settings file; semel.toml of this directory where absent, if it is there");
        let flags = SETTINGS.iter().filter_map(|setting| {
            let flag = setting.flag()?;
            let default = setting.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
            let arg = Arg::new(setting.key)
                .long(flag)
                .value_name(setting.takes())
                // As everywhere, the later one wins: scripts put defaults before what they are given.
                .overrides_with(setting.key)
                .hide_short_help(setting.key.contains('.'))
                .help(format!("{}{default} [env: {}]", setting.help, setting.variable()));
            Some(if setting.kind == Kind::Flag {
                arg.num_args(0..=1).require_equals(true).default_missing_value("true")
            } else {
                arg
            })
        });
        flags.fold(command.arg(file), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
