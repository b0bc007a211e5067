//! What must hold of mailboxes at any time.

use super::*;

impl World {
    pub(super) fn check_counts(&self) {
        let mut total = (0, 0);
        for of in 0..USERS {
            let unread = self.unread(of);
            let kept = self.boxes.inner().boxes.get(&user(of)).map_or((0, 0), |m| (m.unread.messages, m.unread.bytes));
            assert_eq!(kept, unread, "unread of {of}");
            if let Some(counted) = self.boxes.unread_by_sender(user(of)) {
                let mut known = self.boxes.unread_senders(user(of)).expect("nothing has to be loaded");
                known.sort_unstable();
                assert_eq!(known, counted.into_keys().collect::<Vec<_>>(), "who has unread mail for {of}");
            }
            total = (total.0 + unread.0, total.1 + unread.1);
        }
        assert_eq!(self.boxes.total(), total);
    }

    /// Those whom the disk knows and those whom the tail knows are together all who ever wrote, in order.
    pub(super) fn check_senders(&self, of: usize) {
        let mut ever: Vec<(UserId, i64)> = Vec::new();
        for (id, m) in self.log.iter().filter(|(_, m)| m.recipient == of) {
            if ever.iter().all(|(sender, _)| sender.0 != m.sender) {
                ever.push((UserId(m.sender), *id));
            }
        }
        let watermark = self.boxes.inner().watermark;
        let mut tail = self.boxes.tail_senders(user(of), None);
        tail.sort_unstable();
        let mut told: Vec<UserId> = Vec::new();
        let disk = ever.iter().filter(|(_, first)| *first <= watermark.0).map(|(sender, _)| *sender);
        for sender in disk.chain(tail.into_iter().map(|(_, sender)| sender)) {
            if !told.contains(&sender) {
                told.push(sender);
            }
        }
        assert!(told.iter().eq(ever.iter().map(|(sender, _)| sender)), "{told:?} where {ever:?} wrote");
    }
}
