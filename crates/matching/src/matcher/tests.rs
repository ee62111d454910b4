//! The matcher against a model that is too simple to be wrong: two sorted lists.

use proptest::prelude::*;

use super::*;

const TASKS_MAX: usize = 8;
const STICKY_WINDOW: Duration = Duration::from_secs(10);

type Matcher = Partition<u64, u64, u64>;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Fast enough that no test waits for it.
const RATE: f64 = 1000.0;

fn matcher(sticky: bool) -> Matcher {
    Partition::new(Settings { sticky_window: sticky.then_some(STICKY_WINDOW), tasks_max: TASKS_MAX, rate: RATE })
}

fn task(number: u64) -> Task<u64, u64> {
    Task { place: Place { rank: Rank::DEFAULT, number }, key: number, payload: number }
}

fn park(poller: u64) -> Input<u64, u64, u64> {
    Input::Park { poller: PollerId(poller), deadline: at(60), payload: poller }
}

fn matched(poller: u64, number: u64) -> Output<u64, u64, u64> {
    Output::Match { poller: PollerId(poller), payload: poller, task: task(number) }
}

/// Steps in order, and what came out of the last one.
fn run(matcher: &mut Matcher, steps: Vec<(u64, Input<u64, u64, u64>)>) -> Vec<Output<u64, u64, u64>> {
    let mut out = Vec::new();
    for (second, input) in steps {
        out.clear();
        matcher.step(input, at(second), &mut out);
    }
    out
}

#[test]
fn the_oldest_poller_gets_the_oldest_task() {
    let mut m = matcher(false);
    assert_eq!(run(&mut m, vec![(0, park(1)), (0, park(2)), (0, Input::Offer(task(5)))]), [matched(1, 5)]);
    assert_eq!(run(&mut m, vec![(0, Input::Offer(task(6)))]), [matched(2, 6)]);
    assert_eq!(
        run(&mut m, vec![(0, Input::Offer(task(7))), (0, Input::Offer(task(8))), (0, park(3))]),
        [matched(3, 7)]
    );
}

#[test]
fn a_query_goes_before_tasks_even_when_the_window_is_full() {
    let mut m = matcher(false);
    let tasks = 1..=TASKS_MAX as u64;
    run(&mut m, tasks.map(|number| (0, Input::Offer(task(number)))).collect());
    assert_eq!(run(&mut m, vec![(0, Input::Offer(task(90)))]), [Output::Refused(90)]);
    let query = Task { place: Place { rank: Rank::QUERY, number: 91 }, key: 91, payload: 91 };
    assert_eq!(run(&mut m, vec![(0, Input::Offer(query.clone()))]), []);
    let expected = Output::Match { poller: PollerId(1), payload: 1, task: query };
    assert_eq!(run(&mut m, vec![(0, park(1))]), [expected]);
}

fn urgent(number: u64, priority: i32) -> Task<u64, u64> {
    Task { place: Place { rank: Rank::of_priority(priority), number }, ..task(number) }
}

#[test]
fn tasks_go_by_priority_then_by_age() {
    let keys = [(0, 3), (1, 1), (3, 3), (5, 5), (9, 5), (-1, 3)];
    assert!(keys.into_iter().all(|(key, rank)| Rank::of_priority(key) == Rank(rank)));
    let mut m = matcher(false);
    for (number, priority) in [(1, 0), (2, 5), (3, 3), (4, 1), (5, 1)] {
        run(&mut m, vec![(0, Input::Offer(urgent(number, priority)))]);
    }
    let order = (1..=5).map(|poller| match run(&mut m, vec![(0, park(poller))])[..] {
        [Output::Match { ref task, .. }] => task.payload,
        ref other => panic!("{other:?}"),
    });
    assert_eq!(order.collect::<Vec<_>>(), [4, 5, 1, 3, 2]);
}

#[test]
fn a_window_full_of_patient_tasks_lets_urgent_ones_in() {
    let mut m = matcher(false);
    let tasks = 1..=TASKS_MAX as u64;
    run(&mut m, tasks.map(|number| (0, Input::Offer(urgent(number, 4)))).collect());
    assert_eq!(run(&mut m, vec![(0, Input::Offer(urgent(20, 4)))]), [Output::Refused(20)]);
    assert_eq!(run(&mut m, vec![(0, Input::Offer(urgent(21, 2)))]), []);
    assert_eq!((m.tasks(), m.credit()), (TASKS_MAX + 1, TASKS_MAX));
    run(&mut m, vec![(0, Input::Withdraw { place: urgent(1, 4).place, key: 1 })]);
    assert_eq!(run(&mut m, vec![(0, Input::Offer(urgent(20, 4)))]), []);
}

