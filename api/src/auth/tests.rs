//! Secrets without a connection between.

use std::sync::Arc;

use futures_util::future::join_all;

use super::one_time::OneTimePasswords;
use super::*;
use crate::tests::random;

#[tokio::test]
async fn a_one_time_password_is_good_for_one_of_many() {
    let random = random();
    let passwords = OneTimePasswords::new(&random).unwrap();
    for _ in 0..3 {
        let password = passwords.issue(&random).unwrap();
        let spent = join_all((0..8).map(|_| passwords.spend(password.clone()))).await;
        assert_eq!(spent.into_iter().filter(|spent| *spent.as_ref().unwrap()).count(), 1);
    }
}

#[tokio::test]
async fn nothing_opens_when_nothing_is_pending() {
    let passwords = OneTimePasswords::new(&random()).unwrap();
    assert!(!passwords.spend(String::new()).await.unwrap());
}

#[tokio::test]
async fn a_password_has_a_hundred_and_twenty_five_bits_in_five_groups() {
    let random = random();
    let passwords = OneTimePasswords::new(&random).unwrap();
    let (one, two) = (passwords.issue(&random).unwrap(), passwords.issue(&random).unwrap());
    assert_ne!(one, two);
    assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [5; 5]);
    assert!(passwords.spend(two).await.unwrap());
}

#[test]
fn a_local_token_survives_its_file_and_never_shows_itself() {
    let (drawn, text) = LocalToken::draw(&random()).unwrap();
    let read = LocalToken::from_text(&format!("{text}\n")).unwrap();
    assert_eq!(read, drawn);
    assert!(read.is(&text));
    assert!(!read.is(&text[1..]));
    assert_eq!(format!("{read:?}"), "LocalToken(…)");
    assert_eq!(LocalToken::from_text("short"), Err(NotALocalToken));
    assert_eq!(LocalToken::from_text(&"!".repeat(43)), Err(NotALocalToken));
}

#[test]
fn no_randomness_means_no_password() {
    let broken: Random = Arc::new(|_| Err(NoRandomness));
    assert!(OneTimePasswords::new(&broken).is_err());
    assert_eq!(LocalToken::draw(&broken), Err(NoRandomness));
}
