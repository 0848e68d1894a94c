//! Whether a history of concurrent operations can be put into one order that a sequential model allows, each operation
//! between its call and its return (linearizability, after Wing and Gong, with Lowe's memory of what was tried).
//!
//! An operation whose answer was lost may have happened at any time after its call, or not at all.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What the operations are held against.
pub trait Model {
    /// What it remembers.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked of it.
    type Input: Debug;
    /// What it answers.
    type Output: Debug;

    /// Before the first operation.
    fn start(&self) -> Self::State;

    /// The state after `operation`, if it could have been answered like this here. Without an answer it can.
    fn step(&self, state: &Self::State, operation: &Operation<Self::Input, Self::Output>) -> Option<Self::State>;
}

/// One operation of a history.
#[derive(Clone, Debug)]
pub struct Operation<I, O> {
    /// When it was asked for, on the clock of the history, in microseconds.
    pub called: u64,
    /// When the answer came; for ever, if it was lost.
    pub returned: u64,
    /// What was asked.
    pub input: I,
    /// What was answered; none = the answer was lost.
    pub output: Option<O>,
}

/// Which operations have been put into the order.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Taken(Vec<u64>);

impl Taken {
    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn with(&self, index: usize) -> Self {
        let mut taken = self.clone();
        taken.0[index / 64] |= 1 << (index % 64);
        taken
    }
}

/// Looks for an order.
///
/// # Errors
/// Where the longest order that was found gets stuck, for people to read.
pub fn check<M: Model>(model: &M, mut history: Vec<Operation<M::Input, M::Output>>) -> Result<(), String> {
    history.sort_by_key(|operation| operation.called);
    let answered = history.iter().filter(|operation| operation.output.is_some()).count();
    let none = Taken(vec![0; history.len().div_ceil(64)]);
    let mut tried: HashSet<(Taken, M::State)> = HashSet::new();
    let mut open = vec![(none, model.start(), 0)];
    let mut furthest = (0, String::new());
    while let Some((taken, state, done)) = open.pop() {
        if done == answered {
            return Ok(());
        }
        // Nothing that was called after another one had returned can come before it.
        let waiting = || (0..history.len()).filter(|index| !taken.has(*index));
        let first_return = waiting().map(|index| history[index].returned).min().unwrap_or(u64::MAX);
        let candidates: Vec<usize> = waiting()
            .take_while(|index| history[*index].called <= first_return)
            .collect();
        if done >= furthest.0 {
            let stuck: Vec<_> = candidates.iter().map(|index| &history[*index]).collect();
            furthest = (
                done,
                format!("{done} of {answered} in order, at {state:?}, then one of: {stuck:?}"),
            );
        }
        // The earliest return is tried first: it is on top of the stack.
        let mut order = candidates;
        order.sort_by_key(|index| std::cmp::Reverse(history[*index].returned));
        for index in order {
            let operation = &history[index];
            let Some(next) = model.step(&state, operation) else {
                continue;
            };
            // A lost operation that changes nothing need not be placed.
            if operation.output.is_none() && next == state {
                continue;
            }
            let with = taken.with(index);
            if tried.insert((with.clone(), next.clone())) {
                open.push((with, next, done + usize::from(operation.output.is_some())));
            }
        }
    }
    let whole: Vec<_> = history.iter().map(|operation| format!("{operation:?}")).collect();
    Err(format!(
        "no order explains the history: {}\n{}",
        furthest.1,
        whole.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One number: written whole, read.
    struct Register;

    impl Model for Register {
        type State = u32;
        type Input = Option<u32>;
        type Output = u32;

        fn start(&self) -> u32 {
            0
        }

        fn step(&self, state: &u32, operation: &Operation<Option<u32>, u32>) -> Option<u32> {
            match (operation.input, operation.output) {
                (Some(written), _) => Some(written),
                (None, Some(read)) if read != *state => None,
                (None, _) => Some(*state),
            }
        }
    }

    fn write(called: u64, returned: u64, number: u32) -> Operation<Option<u32>, u32> {
        Operation {
            called,
            returned,
            input: Some(number),
            output: (returned != u64::MAX).then_some(number),
        }
    }

    fn read(called: u64, returned: u64, number: u32) -> Operation<Option<u32>, u32> {
        Operation {
            called,
            returned,
            input: None,
            output: Some(number),
        }
    }

    #[test]
    fn overlapping_operations_may_be_in_any_order() {
        assert_eq!(
            check(
                &Register,
                vec![write(0, 10, 1), read(1, 2, 0), read(3, 4, 1), read(5, 6, 1)]
            ),
            Ok(())
        );
        assert_eq!(
            check(&Register, vec![write(0, 9, 1), write(0, 9, 2), read(10, 11, 1)]),
            Ok(())
        );
    }

    #[test]
    fn a_value_that_goes_back_is_caught() {
        // 1 was read, and 0 after it.
        assert!(check(&Register, vec![write(0, 10, 1), read(1, 2, 1), read(3, 4, 0)]).is_err());
    }

    #[test]
    fn a_stale_read_is_caught() {
        assert!(check(&Register, vec![write(0, 1, 1), read(2, 3, 0)]).is_err());
        assert!(check(&Register, vec![write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)]).is_err());
    }

    #[test]
    fn a_lost_write_may_come_late_or_never_but_not_twice() {
        let lost = || write(0, u64::MAX, 1);
        assert_eq!(check(&Register, vec![lost(), read(2, 3, 0), read(4, 5, 0)]), Ok(()));
        assert_eq!(check(&Register, vec![lost(), read(2, 3, 0), read(4, 5, 1)]), Ok(()));
        let twice = vec![lost(), read(2, 3, 1), write(4, 5, 2), read(6, 7, 1)];
        assert!(check(&Register, twice).is_err());
    }

    #[test]
    fn long_histories_are_checked_in_time() {
        let mut history = Vec::new();
        for round in 0..400 {
            let at = u64::from(round) * 100;
            history.extend((0..4).map(|n| write(at + u64::from(n), at + 50, round * 4 + n)));
            history.push(read(at + 60, at + 70, round * 4 + round % 4));
        }
        assert_eq!(check(&Register, history.clone()), Ok(()));
        history.push(read(1_000_000, 1_000_001, 1));
        assert!(check(&Register, history).is_err());
    }
}