#[test]
fn the_rate_holds_tasks_and_pollers_apart_but_not_queries() {
    let settings = Settings { sticky_window: None, tasks_max: TASKS_MAX, rate: 0.5 };
    let mut m: Matcher = Partition::new(settings);
    run(&mut m, vec![(0, park(1)), (0, park(2)), (0, park(3))]);
    assert_eq!(run(&mut m, vec![(0, Input::Offer(task(5)))]), [matched(1, 5)]);
    assert_eq!((m.wake_at(), m.last_limited()), (None, None));
    assert_eq!(run(&mut m, vec![(0, Input::Offer(task(6)))]), []);
    assert_eq!((m.wake_at(), m.last_limited()), (Some(at(1)), Some(at(0))));
    // A poller that is reserved would overtake the task that waits.
    assert_eq!(run(&mut m, vec![(0, Input::Reserve)]), []);
    let query = Task { place: Place { rank: Rank::QUERY, number: 9 }, key: 9, payload: 9 };
    let expected = Output::Match { poller: PollerId(2), payload: 2, task: query.clone() };
    assert_eq!(run(&mut m, vec![(0, Input::Offer(query))]), [expected]);
    assert_eq!(run(&mut m, vec![(1, Input::Wake)]), [matched(3, 6)]);
    // Stopped, and let go again.
    m.limit(0.0, at(1));
    run(&mut m, vec![(9, park(4)), (9, Input::Offer(task(7)))]);
    assert_eq!(m.wake_at(), None);
    m.limit(5.0, at(9));
    assert_eq!(run(&mut m, vec![(9, Input::Wake)]), [matched(4, 7)]);
}

#[test]
fn what_comes_back_finds_its_old_place() {
    let mut m = matcher(false);
    run(&mut m, vec![(0, park(1)), (0, park(2)), (0, Input::Offer(task(5))), (0, Input::Offer(task(6)))]);
    // Task 6 comes back before task 5, poller 2 before poller 1.
    run(&mut m, vec![(0, Input::Offer(task(7)))]);
    run(&mut m, vec![(0, Input::Return { task: task(6), rest_until: None })]);
    run(&mut m, vec![(0, Input::Return { task: task(5), rest_until: None })]);
    assert_eq!(run(&mut m, vec![(0, park(2))]), [matched(2, 5)]);
    assert_eq!(run(&mut m, vec![(0, park(1))]), [matched(1, 6)]);
}

#[test]
fn a_resting_task_lets_others_pass() {
    let mut m = matcher(false);
    run(&mut m, vec![(0, park(1)), (0, Input::Offer(task(5)))]);
    run(&mut m, vec![(0, Input::Return { task: task(5), rest_until: Some(at(2)) })]);
    assert_eq!(run(&mut m, vec![(0, Input::Offer(task(6))), (1, park(1))]), [matched(1, 6)]);
    assert_eq!(run(&mut m, vec![(1, park(2)), (1, Input::Wake)]), []);
    assert_eq!(run(&mut m, vec![(2, Input::Wake)]), [matched(2, 5)]);
}

#[test]
fn an_offer_made_twice_is_one_task() {
    let mut m = matcher(false);
    let again = Task { place: Place { rank: Rank::DEFAULT, number: 9 }, ..task(5) };
    run(&mut m, vec![(0, Input::Offer(task(5))), (0, Input::Offer(again.clone()))]);
    assert_eq!(run(&mut m, vec![(0, park(1))]), [matched(1, 5)]);
    assert_eq!(run(&mut m, vec![(0, Input::Offer(again.clone())), (0, park(2))]), []);
    // Once it is finished, an offer is news again: the shard refuses it if it is not.
    run(&mut m, vec![(0, Input::Finish { key: 5 })]);
    assert!(matches!(run(&mut m, vec![(0, Input::Offer(again))])[..], [Output::Match { .. }]));
}

#[test]
fn a_poller_past_its_deadline_gets_nothing() {
    let mut m = matcher(false);
    let ended = [Output::End { poller: PollerId(1), payload: 1 }];
    assert_eq!(run(&mut m, vec![(0, park(1)), (60, Input::Offer(task(5)))]), ended);
    let mut m = matcher(false);
    assert_eq!(run(&mut m, vec![(0, park(1)), (60, Input::Reserve)]), ended);
}

#[test]
fn a_reserved_poller_is_out_until_it_parks_again() {
    let mut m = matcher(false);
    let reserved = Output::Reserved { poller: PollerId(1), payload: 1 };
    assert_eq!(run(&mut m, vec![(0, park(1)), (0, park(2)), (0, Input::Reserve)]), [reserved]);
    assert_eq!(run(&mut m, vec![(0, Input::Offer(task(5)))]), [matched(2, 5)]);
    assert_eq!(run(&mut m, vec![(0, Input::Reserve)]), []);
    assert_eq!(run(&mut m, vec![(0, park(1)), (0, Input::Offer(task(6)))]), [matched(1, 6)]);
}

