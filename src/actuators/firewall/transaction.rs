//! Wishes about single elements, brought to the kernel whatever it holds already.
//!
//! A transaction holds as a whole or not at all, and the kernel names every step that it refused. A transaction that
//! fails costs about 20 ms, for the kernel waits for its readers before it forgets it: a thousand times a success. So
//! the forms for elements that may be there cannot fail: what is touched first (added, if it is not there) can be
//! removed. A refusal after all changes the form, and the transaction goes again:
//!
//! ```text
//!   Add  (add)                ── exists ──> Put
//!   Put  (touch, remove, add) ── full ────> Left
//!   Gone (touch, remove)      ── full ────> Remove ── not there ──> Done
//! ```

use std::time::Duration;

use super::netlink::{Netlink, NetlinkError, Reply, errno};
use super::ranges::Range;
use super::sets::{Holds, SetId};
use super::wire::{ElementStep, Place, Step};

/// Wishes of one transaction: three steps of at most 128 bytes each stay below the 208 KiB that a socket sends at once.
pub(super) const MAX_WISHES: usize = 500;
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
    /// It is there, and as far as known was not before.
    Added {
        /// When the kernel forgets it.
        timeout: Option<Duration>,
    },
    /// It is there with this time from now on, and may have been before.
    Put {
        /// When the kernel forgets it.
        timeout: Option<Duration>,
    },
    /// It is not there.
    Gone,
}

/// What became of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The element is new.
    Added,
    /// The element's time was set anew.
    Renewed,
    /// The element is gone.
    Removed,
    /// There was nothing to do.
    Nothing,
    /// The set has no room.
    Full,
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
    Put { timeout: Option<Duration> },
    Gone,
    Remove,
    Done,
    Left,
}

/// Brings wishes to the kernel; returns what became of each, in their order.
pub(super) fn settle(
    netlink: &mut Netlink,
    place: Place<'_>,
    wishes: &[Wish],
) -> Result<Vec<Outcome>, TransactionError> {
    let mut outcomes = Vec::with_capacity(wishes.len());
    for some in wishes.chunks(MAX_WISHES) {
        settle_some(netlink, place, some, &mut outcomes)?;
    }
    Ok(outcomes)
}

fn settle_some(
    netlink: &mut Netlink,
    place: Place<'_>,
    wishes: &[Wish],
    outcomes: &mut Vec<Outcome>,
) -> Result<(), TransactionError> {
    let mut forms: Vec<Form> = wishes.iter().map(|wish| first_form(wish.want)).collect();
    for _ in 0..MAX_ROUNDS {
        let (steps, owners) = steps(wishes, &forms);
        match netlink.transact(place, &steps)? {
            Reply::Committed => {
                outcomes.extend(forms.iter().map(|form| outcome(*form)));
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
                settle_some(netlink, place, left, outcomes)?;
                return settle_some(netlink, place, right, outcomes);
            }
        }
    }
    Err(TransactionError::Unsettled)
}

const fn first_form(want: Want) -> Form {
    match want {
        Want::Added { timeout } => Form::Add { timeout },
        Want::Put { timeout } => Form::Put { timeout },
        Want::Gone => Form::Gone,
    }
}

const fn outcome(form: Form) -> Outcome {
    match form {
        Form::Add { .. } => Outcome::Added,
        Form::Put { .. } => Outcome::Renewed,
        Form::Gone | Form::Remove => Outcome::Removed,
        Form::Done => Outcome::Nothing,
        Form::Left => Outcome::Full,
    }
}

