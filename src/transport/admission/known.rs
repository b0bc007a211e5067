//! Networks from which somebody has shown a living token. Where strangers take all places and all wait for an answer,
//! these still get one.

use std::collections::{HashSet, VecDeque};

use crate::charge::Payer;

/// How many networks are remembered; the first is forgotten first.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct KnownNetworks {
    networks: HashSet<Payer>,
    order: VecDeque<Payer>,
}

impl KnownNetworks {
    pub(super) fn add(&mut self, network: Payer) {
        if self.networks.insert(network) {
            self.order.push_back(network);
        }
        if self.order.len() > MOST {
            self.order.pop_front().map(|first| self.networks.remove(&first));
        }
    }

    pub(super) fn have(&self, network: Payer) -> bool {
        self.networks.contains(&network)
    }
}
