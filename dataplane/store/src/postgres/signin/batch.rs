//! Sign-ins of known users whose profiles have not changed, many in one statement.
//!
//! All that isolates one ([`super`]) isolates these as well. No user's row is waited for: where it
//! is locked by another transaction, or gone, the user signs in alone. Rows of the replay guard and
//! of histories, which two batches may have in common, are taken in the order of their keys, so
//! that neither waits for the other in a circle.

use uuid::Uuid;

use super::text::{Parts, many};
use super::{Connection, Fault, outcome_of, parameters};
use crate::postgres::batch::{AskBatch, column, place_of};
use crate::statements::value::arrays;
use crate::{Account, Signin, SigninOutcome};

impl Signin {
    /// Whether it is one that others can be asked for along with.
    pub(in crate::postgres) fn goes_in_a_batch(&self) -> bool {
        self.completion.is_none() && self.known_user().is_some()
    }

    /// The user, when nothing about the user changes.
    fn known_user(&self) -> Option<Uuid> {
        match self.account {
            Account::Existing {
                user_id,
                profile: None,
            } => Some(user_id),
            Account::Existing {
                profile: Some(_), ..
            }
            | Account::Create { .. }
            | Account::Link { .. } => None,
        }
    }
}

impl AskBatch for Signin {
    fn goes_with(&self, other: &Self) -> bool {
        let digest = |signin: &Self| signin.replay.map(|key| key.digest);
        let one_token = self.replay.is_some() && digest(self) == digest(other);
        !one_token && self.known_user() != other.known_user()
    }

    async fn ask_batch(
        questions: &[&Self],
        db: &mut Connection,
    ) -> Result<Vec<Option<SigninOutcome>>, Fault> {
        let parts = Parts::new(
            questions.iter().any(|asked| asked.replay.is_some()),
            questions.iter().any(|asked| asked.history.is_some()),
        );
        let statement = db.prepared(many(parts)).await?;
        let rows = column(questions, |asked| {
            asked.values(asked.known_user().unwrap_or_default(), parts)
        });
        let columns = arrays(&rows);
        let mut answers = vec![None; questions.len()];
        for row in db.client.query(&statement, &parameters(&columns)).await? {
            if let Some(answer) = answers.get_mut(place_of(&row)?) {
                *answer = Some(outcome_of(&row)?);
            }
        }
        Ok(answers)
    }
}