#[test]
fn a_sticky_queue_outlives_its_last_poller_by_its_window() {
    let mut m = matcher(true);
    assert_eq!(run(&mut m, vec![(0, Input::Offer(task(1)))]), [Output::Unavailable(1)]);
    run(&mut m, vec![(1, park(1)), (20, Input::Leave { poller: PollerId(1) })]);
    assert_eq!(run(&mut m, vec![(21, Input::Offer(task(2))), (29, Input::Wake)]), []);
    assert_eq!(run(&mut m, vec![(30, Input::Wake)]), [Output::Unavailable(2)]);
    assert_eq!(m.tasks(), 0);
    run(&mut m, vec![(31, park(1)), (31, Input::Leave { poller: PollerId(1) }), (31, Input::Offer(task(3)))]);
    assert_eq!(run(&mut m, vec![(31, Input::WorkerGone)]), [Output::Unavailable(3)]);
    assert_eq!(run(&mut m, vec![(31, Input::Offer(task(4)))]), [Output::Unavailable(4)]);
}

#[test]
fn closing_ends_everybody() {
    let mut m = matcher(false);
    run(&mut m, vec![(0, park(1)), (0, park(2)), (0, Input::Offer(task(5)))]);
    assert_eq!(run(&mut m, vec![(0, Input::Close)]), [Output::End { poller: PollerId(2), payload: 2 }]);
    // The held task comes back to nowhere.
    assert_eq!(run(&mut m, vec![(0, Input::Return { task: task(5), rest_until: None }), (0, park(3))]), []);
    assert_eq!(m.tasks(), 0);
}

/// A task that nobody ever offered.
const UNKNOWN: u64 = 99;

/// An input, and the outputs expected of it.
type Said = (Input<u64, u64, u64>, Vec<Output<u64, u64, u64>>);

/// One step of a random run; ids are small so that they meet.
#[derive(Clone, Debug)]
enum Act {
    Park(u64),
    Leave(u64),
    End(u64),
    Reserve,
    Offer(u64),
    Return { nth: usize, rest: Option<u64> },
    Finish { nth: usize },
    Withdraw(u64),
    EndAll,
    WorkerGone,
    Wake,
    Close,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..12_u64).prop_map(Act::Park),
        2 => (0..12_u64).prop_map(Act::Leave),
        1 => (0..12_u64).prop_map(Act::End),
        2 => Just(Act::Reserve),
        8 => (0..24_u64).prop_map(Act::Offer),
        4 => (0..8_usize, prop::option::of(0..20_u64)).prop_map(|(nth, rest)| Act::Return { nth, rest }),
        3 => (0..8_usize).prop_map(|nth| Act::Finish { nth }),
        1 => (0..24_u64).prop_map(Act::Withdraw),
        1 => Just(Act::EndAll),
        1 => Just(Act::WorkerGone),
        3 => Just(Act::Wake),
        1 => Just(Act::Close),
    ]
}

/// Lists, searched from the front. A poller lives for 15 s after it parks.
#[derive(Default)]
struct Model {
    sticky: bool,
    pollers: Vec<(u64, u64)>,
    waiting: Vec<u64>,
    resting: Vec<(u64, u64)>,
    held: Vec<u64>,
    last_poll: Option<u64>,
}

impl Model {
    fn knows(&self, number: u64) -> bool {
        let resting = self.resting.iter().any(|(task, _)| *task == number);
        resting || self.waiting.contains(&number) || self.held.contains(&number)
    }

    fn known(&self) -> usize {
        self.waiting.len() + self.resting.len() + self.held.len()
    }

    fn end_all(&mut self) -> Vec<Output<u64, u64, u64>> {
        self.pollers.drain(..).map(|(poller, _)| Output::End { poller: PollerId(poller), payload: poller }).collect()
    }

    fn pop(&mut self, now: u64) -> Option<(u64, bool)> {
        if self.pollers.is_empty() {
            return None;
        }
        self.last_poll = Some(now);
        let (poller, deadline) = self.pollers.remove(0);
        Some((poller, now < deadline))
    }

    fn settle(&mut self, now: u64) -> Vec<Output<u64, u64, u64>> {
        let mut out = Vec::new();
        while !self.waiting.is_empty() {
            match self.pop(now) {
                None => break,
                Some((poller, false)) => out.push(Output::End { poller: PollerId(poller), payload: poller }),
                Some((poller, true)) => {
                    let number = self.waiting.remove(0);
                    self.held.push(number);
                    out.push(matched(poller, number));
                }
            }
        }
        let polled =
            !self.pollers.is_empty() || self.last_poll.is_some_and(|last| now < last + STICKY_WINDOW.as_secs());
        if self.sticky && !polled {
            out.extend(self.waiting.drain(..).map(Output::Unavailable));
            self.resting.sort_unstable();
            out.extend(self.resting.drain(..).map(|(task, _)| Output::Unavailable(task)));
        }
        out
    }

