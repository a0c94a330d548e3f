//! Fixed answers in the place of a database: for measuring what a database costs.

use std::any::{Any, TypeId};
use std::fmt;

use crate::operation::Operation;
use crate::{StoreError, StoreFuture};

type Answer = Box<dyn Fn(&dyn Any) -> Box<dyn Any> + Send + Sync>;

/// What is answered to which operation; to any other, that the store cannot be used.
#[derive(Default)]
pub struct Answers(Vec<(TypeId, Answer)>);

impl Answers {
    #[must_use]
    pub fn to<O: Operation>(
        mut self,
        answer: impl Fn(&O) -> Option<O::Answer> + Send + Sync + 'static,
    ) -> Self {
        let answer: Answer =
            Box::new(move |operation| Box::new(operation.downcast_ref::<O>().and_then(&answer)));
        self.0.push((TypeId::of::<O>(), answer));
        self
    }

    pub(crate) fn run<O: Operation>(&self, operation: &O) -> StoreFuture<'static, O::Answer> {
        let known = self.0.iter().find(|(of, _)| *of == TypeId::of::<O>());
        let answer = known
            .and_then(|(_, answer)| answer(operation).downcast::<Option<O::Answer>>().ok())
            .and_then(|answer| *answer);
        let nothing = || StoreError::Unavailable("it has no answer to this".to_owned());
        Box::pin(std::future::ready(answer.ok_or_else(nothing)))
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answers({})", self.0.len())
    }
}
