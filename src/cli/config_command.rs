//! `semel config check`, `semel config print`, and the flags of the server's settings.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::exit::Exit;
use super::output::write_out;
use crate::config::{self, Kind, Loaded, OwnDirectory, Problems, SETTINGS, Setting, Sources, Stores};

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
pub(crate) type ConfigArgs = SettingArgs<Every>;
/// The flags of the settings that concern stores.
pub(crate) type StoreArgs = SettingArgs<OfStores>;

/// The flags of the settings that concern the directory of an embedded store.
pub(crate) type DirectoryArgs = SettingArgs<OfDirectory>;

/// Which settings a command takes.
pub(crate) trait Takes {
    fn takes(setting: &Setting) -> bool;
}

/// All of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Every;

/// Those of the database, and of what an embedded store may use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfStores;

/// Those of an embedded store, and the policy of its server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfDirectory;

impl Takes for Every {
    fn takes(_: &Setting) -> bool {
        true
    }
}

impl Takes for OfStores {
    fn takes(setting: &Setting) -> bool {
        ["scylla.", "embedded."].iter().any(|table| setting.key.starts_with(table))
    }
}

impl Takes for OfDirectory {
    fn takes(setting: &Setting) -> bool {
        ["data_dir", "policy"].contains(&setting.key) || setting.key.starts_with("embedded.")
    }
}

/// The flags of some settings, and the file that has the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingArgs<Which> {
    file: Option<PathBuf>,
    flags: Vec<(&'static Setting, String)>,
    which: PhantomData<Which>,
}

impl SettingArgs<Every> {
    /// Reads and checks the configuration of a server; says what is wrong with it.
    pub(crate) fn load(self) -> Result<Loaded, Exit> {
        config::load(self.sources()).map_err(|problems| refused(&problems))
    }
}

impl SettingArgs<OfStores> {
    /// Reads and checks what concerns stores; says what is wrong with it.
    pub(crate) fn load(self) -> Result<Stores, Exit> {
        let stores = config::load_stores(self.sources()).map_err(|problems| refused(&problems))?;
        for warning in &stores.warnings {
            eprintln!("semel: {warning}");
        }
        Ok(stores)
    }
}

impl SettingArgs<OfDirectory> {
    /// Reads and checks what concerns the directory; says what is wrong with it.
    pub(crate) fn load(self) -> Result<OwnDirectory, Exit> {
        let directory = config::load_directory(self.sources()).map_err(|problems| refused(&problems))?;
        for warning in &directory.warnings {
            eprintln!("semel: {warning}");
        }
        Ok(directory)
    }
}

fn refused(problems: &Problems) -> Exit {
    let count = problems.0.len();
    let noun = if count == 1 { "error" } else { "errors" };
    eprintln!("semel: the configuration has {count} {noun}:\n{problems}");
    Exit::CONFIGURATION
}

impl<Which: Takes> SettingArgs<Which> {
    fn sources(self) -> Sources {
        Sources {
            file: self.file,
            default_file: Some(PathBuf::from(config::DEFAULT_FILE)),
            environment: std::env::vars_os().collect(),
            flags: self.flags,
        }
    }

    fn settings() -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(|setting| Which::takes(setting))
    }
}

impl<Which: Takes + Default> FromArgMatches for SettingArgs<Which> {
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
        self.flags = Self::settings().filter_map(given).collect();
        Ok(())
    }
}

impl<Which: Takes + Default> Args for SettingArgs<Which> {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .env("SEMEL_CONFIG")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("The settings file; semel.toml of this directory where absent, if it is there");
        let flags = Self::settings().filter_map(|setting| {
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
