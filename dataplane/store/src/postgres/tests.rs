//! What is particular to PostgreSQL: several stores on one database, and everything that becomes of a server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use self::server::Server;
use super::{OpenError, PostgresOptions, PostgresStore, PostgresUrl};
use crate::conformance::{self, Fixture};
use crate::refusals::RefusalBounds;
use crate::{Store, StoreError};

mod batch;
mod opening;
mod outages;
mod plans;
mod replicas;
mod server;
mod side_by_side;
mod sweeping;
mod texts;
mod tls;

mod conforms {
    use super::{Postgres, conformance};

    conformance::suite!(Postgres::empty().await);
}

/// With the statements for many, each asked even for one.
mod conforms_batched {
    use super::{Postgres, PostgresOptions, Server, conformance};

    conformance::suite!(
        Postgres::on(
            Server::shared(),
            PostgresOptions {
                batch_from: 1,
                ..PostgresOptions::default()
            }
        )
        .await
    );
}

/// What a caller may wait for at most.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// A schema of its own, and a user who finds it.
#[derive(Debug)]
struct Postgres {
    server: Arc<Server>,
    user: String,
    options: PostgresOptions,
    store: Option<Arc<PostgresStore>>,
}

impl Postgres {
    async fn empty() -> Self {
        Self::on(Server::shared(), PostgresOptions::default()).await
    }

    async fn on(server: Arc<Server>, options: PostgresOptions) -> Self {
        let user = created(&server).await;
        let store = opened(&server.url(&user), options.clone()).await;
        Self {
            options,
            store: Some(Arc::new(store.expect("an empty database opens"))),
            server,
            user,
        }
    }

    fn postgres(&self) -> Arc<PostgresStore> {
        Arc::clone(self.store.as_ref().expect("the store is open"))
    }

    /// Another data plane's.
    async fn second(&self) -> Arc<PostgresStore> {
        let store = opened(&self.url(), self.options.clone()).await;
        Arc::new(store.expect("the database opens"))
    }

    fn url(&self) -> String {
        self.server.url(&self.user)
    }

    async fn run(&self, sql: &str) {
        self.server.run(&self.user, sql).await;
    }

    /// The one number that a query of another connection finds.
    async fn number(&self, sql: &str) -> i64 {
        self.server.number(&self.user, sql).await
    }
}

impl Fixture for Postgres {
    fn store(&self) -> Arc<Store> {
        Arc::new(self.postgres().into())
    }

    fn reopen(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            drop(self.store.take());
            self.store = Some(self.second().await);
        })
    }

    fn reopen_with(
        &mut self,
        refusals: RefusalBounds,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.options.refusals = refusals;
        self.reopen()
    }

    fn ask(&self, sql: &'static str) -> Pin<Box<dyn Future<Output = i64> + Send + '_>> {
        Box::pin(self.number(sql))
    }

    fn events(&self) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        Box::pin(async {
            let count = self.number("SELECT count(*) FROM events").await;
            usize::try_from(count).expect("a count")
        })
    }
}

/// The name of a new user, with a new and empty schema of that name: far cheaper than a database each.
async fn created(server: &Server) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let password = &server.password;
    let sql = format!(
        "CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'; CREATE SCHEMA {name} AUTHORIZATION {name}; \
         ALTER ROLE {name} SET search_path = {name}"
    );
    server.run("postgres", &sql).await;
    name
}

async fn opened(url: &str, options: PostgresOptions) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(PostgresUrl::parse(url, None)?, options).await
}

/// What an opening that must fail says.
async fn failure(url: &str) -> String {
    let options = PostgresOptions {
        start_wait: Duration::ZERO,
        ..PostgresOptions::default()
    };
    let error = opened(url, options).await.err();
    error.expect("it does not open").to_string()
}

#[track_caller]
fn unavailable<T>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(sentence)) => sentence,
        Err(StoreError::Busy) => panic!("the store is busy"),
        Ok(_) => panic!("the store is available"),
    }
}

#[track_caller]
fn assert_says(sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "without {word:?}: {sentence}");
    }
}

/// Asks until the answer is `Ok`; how long that took.
async fn until_ok<T, F>(mut ask: impl FnMut() -> F) -> Duration
where
    F: Future<Output = Result<T, StoreError>>,
{
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(_) => return began.elapsed(),
            Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
