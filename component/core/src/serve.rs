//! The answering side of repair: a function of the state and the request. Nothing is remembered.

use crate::chunk::Chunk;
use crate::frame::{Answer, Ask, Want};
use crate::intervals::DotSet;
use crate::store::{Piece, Range, Store};

/// The most bytes that one request gets, whatever it asks for: what a host can send in one go.
pub const ANSWER_MAX_BYTES: usize = 16 << 20;
/// Into how many parts an outline cuts the rest.
const OUTLINE_PARTS: usize = 8;

/// What a request gets, and whether it shows that the asker knows something that is unknown here.
pub struct Served {
    /// The pieces, newest dots first.
    pub answers: Vec<Answer>,
    /// Ask the asker in turn.
    pub knows_more: bool,
}

/// Answers a request from this state, in frames filled to `fill_bytes`.
pub fn serve(store: &Store, ask: &Ask, fill_bytes: usize) -> Served {
    let mut served = find(store, ask, fill_bytes);
    served.answers.iter_mut().for_each(|answer| answer.entries = store.entry_count() as u64);
    served
}

fn find(store: &Store, ask: &Ask, fill_bytes: usize) -> Served {
    let budget = (ask.budget_bytes as usize).min(ANSWER_MAX_BYTES);
    match &ask.want {
        Want::All { ranges, members: _ } => {
            let mut answers = Vec::new();
            for range in ranges.iter().rev() {
                gather(store, ask.session, range, None, fill_bytes, budget, &mut answers);
            }
            let end = answers.last().map(|last| last.covers.low);
            let is_unfinished = end.zip(ranges.iter().next()).is_some_and(|(end, lowest)| lowest.low < end);
            if is_unfinished && let (Some(first), Some(end)) = (answers.first_mut(), end) {
                // Of what this answer does not bring: the other pieces of it are under way.
                let rest = ranges.iter().map(|range| Range { high: range.high.min(end), ..range });
                first.outline = outline(store, rest);
            }
            Served { answers: mark_last(answers), knows_more: false }
        }
        Want::Sketched { sketch, gaps } => match store.lack_by_sketch(sketch, gaps) {
            Some(lack) => {
                let mut answers = Vec::new();
                gather(store, ask.session, Range::ALL, Some(&lack.dots), fill_bytes, budget, &mut answers);
                Served { answers: mark_last(answers), knows_more: lack.knows_more }
            }
            None => {
                let mut answers = Vec::new();
                if !gaps.is_empty() {
                    gather(store, ask.session, Range::ALL, Some(gaps), fill_bytes, budget, &mut answers);
                }
                if answers.is_empty() {
                    answers.push(answer(ask.session, Piece { chunk: Chunk::default(), covers: Range::ALL }));
                }
                answers.iter_mut().for_each(|answer| answer.undecoded = true);
                Served { answers: mark_last(answers), knows_more: false }
            }
        },
        Want::Described { range, description } => {
            let lack = store.lack_by_description(*range, description);
            let mut answers = Vec::new();
            gather(store, ask.session, *range, Some(&lack.dots), fill_bytes, budget, &mut answers);
            Served { answers: mark_last(answers), knows_more: lack.knows_more }
        }
    }
}

/// Appends the pieces of a range until the budget is spent.
fn gather(
    store: &Store,
    session: u64,
    range: Range,
    only: Option<&DotSet>,
    fill_bytes: usize,
    budget_bytes: usize,
    answers: &mut Vec<Answer>,
) {
    for piece in store.walk_down(range, only, fill_bytes) {
        // Full frames but the last: counting frames bounds the bytes.
        if !answers.is_empty() && (answers.len() + 1) * fill_bytes > budget_bytes {
            break;
        }
        answers.push(answer(session, piece));
    }
}

fn answer(session: u64, piece: Piece) -> Answer {
    let Piece { chunk, covers } = piece;
    Answer { session, covers, last: false, undecoded: false, entries: 0, outline: Vec::new(), chunk }
}

fn mark_last(mut answers: Vec<Answer>) -> Vec<Answer> {
    if let Some(last) = answers.last_mut() {
        last.last = true;
    }
    answers
}

/// Cuts of these ranges into parts of about equal weight.
fn outline(store: &Store, ranges: impl Iterator<Item = Range>) -> Vec<crate::dot::Dot> {
    let weight = store.entry_count() / OUTLINE_PARTS + 1;
    ranges
        .filter(|range| !range.is_empty())
        .flat_map(|range| store.cut(range, weight))
        .skip(1)
        .map(|part| part.low)
        .take(4 * OUTLINE_PARTS)
        .collect()
}
