//! Wishes about single elements, brought to the kernel whatever it holds already.
//!
//! A transaction holds as a whole or not at all, and the kernel names every step that it refused. So a wish is first
//! sent in its cheapest form; a refused step changes its form, and the transaction goes again:
//!
//! ```text
//!   Add ───── exists ────> Replace (remove, then add: the time is set anew)
//!    ^                        │
//!    └────── not there ───────┘          (it ran out in between)
//!   Add, Replace ── full ──> Left
//!   Remove ── not there ───> Done
//! ```

use std::time::Duration;

use super::netlink::{Netlink, NetlinkError, Reply, errno};
use super::ranges::Range;
use super::sets::{Holds, SetId};
use super::wire::{ElementStep, Place, Step};

/// Wishes of one transaction: two steps of the longest form stay below the 208 KiB that a socket sends at once.
const MAX_WISHES: usize = 800;
/// How often a transaction goes again: once per form, and again for elements that run out in between.
const MAX_ROUNDS: u32 = 6;

/// What one element of a set shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    /// The set.
    pub(super) set: SetId,
    /// The range; in sets of single addresses one address.
    pub(super) range: Range,
    /// There, or not.
    pub(super) want: Want,
}

/// What is wanted of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// It is there, with this time from now on.
    Present {
        /// When the kernel forgets it.
        timeout: Option<Duration>,
    },
    /// It is known to be there and gets this time from now on.
    Renewed {
        /// When the kernel forgets it.
        timeout: Option<Duration>,
    },
    /// It is not there.
    Absent,
}

/// What became of wishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Elements that are new.
    pub(super) added: usize,
    /// Elements whose time was set anew.
    pub(super) renewed: usize,
    /// Elements that are gone.
    pub(super) removed: usize,
    /// Wishes for which their set has no room.
    pub(super) full: Vec<Wish>,
}

