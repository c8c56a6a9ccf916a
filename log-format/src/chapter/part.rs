//! The files of a chapter.

use crate::event::Class;

/// A file of a chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Every entry without payloads.
    Entries,
    /// Payloads of a class.
    Class(Class),
}

impl Part {
    /// All of them, in the order in which a seal names them.
    pub const ALL: [Self; 4] =
        [Self::Entries, Self::Class(Class::Audit), Self::Class(Class::Control), Self::Class(Class::Attack)];

    /// Its place in [`Part::ALL`].
    pub const fn place(self) -> usize {
        match self {
            Self::Entries => 0,
            Self::Class(class) => class_place(class) + 1,
        }
    }

    /// Its name in the chapter's directory.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Entries => "entries.zst",
            Self::Class(Class::Audit) => "audit.zst",
            Self::Class(Class::Control) => "control.zst",
            Self::Class(Class::Attack) => "attack.zst",
        }
    }

    /// Whether it may be erased on its own.
    pub const fn is_erasable(self) -> bool {
        matches!(self, Self::Class(class) if class.is_erasable())
    }
}

/// A class's place among the classes.
pub(super) const fn class_place(class: Class) -> usize {
    match class {
        Class::Audit => 0,
        Class::Control => 1,
        Class::Attack => 2,
    }
}
