use tokio::sync::oneshot::error::TryRecvError;

use super::*;

const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1, parallelism: 1 };
const SOMEBODY: Share = Share { known: false, network: 1, address: 1 };

/// Without threads: what is pushed waits.
fn closed_shop(most: usize) -> Passwords {
    let shared = Arc::new(SharedQueues { queues: Mutex::default(), more: Condvar::new(), most });
    Passwords { queue: Arc::new(Open(shared)) }
}

/// Somebody who waits: the name, and the end where the verdict comes.
fn wait(passwords: &Passwords, name: &str, share: Share) -> Result<oneshot::Receiver<Verdict>, Busy> {
    let (answer, verdict) = oneshot::channel();
    passwords.push(QueuedLogin { attempt: vec![name.to_owned()], hash: None, new: None, answer }, share)?;
    Ok(verdict)
}

fn order(passwords: &Passwords) -> Vec<String> {
    let mut queues = passwords.queue.0.queues();
    std::iter::from_fn(|| queues.next()).flat_map(|login| login.attempt).collect()
}

#[tokio::test]
async fn right_wrong_and_nobody() {
    let passwords = Passwords::start(CHEAP, 1, 4).expect("the cost is valid");
    let hash = hash("surabaya", CHEAP).expect("the cost is valid");
    let verify = |attempt: &str, hash: Option<&str>| {
        passwords.verify(vec![attempt.to_owned()], hash.map(str::to_owned), SOMEBODY)
    };
    assert_eq!(verify("surabaya", Some(&hash)).await, Ok(Verdict::Right));
    assert_eq!(verify("Surabaya", Some(&hash)).await, Ok(Verdict::Wrong));
    assert_eq!(verify("surabaya", None).await, Ok(Verdict::Wrong));
    assert_eq!(verify("surabaya", Some("no PHC string")).await, Ok(Verdict::Wrong));
}

#[tokio::test]
async fn another_cost_on_file_gives_a_new_hash() {
    let dearer = Cost { iterations: 2, ..CHEAP };
    let passwords = Passwords::start(dearer, 1, 4).expect("the cost is valid");
    let old = hash("surabaya", CHEAP).expect("the cost is valid");
    let Ok(Verdict::RightWith { new_hash }) = passwords.verify(vec!["surabaya".to_owned()], Some(old), SOMEBODY).await
    else {
        panic!("the parameters differ");
    };
    assert_eq!(passwords.verify(vec!["surabaya".to_owned()], Some(new_hash), SOMEBODY).await, Ok(Verdict::Right));
}

#[tokio::test]
async fn a_hash_of_an_earlier_spelling_is_found_and_made_anew() {
    let passwords = Passwords::start(CHEAP, 1, 4).expect("the cost is valid");
    let old = hash("cafe\u{301}", CHEAP).expect("the cost is valid");
    let spellings = || vec!["caf\u{e9}".to_owned(), "cafe\u{301}".to_owned()];
    let Ok(Verdict::RightWith { new_hash }) = passwords.verify(spellings(), Some(old), SOMEBODY).await else {
        panic!("the second spelling is right");
    };
    let composed = vec![spellings().remove(0)];
    assert_eq!(passwords.verify(composed, Some(new_hash), SOMEBODY).await, Ok(Verdict::Right));
    assert_eq!(passwords.verify(spellings(), None, SOMEBODY).await, Ok(Verdict::Wrong));
}

#[tokio::test]
async fn beyond_the_queue_the_answer_is_busy() {
    let passwords = closed_shop(1);
    let _first = wait(&passwords, "first", SOMEBODY).expect("there is room for one");
    assert_eq!(passwords.verify(vec!["x".to_owned()], None, SOMEBODY).await, Err(Busy));
}

#[test]
fn a_known_user_does_not_wait_behind_a_crowd_of_strangers() {
    let passwords = closed_shop(1_000);
    let mut crowd = Vec::new();
    for address in 0..250 {
        for _ in 0..4 {
            let share = Share { known: false, network: address, address };
            crowd.push(wait(&passwords, "stranger", share).expect("there is room"));
        }
    }
    let known = Share { known: true, network: 7, address: 7 };
    let _known = wait(&passwords, "known", known).expect("a queue of its own");
    assert!(order(&passwords).iter().take(2).any(|name| name == "known"));
}

#[test]
fn turns_go_round_by_network_and_by_address() {
    let passwords = closed_shop(6);
    let share = |network, address| Share { known: false, network, address };
    let mut flood: Vec<_> = (0..6).map(|_| wait(&passwords, "flood", share(1, 1)).expect("there is room")).collect();
    let neighbour = wait(&passwords, "neighbour", share(1, 2)).expect("in the place of one of the flood");
    let other = wait(&passwords, "other", share(2, 3)).expect("in the place of one of the flood");
    assert!(wait(&passwords, "flood", share(1, 1)).is_err(), "nobody at his own cost");
    let displaced =
        flood.iter_mut().map(|one| one.try_recv() == Err(TryRecvError::Closed)).filter(|gone| *gone).count();
    assert_eq!(displaced, 2);
    assert_eq!(order(&passwords), ["flood", "other", "neighbour", "flood", "flood", "flood"]);
    drop((neighbour, other));
}

#[test]
fn no_hash_is_made_for_who_is_gone() {
    let passwords = closed_shop(4);
    drop(wait(&passwords, "gone", SOMEBODY).expect("there is room"));
    let _there = wait(&passwords, "there", SOMEBODY).expect("there is room");
    assert_eq!(order(&passwords), ["there"]);
}

#[tokio::test]
async fn those_who_wait_are_served_when_the_queue_is_closed() {
    let passwords = Passwords::start(CHEAP, 1, 4).expect("the cost is valid");
    let waiting = wait(&passwords, "x", SOMEBODY).expect("there is room");
    drop(passwords);
    assert_eq!(waiting.await, Ok(Verdict::Wrong));
}

#[test]
fn impossible_costs_are_refused() {
    assert!(check(Cost { memory_kib: 0, ..CHEAP }).is_err());
    assert!(check(OWASP_MINIMUM).is_ok());
}
