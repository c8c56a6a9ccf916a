//! Raft's own log lines, which are slog's, as tracing events.

use std::fmt::{Arguments, Write as _};

use slog::{Drain, KV as _, Key, Level, Logger, Never, OwnedKVList, Record, Serializer, o};

/// A logger for raft whose lines go to `tracing` under the target `raft`. Raft calls much routine "info", so everything
/// below a warning is one level lower here.
pub(super) fn logger() -> Logger {
    Logger::root(TracingDrain, o!())
}

struct TracingDrain;

impl Drain for TracingDrain {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, context: &OwnedKVList) -> Result<(), Never> {
        macro_rules! forward {
            ($level:ident) => {
                if tracing::enabled!(target: "raft", tracing::Level::$level) {
                    let (message, fields) = (record.msg(), Fields::collect(record, context).0);
                    tracing::event!(target: "raft", tracing::Level::$level, fields, "{message}");
                }
            };
        }
        match record.level() {
            Level::Critical | Level::Error => forward!(ERROR),
            Level::Warning => forward!(WARN),
            Level::Info => forward!(DEBUG),
            Level::Debug | Level::Trace => forward!(TRACE),
        }
        Ok(())
    }
}

struct Fields(String);

impl Fields {
    fn collect(record: &Record<'_>, context: &OwnedKVList) -> Self {
        let mut fields = Self(String::new());
        // Writing to a string cannot fail, and a field that cannot be printed is not worth an error.
        let _ = context.serialize(record, &mut fields);
        let _ = record.kv().serialize(record, &mut fields);
        fields
    }
}

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &Arguments<'_>) -> slog::Result {
        let gap = if self.0.is_empty() { "" } else { " " };
        Ok(write!(self.0, "{gap}{key}={value}")?)
    }
}
