//! What happens to targets and networks in the middle of a load, while the loader goes on. Each file says in its first
//! lines which bug its tests are about, how it comes about, and what guards against it.

mod diverge;
mod failover;
mod gate;
mod guard;
mod master;
mod network;
mod refusal;
mod settle;
mod silence;
mod stop;

/// Rounds of the mixed sources: some 36,000 commands, 600 batches for each lane.
const ROUNDS: usize = 400;
