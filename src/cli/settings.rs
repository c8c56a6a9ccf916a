//! `palisade settings`: the cluster's settings, shown and changed through the API.

use clap::{Args, Subcommand};
use log_format::event::{Rule, RuleMode};
use projections::decide::Preset;
use serde_json::{Value, json};

use super::{Failure, Format, Host, ask, ask_if_unchanged};

const PATH: &str = "/settings/firewall";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the settings in force
    Show(Show),
    /// Change to a preset: standard or sipprot-compat
    Preset(ToPreset),
    /// Say what becomes of a rule that is tipped
    Rule(OfRule),
}

#[derive(Args)]
pub(super) struct Show {
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    host: Host,
}

#[derive(Args)]
pub(super) struct ToPreset {
    /// The preset: standard (what a new cluster begins with) or sipprot-compat (flat hours, the fourth block for good)
    #[arg(value_parser = preset)]
    preset: Preset,
    #[command(flatten)]
    host: Host,
}

#[derive(Args)]
pub(super) struct OfRule {
    /// The rule, as `palisade settings show` names it
    #[arg(value_parser = rule)]
    rule: Rule,
    /// off: nobody looks for it; observe: it is only noted; enforce: it costs what it should
    #[arg(value_parser = mode)]
    mode: RuleMode,
    #[command(flatten)]
    host: Host,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show(arguments) => show(arguments),
        Command::Preset(ToPreset { preset, host }) => {
            let (_, version) = read(host)?;
            let body = json!({ "preset": preset.name() });
            let answer = ask_if_unchanged(host, ("PUT", "/settings/firewall/preset"), &body, version)?;
            println!("the settings are those of {} (version {})", preset.name(), number(&answer, "version"));
            Ok(())
        }
        Command::Rule(OfRule { rule, mode, host }) => {
            let (mut settings, version) = read(host)?;
            if let Some(fields) = settings.as_object_mut() {
                fields.insert("rules".to_owned(), json!({ rule.name(): mode.name() }));
            }
            let answer = ask_if_unchanged(host, ("PUT", PATH), &settings, version)?;
            println!("{}: {} (version {})", rule.name(), mode.name(), number(&answer, "version"));
            Ok(())
        }
    }
}

fn show(Show { format, host }: &Show) -> Result<(), Failure> {
    let (settings, _) = read(host)?;
    match format {
        Format::Jsonl => println!("{settings}"),
        Format::Text => text(&settings).iter().for_each(|line| println!("{line}")),
    }
    Ok(())
}

/// One line for each setting, and one for each rule.
fn text(settings: &Value) -> Vec<String> {
    let fields = settings.as_object().into_iter().flatten();
    let lines = fields.flat_map(|(name, value)| match value.as_object() {
        Some(rules) => rules.iter().map(|(rule, mode)| format!("rule {rule}: {}", plain(mode))).collect(),
        None => vec![format!("{name}: {}", plain(value))],
    });
    lines.collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read(host: &Host) -> Result<(Value, u64), Failure> {
    let settings = ask(host, "GET", PATH, None)?;
    let version = number(&settings, "version");
    Ok((settings, version))
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn preset(text: &str) -> Result<Preset, String> {
    let names = Preset::ALL.map(Preset::name).join(" or ");
    Preset::from_name(text).ok_or_else(|| format!("choose {names}"))
}

fn rule(text: &str) -> Result<Rule, String> {
    let names = Rule::ALL.map(Rule::name).join(", ");
    Rule::from_name(text).ok_or_else(|| format!("choose one of {names}"))
}

fn mode(text: &str) -> Result<RuleMode, String> {
    RuleMode::from_name(text).ok_or_else(|| "choose off, observe or enforce".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_and_each_rule_has_a_line() {
        let settings = json!({
            "block_seconds": [3600], "mode": "block", "rules": { "sweep": "observe" }, "preset": null,
        });
        assert_eq!(
            text(&settings),
            ["block_seconds: [3600]", "mode: block", "rule sweep: observe", "preset: null"]
        );
    }

    #[test]
    fn names_that_are_not_there_say_which_are() {
        assert_eq!(preset("sipprot-compat"), Ok(Preset::SipprotCompat));
        assert_eq!(preset("x"), Err("choose standard or sipprot-compat".to_owned()));
        assert_eq!(rule("toll-fraud"), Ok(Rule::TollFraud));
        assert!(rule("R1").unwrap_err().contains("bad-registrations"));
        assert_eq!(mode("on"), Err("choose off, observe or enforce".to_owned()));
    }
}
