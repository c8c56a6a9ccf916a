//! `palisade projections`: where a running host's projections stand, and folding them anew.

use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Failure, Format, Host, ask};

/// How often a rebuild is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub(super) enum Command {
    /// List this host's projections: version, progress, state hash, last checkpoint
    List(Which),
    /// Fold them anew from chapters and log while the old ones serve, compare, and let the new ones serve
    Rebuild(Which),
}

#[derive(Args)]
pub(super) struct Which {
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    host: Host,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(which) => {
            print(which.format, &items(&which.host)?);
            Ok(())
        }
        Command::Rebuild(which) => rebuild(which),
    }
}

fn rebuild(which: &Which) -> Result<(), Failure> {
    let asked = ask(&which.host, "POST", "/projections/rebuild", None)?;
    let number = asked.get("number").and_then(Value::as_u64).unwrap_or_default();
    // Nobody ever sends: the receiver is a clock that needs no sleep.
    let (_nobody, pause) = std::sync::mpsc::channel::<()>();
    loop {
        let items = items(&which.host)?;
        if items.iter().all(|item| number <= at(item, "/last_rebuild/number").as_u64().unwrap_or_default()) {
            print(which.format, &items);
            return verdict(&items);
        }
        let _over = pause.recv_timeout(LOOK_EVERY);
    }
}

/// Whether everything that was served was the fold of the log.
fn verdict(items: &[Value]) -> Result<(), Failure> {
    let with = |outcome: &str| {
        let with = items.iter().filter(|item| at(item, "/last_rebuild/outcome") == outcome);
        with.map(label).collect::<Vec<_>>()
    };
    let (failed, differed) = (with("failed"), with("differed"));
    if !failed.is_empty() {
        let details = items.iter().map(|item| text(at(item, "/last_rebuild/detail")));
        let detail = details.max().unwrap_or_default();
        return Err(Failure::Failed(anyhow!("{} could not be folded anew: {detail}", failed.join(", "))));
    }
    if !differed.is_empty() {
        return Err(Failure::Failed(anyhow!(
            "DIVERGED: {} did not say what the log says; the new fold serves now. Keep the data directory and the host's \
             log for whoever finds out why",
            differed.join(", ")
        )));
    }
    Ok(())
}

fn items(host: &Host) -> Result<Vec<Value>, Failure> {
    let answer = ask(host, "GET", "/projections", None)?;
    Ok(answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn print(format: Format, items: &[Value]) {
    match format {
        Format::Jsonl => items.iter().for_each(|item| println!("{item}")),
        Format::Text => {
            println!(
                "{:<14} {:>10} {:>6} {:>10}  {:<16}  rebuild",
                "projection", "applied", "lag", "checkpoint", "state"
            );
            items.iter().for_each(|item| println!("{}", line(item)));
        }
    }
}

fn line(item: &Value) -> String {
    let rebuild = match (at(item, "/rebuild/folded").as_u64(), at(item, "/last_rebuild/outcome").as_str()) {
        (Some(folded), _) => format!("at {folded}"),
        (None, Some("equal")) => format!("equal at {}", number(at(item, "/last_rebuild/index"))),
        (None, Some("differed")) => format!("DIFFERED at {}", number(at(item, "/last_rebuild/index"))),
        (None, Some(_)) => format!("failed: {}", text(at(item, "/last_rebuild/detail"))),
        (None, None) => "-".to_owned(),
    };
    format!(
        "{:<14} {:>10} {:>6} {:>10}  {:<16}  {rebuild}",
        label(item),
        number(at(item, "/applied")),
        number(at(item, "/lag")),
        number(at(item, "/checkpoint")),
        text(at(item, "/state_hash")).get(..16).unwrap_or("-"),
    )
}

fn label(item: &Value) -> String {
    format!("{}@{}", text(at(item, "/name")), number(at(item, "/version")))
}

fn at<'a>(item: &'a Value, pointer: &str) -> &'a Value {
    item.pointer(pointer).unwrap_or(&Value::Null)
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(outcome: &str) -> Value {
        let last = json!({ "number": 1, "outcome": outcome, "index": 40, "detail": "" });
        json!({
            "name": "views", "version": 1, "applied": 41, "lag": 0, "state_hash": "00112233445566778899",
            "checkpoint": null, "rebuild": null, "last_rebuild": last,
        })
    }

    #[test]
    fn a_projections_line_has_its_progress_and_its_last_rebuild() {
        let expected = "views@1                41      0          -  0011223344556677  equal at 40";
        assert_eq!(line(&item("equal")), expected);
    }

    #[test]
    fn what_was_not_the_fold_of_the_log_is_a_failure_in_words() {
        assert!(verdict(&[item("equal")]).is_ok());
        let diverged = verdict(&[item("equal"), item("differed")]).unwrap_err();
        assert_eq!(diverged.exit_code(), 1);
        assert!(diverged.to_string().starts_with("DIVERGED: views@1 did not"), "{diverged}");
        assert!(verdict(&[item("failed")]).unwrap_err().to_string().contains("could not be folded anew"));
    }
}