/// Why wishes could not be brought to the kernel.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// The set is not there.
    #[error("no set {0}")]
    NoSet(&'static str),
    /// A step was refused for a reason that no other form gets around.
    #[error("change set {set}")]
    Refused {
        /// The set.
        set: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel changes its mind again and again.
    #[error("elements change faster than they can be set")]
    Unsettled,
    /// The kernel cannot be reached.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// How a wish is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Add { timeout: Option<Duration> },
    Replace { timeout: Option<Duration> },
    Remove,
    Done,
    Left,
}

/// Brings wishes to the kernel. Several about one element are granted in their order.
pub(super) fn settle(
    netlink: &mut Netlink,
    place: Place<'_>,
    wishes: &[Wish],
) -> Result<Tally, TransactionError> {
    let mut tally = Tally::default();
    for some in wishes.chunks(MAX_WISHES) {
        settle_some(netlink, place, some, &mut tally)?;
    }
    Ok(tally)
}

fn settle_some(
    netlink: &mut Netlink,
    place: Place<'_>,
    wishes: &[Wish],
    tally: &mut Tally,
) -> Result<(), TransactionError> {
    let mut forms: Vec<Form> = wishes.iter().map(|wish| first_form(wish.want)).collect();
    for _ in 0..MAX_ROUNDS {
        let (steps, owners) = steps(wishes, &forms);
        match netlink.transact(place, &steps)? {
            Reply::Committed => {
                count(wishes, &forms, tally);
                return Ok(());
            }
            Reply::Refused(reasons) => {
                for (step, number) in reasons {
                    let Some(&owner) = owners.get(step) else { continue };
                    let (Some(wish), Some(form)) = (wishes.get(owner), forms.get_mut(owner)) else {
                        continue;
                    };
                    *form = next_form(wish.set, *form, number)?;
                }
            }
            Reply::Overflow => {
                let (left, right) = wishes.split_at(wishes.len() / 2);
                if left.is_empty() {
                    return Err(TransactionError::Unsettled);
                }
                settle_some(netlink, place, left, tally)?;
                return settle_some(netlink, place, right, tally);
            }
        }
    }
    Err(TransactionError::Unsettled)
}

const fn first_form(want: Want) -> Form {
    match want {
        Want::Present { timeout } => Form::Add { timeout },
        Want::Renewed { timeout } => Form::Replace { timeout },
        Want::Absent => Form::Remove,
    }
}

/// The form after a refusal.
fn next_form(set: SetId, form: Form, number: i32) -> Result<Form, TransactionError> {
    match (form, number) {
        (Form::Add { timeout }, errno::EXISTS) => match set.holds() {
            Holds::TimedAddresses => Ok(Form::Replace { timeout }),
            Holds::Addresses => Ok(Form::Done),
            Holds::Ranges => Err(refused(set, number)),
        },
        (Form::Add { .. }, errno::NOT_FOUND) => Err(TransactionError::NoSet(set.name())),
        (Form::Replace { timeout }, errno::NOT_FOUND) => Ok(Form::Add { timeout }),
        (Form::Remove, errno::NOT_FOUND) => Ok(Form::Done),
        (Form::Add { .. } | Form::Replace { .. } | Form::Left, errno::FULL) => Ok(Form::Left),
        (Form::Add { .. } | Form::Replace { .. } | Form::Remove | Form::Done | Form::Left, _) => {
            Err(refused(set, number))
        }
    }
}

fn refused(set: SetId, number: i32) -> TransactionError {
    TransactionError::Refused { set: set.name(), source: std::io::Error::from_raw_os_error(number) }
}

/// The steps of all wishes, and to which wish each of them belongs.
fn steps(wishes: &[Wish], forms: &[Form]) -> (Vec<ElementStep>, Vec<usize>) {
    let mut steps = Vec::with_capacity(wishes.len());
    let mut owners = Vec::with_capacity(wishes.len());
    for (owner, (wish, form)) in wishes.iter().zip(forms).enumerate() {
        let Wish { set, range, want: _ } = *wish;
        let step = |step| ElementStep { set, range, step };
        match *form {
            Form::Add { timeout } => steps.push(step(Step::Add { timeout })),
            Form::Replace { timeout } => {
                steps.push(step(Step::Remove));
                steps.push(step(Step::Add { timeout }));
            }
            Form::Remove => steps.push(step(Step::Remove)),
            Form::Done | Form::Left => {}
        }
        owners.resize(steps.len(), owner);
    }
    (steps, owners)
}

fn count(wishes: &[Wish], forms: &[Form], tally: &mut Tally) {
    for (wish, form) in wishes.iter().zip(forms) {
        match form {
            Form::Add { .. } => tally.added = tally.added.saturating_add(1),
            Form::Replace { .. } => tally.renewed = tally.renewed.saturating_add(1),
            Form::Remove => tally.removed = tally.removed.saturating_add(1),
            Form::Done => {}
            Form::Left => tally.full.push(*wish),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sets::{Family, List};
    use super::*;

    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(1));
    const BLOCKED: SetId = SetId::new(List::Blocked, Family::V4);

    fn after(form: Form, number: i32) -> Option<Form> {
        next_form(BLOCKED, form, number).ok()
    }

    #[test]
    fn a_refused_step_takes_the_form_that_the_kernel_asks_for() {
        let (add, replace) = (Form::Add { timeout: TIMEOUT }, Form::Replace { timeout: TIMEOUT });
        assert_eq!(after(add, errno::EXISTS), Some(replace));
        assert_eq!(after(replace, errno::NOT_FOUND), Some(add));
        assert_eq!(after(Form::Remove, errno::NOT_FOUND), Some(Form::Done));
        assert_eq!(after(add, errno::FULL), Some(Form::Left));
        assert_eq!(after(replace, errno::FULL), Some(Form::Left));
        assert_eq!(after(add, errno::NOT_FOUND), None);
        assert_eq!(after(add, 12), None);
    }

    #[test]
    fn what_stays_for_good_is_not_replaced() {
        let add = Form::Add { timeout: None };
        let denied = SetId::new(List::Denied, Family::V6);
        assert_eq!(next_form(denied, add, errno::EXISTS).ok(), Some(Form::Done));
        let nets = SetId::new(List::DeniedNets, Family::V4);
        assert!(next_form(nets, add, errno::EXISTS).is_err());
    }

    #[test]
    fn both_steps_of_a_replacement_belong_to_one_wish() {
        let range = Range { first: 1, last: 1 };
        let wish = |want| Wish { set: BLOCKED, range, want };
        let wishes = [
            wish(Want::Absent),
            wish(Want::Renewed { timeout: TIMEOUT }),
            wish(Want::Present { timeout: TIMEOUT }),
        ];
        let forms: Vec<Form> = wishes.iter().map(|wish| first_form(wish.want)).collect();
        let (steps, owners) = steps(&wishes, &forms);
        assert_eq!(owners, [0, 1, 1, 2]);
        assert_eq!(steps.len(), 4);
    }
}
