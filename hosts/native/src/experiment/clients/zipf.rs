//! Zipf's distribution: of many, the first are chosen most.

use dayfly_engine::Chance;

/// Draws numbers below a bound, the number k with a weight of 1 / (k + 1)^s.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// The sums of the weights up to each number.
    sums: Vec<f64>,
}

impl Zipf {
    /// Numbers below `count`, which must not be 0; the exponent 0 makes all alike.
    pub fn new(count: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=count).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Self { sums: weights.collect() }
    }

    /// Draws one.
    pub fn draw(&self, chance: &mut Chance) -> u32 {
        let whole = self.sums.last().copied().expect("there is at least one");
        let at = chance.next_f64() * whole;
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_weights() {
        let zipf = Zipf::new(4, 1.0);
        let mut chance = Chance::new(3);
        let mut counts = [0u32; 4];
        (0..25_000).for_each(|_| counts[zipf.draw(&mut chance) as usize] += 1);
        // Weights 12, 6, 4, 3 of 25.
        for (count, expected) in counts.into_iter().zip([12_000.0, 6_000.0, 4_000.0, 3_000.0]) {
            assert!((f64::from(count) / expected - 1.0).abs() < 0.06, "{counts:?}");
        }
    }
}
