//! What `top` takes.

use std::time::Duration;

use clap::{Args, Parser};

use super::{FilterArgs, RunArgs, values};
use crate::{error::Failure, filter::Filter};

/// `top`.
#[derive(Debug, Args)]
#[command(
    mut_arg("output", |arg| arg.hide(true)),
    mut_arg("command", |arg| arg.hide(true)),
    mut_arg("state", |arg| arg.hide(true)),
    mut_arg("since", |arg| arg.hide(true)),
    mut_arg("until", |arg| arg.hide(true)),
    mut_arg("strict", |arg| arg.hide(true)),
    after_help = "\
'?' says what the keys do. A recording (--from) is played as it happened: Left and Right seek, + and - \
change the speed, Space stops it. At least 80 x 24; NO_COLOR=1 does without colours. As text: 'report', \
'hist', 'stuck --watch'."
)]
pub struct TopArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Draw every so often (at least 1s).
    #[arg(short, long, value_name = "DURATION", default_value = "1s", conflicts_with = "from",
          value_parser = values::interval)]
    pub interval: Duration,
}

impl TopArgs {
    /// Refuses what has no meaning here.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let run = &mut self.run;
        let why = if run.output.is_some() {
            "--output: top draws on the terminal; 'report' and 'hist' write files"
        } else if !run.command.is_empty() {
            "top has the terminal for itself: run the command in another one"
        } else if !run.filters.take_states().is_empty() {
            "--state: all states are on the screen; Enter lists the sockets of one"
        } else if run.from.is_of_a_part() || run.from.strict {
            "--since, --until, --strict: top plays a whole recording; Left and Right seek in it"
        } else {
            return Ok(());
        };
        Err(Failure::Usage(why.to_owned()))
    }
}

/// Filter options by themselves, as they are typed while the dashboard runs.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Words {
    #[command(flatten)]
    filters: FilterArgs,
}

/// The filter that such words make, or in one line what is wrong with them.
pub(crate) fn filter(words: &str) -> Result<Filter, String> {
    let mut parsed = Words::try_parse_from(words.split_whitespace()).map_err(|error| {
        let told = error.to_string();
        let first = told.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })?;
    if !parsed.filters.take_states().is_empty() {
        return Err("--state: all states are on the screen".to_owned());
    }
    Filter::try_from(parsed.filters).map_err(|failure| failure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_options() {
        let filter = filter("-L 443,8443 --comm nginx").unwrap();
        assert_eq!(filter.comms, [b"nginx".to_vec()]);
        assert!(filter.has_kernel_part());
        for wrong in ["-L http", "--no-such-thing", "--state LISTEN", "-L"] {
            let told = super::filter(wrong).unwrap_err();
            assert!(!told.is_empty() && !told.contains('\n'), "{told}");
        }
    }
}
