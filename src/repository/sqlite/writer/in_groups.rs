//! What messages to groups mean for the writer: one of them may be put into thousands of mailboxes.

use std::iter::Peekable;

use super::{Batch, Job, Writer};
use crate::repository::memory::event::Event;
use crate::repository::memory::groups::GroupEvent;

/// How many copies of messages one commit puts into mailboxes at the most. A single message may have more. Nobody else
/// can use a mailbox meanwhile.
pub(crate) const COPIES_TOGETHER: usize = 16_384;

impl Writer {
    /// What is committed together.
    pub(super) fn batch(&mut self, jobs: &mut Peekable<impl Iterator<Item = Job>>, closing: &mut bool) -> Batch {
        let (mut batch, mut copies) = (Batch::default(), 0);
        while copies < COPIES_TOGETHER
            && let Some(job) = jobs.next()
        {
            match job {
                Job::Send(messages, answer) => {
                    copies += messages.iter().map(|message| self.shared.copies_of(message.to)).sum::<usize>();
                    batch.sends.push((messages, answer));
                }
                Job::Change(change, answer) => batch.changes.push((change, answer)),
                Job::Snapshot(process, answer) => self.snapshots.push(process, answer),
                Job::Confirm => {}
                Job::Close => *closing = true,
            }
        }
        batch
    }

    /// Who has left a group is not told any more when there is room again.
    pub(super) fn note_who_left(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Several(events) => self.note_who_left(events),
                Event::GroupsChanged(changes) => changes.iter().for_each(|change| match change {
                    GroupEvent::Left(group, user, _) => self.full.set(*group, *user, None),
                    GroupEvent::Removed(group, _) => self.full.forget(*group),
                    _ => {}
                }),
                _ => {}
            }
        }
    }
}