/// The form after a refusal. A wish that is decided may be refused again, for its other steps.
fn next_form(set: SetId, form: Form, number: i32) -> Result<Form, TransactionError> {
    match (form, number) {
        (Form::Add { timeout }, errno::EXISTS) => match set.holds() {
            Holds::TimedAddresses | Holds::Addresses => Ok(Form::Put { timeout }),
            Holds::Ranges => Err(refused(set, number)),
        },
        (Form::Add { .. } | Form::Put { .. }, errno::NOT_FOUND) => Err(TransactionError::NoSet(set.name())),
        (Form::Add { .. } | Form::Put { .. }, errno::FULL) => Ok(Form::Left),
        (Form::Gone, errno::FULL) => Ok(Form::Remove),
        (Form::Gone | Form::Remove, errno::NOT_FOUND) => Ok(Form::Done),
        (Form::Done | Form::Left, _) => Ok(form),
        (Form::Add { .. } | Form::Put { .. } | Form::Gone | Form::Remove, _) => Err(refused(set, number)),
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
        let those = form_steps(set, *form);
        steps.extend(those.into_iter().flatten().map(|step| ElementStep { set, range, step }));
        owners.resize(steps.len(), owner);
    }
    (steps, owners)
}

/// The steps of one wish. A set of ranges is always known exactly, so nothing in it is touched.
const fn form_steps(set: SetId, form: Form) -> [Option<Step>; 3] {
    match (form, set.holds()) {
        (Form::Put { timeout }, Holds::TimedAddresses) => {
            [Some(Step::Touch), Some(Step::Remove), Some(Step::Add { timeout })]
        }
        (Form::Put { .. }, Holds::Addresses) => [Some(Step::Touch), None, None],
        (Form::Add { timeout }, _) | (Form::Put { timeout }, Holds::Ranges) => {
            [Some(Step::Add { timeout }), None, None]
        }
        (Form::Gone, Holds::TimedAddresses | Holds::Addresses) => {
            [Some(Step::Touch), Some(Step::Remove), None]
        }
        (Form::Gone, Holds::Ranges) | (Form::Remove, _) => [Some(Step::Remove), None, None],
        (Form::Done | Form::Left, _) => [None, None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::super::sets::{Family, List};
    use super::*;

    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(1));
    const BLOCKED: SetId = SetId::new(List::Blocked, Family::V4);
    const NETS: SetId = SetId::new(List::DeniedNets, Family::V4);

    fn after(form: Form, number: i32) -> Option<Form> {
        next_form(BLOCKED, form, number).ok()
    }

    #[test]
    fn a_refused_step_takes_the_form_that_the_kernel_asks_for() {
        let (add, put) = (Form::Add { timeout: TIMEOUT }, Form::Put { timeout: TIMEOUT });
        assert_eq!(after(add, errno::EXISTS), Some(put));
        assert_eq!(after(add, errno::FULL), Some(Form::Left));
        assert_eq!(after(put, errno::FULL), Some(Form::Left));
        assert_eq!(after(Form::Left, errno::NOT_FOUND), Some(Form::Left));
        assert_eq!(after(Form::Gone, errno::FULL), Some(Form::Remove));
        assert_eq!(after(Form::Remove, errno::NOT_FOUND), Some(Form::Done));
        assert_eq!(after(add, errno::NOT_FOUND), None);
        assert_eq!(after(put, errno::NOT_FOUND), None);
        assert_eq!(after(add, 12), None);
    }

    #[test]
    fn a_range_that_meets_another_is_an_error() {
        assert!(next_form(NETS, Form::Add { timeout: None }, errno::EXISTS).is_err());
    }

    #[test]
    fn all_steps_of_a_wish_belong_to_it() {
        let range = Range { first: 1, last: 1 };
        let wish = |want| Wish { set: BLOCKED, range, want };
        let wishes =
            [wish(Want::Gone), wish(Want::Put { timeout: TIMEOUT }), wish(Want::Added { timeout: TIMEOUT })];
        let forms: Vec<Form> = wishes.iter().map(|wish| first_form(wish.want)).collect();
        let (steps, owners) = steps(&wishes, &forms);
        assert_eq!(owners, [0, 0, 1, 1, 1, 2]);
        assert_eq!(steps.len(), owners.len());
    }

    #[test]
    fn what_stays_for_good_is_not_taken_out_to_be_put_back() {
        let put = Form::Put { timeout: None };
        let denied = SetId::new(List::Denied, Family::V6);
        assert_eq!(form_steps(denied, put), [Some(Step::Touch), None, None]);
        assert_eq!(form_steps(NETS, Form::Gone), [Some(Step::Remove), None, None]);
    }
}
