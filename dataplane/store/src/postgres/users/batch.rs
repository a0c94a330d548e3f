//! Who the users of many identities are, in one statement.

use super::{Connection, Fault, Gather, Gathered, USER_COLUMNS, history_of, read, user_columns};
use crate::postgres::batch::{AskBatch, column, place_of};

/// Each by the primary keys, however small the tables were when the statement was planned.
macro_rules! known_of_many {
    ($more:literal, $join:literal) => {
        concat!(
            "SELECT a.place, k.* FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY \
             AS a (policy, issuer, subject, place) CROSS JOIN LATERAL (SELECT ",
            user_columns!(),
            $more,
            " FROM identities i JOIN users u ON u.id = i.user_id",
            $join,
            " WHERE i.policy = a.policy AND i.issuer = a.issuer AND i.subject = a.subject LIMIT 1) k"
        )
    };
}

pub(in crate::postgres) const KNOWN: &str = known_of_many!("", "");
pub(in crate::postgres) const KNOWN_WITH_HISTORY: &str = known_of_many!(
    ", h.version, h.content",
    " LEFT JOIN risk_history h ON h.user_id = u.id"
);

impl AskBatch for Gather {
    fn goes_with(&self, _other: &Self) -> bool {
        true
    }

    /// An identity that is unknown and may be linked by an address is asked for again, with the
    /// owners of the address.
    async fn ask_batch(
        questions: &[&Self],
        db: &mut Connection,
    ) -> Result<Vec<Option<Gathered>>, Fault> {
        let history = questions.iter().any(|asked| asked.history);
        let text = if history { KNOWN_WITH_HISTORY } else { KNOWN };
        let statement = db.prepared(text).await?;
        let policies = column(questions, |asked| &asked.identity.policy);
        let issuers = column(questions, |asked| &asked.identity.issuer);
        let subjects = column(questions, |asked| &asked.identity.subject);
        let mut answers = column(questions, |asked| {
            let unknown = asked.linkable_email.is_none();
            unknown.then(Gathered::default)
        });
        let rows = db
            .client
            .query(&statement, &[&policies, &issuers, &subjects])
            .await?;
        for row in rows {
            let place = place_of(&row)?;
            let (Some(asked), Some(answer)) = (questions.get(place), answers.get_mut(place)) else {
                continue;
            };
            *answer = Some(Gathered {
                user: Some(read(&row, 1)?),
                email_owners: Vec::new(),
                history: if asked.history {
                    history_of(&row, 1 + USER_COLUMNS)?
                } else {
                    None
                },
            });
        }
        Ok(answers)
    }
}
