//! Proof that an acknowledged message is not lost: a crowd that writes down what it was told, faults while it talks,
//! and a checker that compares.
//!
//! - `checker`: the crowd; `notes`: what it has written down, and what that must add up to
//! - `crash`: kill -9 at random moments
//! - `nodes`: the same with one of two nodes on one PostgreSQL
//! - `failover`: the primary of PostgreSQL is killed, stands still, or lives on beside a new one
//! - `deployed`: the same with the whole deployment of `deploy/`, where the environment asks for it
//! - `cut`: a command is killed at each call that changes a file; `tracer` counts the calls
//! - `power`: the power of a disk is cut
//! - `disk`: full disks and failing ones
//! - `files`: locked, foreign, broken and shared databases

mod checker;
mod crash;
pub mod cut;
mod deployed;
mod disk;
mod failover;
mod files;
mod nodes;
mod notes;
pub mod power;
mod tracer;
