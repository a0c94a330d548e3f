//! From scores to what a threshold does.

/// Of a threshold: who is asked for a second factor, as shares of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub people: f64,
    pub attackers: f64,
}

/// From nobody to everybody. Between two thresholds lies who is asked at random.
pub fn curve(people: &[u8], attackers: &[u8]) -> Vec<Point> {
    let share = |scores: &[u8], threshold: u32| {
        let over = scores
            .iter()
            .filter(|score| u32::from(**score) >= threshold);
        over.count() as f64 / scores.len().max(1) as f64
    };
    (0..=101)
        .rev()
        .map(|threshold| Point {
            people: share(people, threshold),
            attackers: share(attackers, threshold),
        })
        .collect()
}

/// The share of attackers at a share of people.
pub fn attackers_at(curve: &[Point], people: f64) -> f64 {
    for pair in curve.windows(2) {
        let [before, after] = pair else { continue };
        // The lowest threshold that asks no more people, and from there towards the next.
        if after.people > people {
            let part = (people - before.people) / (after.people - before.people);
            return before.attackers + part * (after.attackers - before.attackers);
        }
    }
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_between_two_groups_tells_them_apart() {
        let curve = curve(&[10, 20, 30, 40], &[25, 50]);
        assert_eq!(
            curve.first(),
            Some(&Point {
                people: 0.0,
                attackers: 0.0
            })
        );
        assert_eq!(
            curve.last(),
            Some(&Point {
                people: 1.0,
                attackers: 1.0
            })
        );
        assert!((attackers_at(&curve, 0.25) - 0.5).abs() < 1e-9);
        assert!((attackers_at(&curve, 0.5) - 1.0).abs() < 1e-9);
        // Half way between asking nobody and asking the one with 40 points.
        assert!((attackers_at(&curve, 0.125) - 0.5).abs() < 1e-9);
    }
}
