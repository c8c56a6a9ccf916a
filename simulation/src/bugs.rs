//! The defects that a build of the product can be given, to prove that the checks see them: `bugs.txt`.

/// One a line: its name, and what is wrong.
const LIST: &str = include_str!("../bugs.txt");

/// A planted defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bug {
    /// Its name, as in `--cfg bug="name"`.
    pub name: &'static str,
    /// What is wrong.
    pub what: &'static str,
}

impl Bug {
    /// Every defect of the list, whether this build has it or not.
    pub fn all() -> impl Iterator<Item = Self> {
        LIST.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, what) = line.trim().split_once(char::is_whitespace)?;
            Some(Self { name, what: what.trim_start() })
        })
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|bug| bug.name == name)
    }
}

/// Whether this build has the defects.
pub const ARE_PLANTED: bool = cfg!(bug);

/// Switches a defect on, and every other off, on this thread. Without effect in a build that has none.
pub fn switch(bug: Option<Bug>) {
    #[cfg(bug)]
    log_format::planted::switch(bug.map(|bug| bug.name));
    #[cfg(not(bug))]
    let _ = bug;
}