    fn poller_act(&mut self, act: &Act, now: u64) -> Option<Said> {
        let seen = if self.pollers.is_empty() { self.last_poll } else { Some(now) };
        let mut expected = Vec::new();
        let input = match *act {
            Act::Park(poller) => {
                self.pollers.retain(|(known, _)| *known != poller);
                self.pollers.push((poller, now + 15));
                self.pollers.sort_unstable();
                self.last_poll = Some(now);
                Input::Park { poller: PollerId(poller), deadline: at(now + 15), payload: poller }
            }
            Act::Leave(poller) => {
                self.last_poll = seen;
                self.pollers.retain(|(known, _)| *known != poller);
                Input::Leave { poller: PollerId(poller) }
            }
            Act::End(poller) => {
                self.last_poll = seen;
                let ended = self.pollers.extract_if(.., |(known, _)| *known == poller);
                expected = ended.map(|_| Output::End { poller: PollerId(poller), payload: poller }).collect();
                Input::End { poller: PollerId(poller) }
            }
            Act::Reserve => {
                while self.waiting.is_empty()
                    && let Some((payload, alive)) = self.pop(now)
                {
                    let poller = PollerId(payload);
                    if alive {
                        expected.push(Output::Reserved { poller, payload });
                        break;
                    }
                    expected.push(Output::End { poller, payload });
                }
                Input::Reserve
            }
            Act::EndAll => {
                self.last_poll = seen;
                expected = self.end_all();
                Input::EndAll
            }
            Act::WorkerGone => {
                expected = self.end_all();
                self.last_poll = None;
                Input::WorkerGone
            }
            Act::Close => {
                expected = self.end_all();
                (self.waiting, self.resting, self.held) = Default::default();
                Input::Close
            }
            _ => return None,
        };
        Some((input, expected))
    }

    fn task_act(&mut self, act: &Act, now: u64) -> Said {
        let mut expected = Vec::new();
        let input = match *act {
            Act::Offer(number) => {
                if !self.knows(number) && self.known() < TASKS_MAX {
                    self.waiting.push(number);
                } else if !self.knows(number) {
                    expected.push(Output::Refused(number));
                }
                Input::Offer(task(number))
            }
            Act::Return { nth, rest } => {
                let rest_until = rest.map(|rest| at(now + rest));
                let held = self.take_held(nth);
                match (held, rest) {
                    (Some(number), Some(rest)) => self.resting.push((number, now + rest)),
                    (Some(number), None) => self.waiting.push(number),
                    (None, _) => {}
                }
                Input::Return { task: task(held.unwrap_or(UNKNOWN)), rest_until }
            }
            Act::Finish { nth } => Input::Finish { key: self.take_held(nth).unwrap_or(UNKNOWN) },
            Act::Withdraw(number) => {
                self.waiting.retain(|task| *task != number);
                self.held.retain(|task| *task != number);
                self.resting.retain(|(task, _)| *task != number);
                Input::Withdraw { place: task(number).place, key: number }
            }
            _ => {
                let rested = self.resting.extract_if(.., |(_, until)| *until <= now);
                self.waiting.extend(rested.map(|(task, _)| task));
                Input::Wake
            }
        };
        self.waiting.sort_unstable();
        (input, expected)
    }

    fn take_held(&mut self, nth: usize) -> Option<u64> {
        (nth < self.held.len()).then(|| self.held.remove(nth))
    }

    /// What to tell the matcher, and what it must say.
    fn act(&mut self, act: &Act, now: u64) -> Said {
        let (input, mut expected) = self.poller_act(act, now).unwrap_or_else(|| self.task_act(act, now));
        expected.extend(self.settle(now));
        (input, expected)
    }
}

proptest! {
    #[test]
    fn the_matcher_does_what_the_lists_do(
        sticky in any::<bool>(),
        acts in prop::collection::vec((act(), 0..4_u64), 1..120),
    ) {
        let mut m = matcher(sticky);
        let mut model = Model { sticky, ..Model::default() };
        let mut now = 0;
        for (act, passed) in acts {
            now += passed;
            let (input, expected) = model.act(&act, now);
            let mut out = Vec::new();
            m.step(input, at(now), &mut out);
            prop_assert_eq!(out, expected);
            prop_assert_eq!(m.tasks(), model.known());
            prop_assert_eq!(m.backlog(), model.waiting.len() + model.resting.len());
            prop_assert!(m.backlog() <= m.tasks() && m.tasks() <= TASKS_MAX);
            prop_assert!(m.unmatched().count() == model.resting.len() || m.pollers().len() == 0, "a poller and a task side by side");
        }
    }
}
