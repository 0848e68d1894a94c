//! Histories of leases and values, recorded at the clients, and the models that they are held against.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::linear::{Model, Operation};

/// The server counts milliseconds, a history microseconds: what may be lost by rounding.
const ROUNDING_US: u64 = 2_000;

/// Operations as they happened, from many tasks.
pub struct Recorder<I, O> {
    begun: Instant,
    operations: Mutex<Vec<Operation<I, O>>>,
}

impl<I, O> Default for Recorder<I, O> {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            operations: Mutex::default(),
        }
    }
}

impl<I, O> Recorder<I, O> {
    /// Does something and records it; none = no answer came.
    pub async fn record(&self, input: I, doing: impl Future<Output = Option<O>>) -> Option<()> {
        let called = self.now();
        let output = doing.await;
        let answered = output.is_some();
        let operation = Operation {
            called,
            returned: if answered { self.now() } else { u64::MAX },
            input,
            output,
        };
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(operation);
        answered.then_some(())
    }

    /// What was recorded.
    #[must_use]
    pub fn taken(&self) -> Vec<Operation<I, O>> {
        std::mem::take(&mut self.operations.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What is asked of one value.
#[derive(Clone, Debug)]
pub enum ValueInput {
    /// Write this number if the version is that one; negative = in any case, 0 = if it is not there.
    Write(u32, i64),
    /// Take it away.
    Delete,
    /// What is it?
    Read,
}

/// What a value answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOutput {
    /// Written, as this version.
    Written(i64),
    /// Not written: this version is in force.
    Guarded(i64),
    /// Whether there was something to delete, and the version afterwards.
    Deleted(bool, i64),
    /// Version, and number if it is there.
    Found(i64, Option<u32>),
}

/// One value with its version.
pub struct ValueModel;

impl Model for ValueModel {
    type State = (i64, Option<u32>);
    type Input = ValueInput;
    type Output = ValueOutput;

    fn start(&self) -> Self::State {
        (0, None)
    }

    fn step(&self, state: &Self::State, operation: &Operation<ValueInput, ValueOutput>) -> Option<Self::State> {
        let (version, number) = *state;
        let (next, answer) = match operation.input {
            ValueInput::Write(written, guard) => {
                let holds = guard < 0 || (guard == 0 && number.is_none()) || (guard > 0 && guard == version);
                if holds {
                    ((version + 1, Some(written)), ValueOutput::Written(version + 1))
                } else {
                    (*state, ValueOutput::Guarded(version))
                }
            }
            ValueInput::Delete if number.is_some() => ((version + 1, None), ValueOutput::Deleted(true, version + 1)),
            ValueInput::Delete => (*state, ValueOutput::Deleted(false, version)),
            ValueInput::Read => (*state, ValueOutput::Found(version, number)),
        };
        operation
            .output
            .as_ref()
            .is_none_or(|said| *said == answer)
            .then_some(next)
    }
}

/// What is asked of one run's lease.
#[derive(Clone, Debug)]
pub enum LeaseInput {
    /// This owner wants it, or wants it for longer.
    Take(u32),
    /// A write under this fence.
    Write(i64),
}

/// What the lease answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOutput {
    /// It is the caller's, under this fence.
    Granted(i64),
    /// It is this owner's, under this fence.
    Held(u32, i64),
    /// The write was taken.
    Written,
    /// The write came under an old fence; this one is in force.
    Fenced(i64),
}

/// A lock that its holder loses by letting it run out, with a fence that rises with each holder.
pub struct LeaseModel {
    /// How long a lease lasts, in microseconds.
    pub ttl_us: u64,
}

/// Who holds it, under which fence, and when it runs out: between these two times, as far as a client can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeaseState {
    holder: Option<u32>,
    fence: i64,
    earliest: u64,
    latest: u64,
}

impl Model for LeaseModel {
    type State = LeaseState;
    type Input = LeaseInput;
    type Output = LeaseOutput;

    fn start(&self) -> LeaseState {
        LeaseState::default()
    }

    fn step(&self, state: &LeaseState, operation: &Operation<LeaseInput, LeaseOutput>) -> Option<LeaseState> {
        let earliest = (operation.called + self.ttl_us).saturating_sub(ROUNDING_US);
        let latest = operation.returned.saturating_add(self.ttl_us + ROUNDING_US);
        match operation.input {
            LeaseInput::Take(owner) => {
                let mut granted = Vec::new();
                if state.holder == Some(owner) {
                    granted.push(LeaseState {
                        earliest: state.earliest.max(earliest),
                        latest: state.latest.max(latest),
                        ..state.clone()
                    });
                } else if state.holder.is_none() || operation.returned >= state.earliest {
                    granted.push(LeaseState {
                        holder: Some(owner),
                        fence: state.fence + 1,
                        earliest,
                        latest,
                    });
                }
                match operation.output {
                    Some(LeaseOutput::Granted(fence)) => granted.pop().filter(|next| next.fence == fence),
                    Some(LeaseOutput::Held(by, fence)) => {
                        let lives = operation.called <= state.latest;
                        let held = by != owner && state.holder == Some(by) && state.fence == fence && lives;
                        held.then(|| state.clone())
                    }
                    Some(_) => None,
                    None => Some(granted.pop().unwrap_or_else(|| state.clone())),
                }
            }
            LeaseInput::Write(fence) => {
                let taken = fence == state.fence;
                let fits = match operation.output {
                    Some(LeaseOutput::Written) => taken,
                    Some(LeaseOutput::Fenced(in_force)) => !taken && in_force == state.fence,
                    Some(_) => false,
                    None => true,
                };
                fits.then(|| state.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::check;

    fn at<I, O>(called: u64, returned: u64, input: I, output: O) -> Operation<I, O> {
        Operation {
            called,
            returned,
            input,
            output: Some(output),
        }
    }

    const LEASE: LeaseModel = LeaseModel { ttl_us: 100_000 };

    #[test]
    fn two_holders_at_once_are_caught() {
        let first = at(0, 10, LeaseInput::Take(1), LeaseOutput::Granted(1));
        let early = at(20_000, 20_010, LeaseInput::Take(2), LeaseOutput::Granted(2));
        let late = at(120_000, 120_010, LeaseInput::Take(2), LeaseOutput::Granted(2));
        assert!(check(&LEASE, vec![first.clone(), early]).is_err());
        assert_eq!(check(&LEASE, vec![first, late]), Ok(()));
    }

    #[test]
    fn a_former_drivers_write_is_caught() {
        let history = |said| {
            vec![
                at(0, 10, LeaseInput::Take(1), LeaseOutput::Granted(1)),
                at(120_000, 120_010, LeaseInput::Take(2), LeaseOutput::Granted(2)),
                at(120_020, 120_030, LeaseInput::Write(1), said),
            ]
        };
        assert!(check(&LEASE, history(LeaseOutput::Written)).is_err());
        assert_eq!(check(&LEASE, history(LeaseOutput::Fenced(2))), Ok(()));
    }

    #[test]
    fn a_lost_update_is_caught() {
        let history = |second| {
            vec![
                at(0, 10, ValueInput::Write(1, 0), ValueOutput::Written(1)),
                at(20, 40, ValueInput::Write(2, 1), ValueOutput::Written(2)),
                at(25, 45, ValueInput::Write(3, 1), second),
            ]
        };
        assert!(check(&ValueModel, history(ValueOutput::Written(2))).is_err());
        assert!(check(&ValueModel, history(ValueOutput::Written(3))).is_err());
        assert_eq!(check(&ValueModel, history(ValueOutput::Guarded(2))), Ok(()));
    }
}
