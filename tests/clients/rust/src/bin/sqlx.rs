//! sqlx with its pool: a hook names the tenant whenever a connection is taken, and the login's
//! token can be replaced while the pool is in use.

use std::time::Duration;

use futures_util::TryStreamExt;
use pgusher_clients::*;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Acquire, ConnectOptions, Connection, Executor, PgConnection, Postgres, Row};
use tokio::time::sleep;

// docs: begin
/// A pool for one tenant: every connection that is taken gets a token that is not old.
async fn pool_of(tenant: i64) -> PgPool {
    let login = PgConnectOptions::new().password(&fetch_token(tenant));
    let options = PgPoolOptions::new()
        .max_connections(2)
        .before_acquire(move |conn, _| {
            Box::pin(async move {
                // A token has no quotes in it, so none are escaped.
                let set = format!("SET usher.token = '{}'", fetch_token(tenant));
                conn.execute(set.as_str()).await?;
                Ok(true)
            })
        });
    options.connect_with(login).await.unwrap()
}

/// To be called before the token that the pool logs in with has expired.
fn renew_login(pool: &PgPool, tenant: i64) {
    pool.set_connect_options(PgConnectOptions::new().password(&fetch_token(tenant)));
}
// docs: end

async fn bodies<'c>(db: impl Executor<'c, Database = Postgres>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT body FROM note ORDER BY id")
        .fetch_all(db)
        .await
}

async fn login(token: &str) -> sqlx::Result<PgConnection> {
    PgConnectOptions::new().password(token).connect().await
}

/// The server's message of the refusal, whose SQLSTATE must be that one.
fn refused<T>(result: sqlx::Result<T>, state: &str) -> String {
    let error = result.err().expect("was not refused");
    let fault = error
        .as_database_error()
        .unwrap_or_else(|| panic!("not the server's: {error}"));
    assert_eq!(fault.code().unwrap(), state, "{fault}");
    fault.message().to_string()
}

async fn check_tenants(pools: &[PgPool]) {
    for (pool, tenant) in pools.iter().zip([tenant_a(), tenant_b()]) {
        let body = format!("{tenant}: 0");
        let insert = sqlx::query("INSERT INTO note (body) VALUES ($1), ('gone')").bind(&body);
        insert.execute(pool).await.unwrap();
        let update = sqlx::query("UPDATE note SET body = body || '!' WHERE body <> $1");
        update.bind("gone").execute(pool).await.unwrap();
        let gone = pool
            .execute("DELETE FROM note WHERE body = 'gone'")
            .await
            .unwrap();
        assert_eq!(gone.rows_affected(), 1);
        assert_eq!(bodies(pool).await.unwrap(), [body + "!"]);
    }
    let spoof = sqlx::query("INSERT INTO note (tenant_id, body) VALUES ($1, 'spoof')");
    ok(
        "tenants",
        refused(spoof.bind(tenant_a()).execute(&pools[1]).await, "42501"),
    );
}

async fn check_renewal() {
    let mut renewed = login(&brief_token(tenant_a())).await.unwrap();
    let mut left = login(&brief_token(tenant_a())).await.unwrap();
    sleep(BRIEF + Duration::from_secs(1)).await;
    let set = format!("SET usher.token = '{}'", fetch_token(tenant_a()));
    renewed.execute(set.as_str()).await.unwrap();
    assert_eq!(bodies(&mut renewed).await.unwrap().len(), 1);
    ok("renewal", refused(bodies(&mut left).await, "28000"));
}

async fn check_prepared(pool: &PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    // More texts than its cache holds (100): it closes the oldest.
    for n in 0..150i32 {
        let text = format!("SELECT {n} + $1");
        let row = sqlx::query(&text)
            .bind(n)
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        assert_eq!(row.get::<i32, _>(0), 2 * n);
    }
    conn.clear_cached_statements().await.unwrap();
    let once = sqlx::query("SELECT count(*) FROM note").persistent(false);
    assert_eq!(
        once.fetch_one(&mut *conn).await.unwrap().get::<i64, _>(0),
        1
    );
    let rows: Vec<_> = sqlx::raw_sql("SELECT 1; SELECT 2")
        .fetch(&mut *conn)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rows.len(), 2);
    ok(
        "prepared",
        "the statement cache run over, persistent(false), raw_sql",
    );
}

async fn check_savepoint(pool: &PgPool) {
    let mut outer = pool.begin().await.unwrap();
    outer
        .execute("INSERT INTO note (body) VALUES ('kept')")
        .await
        .unwrap();
    let mut inner = outer.begin().await.unwrap();
    refused(
        inner.execute("INSERT INTO note (body) VALUES (NULL)").await,
        "23502",
    );
    inner.rollback().await.unwrap();
    outer.commit().await.unwrap();
    // One that is dropped is rolled back before the connection's next use.
    let mut dropped = pool.begin().await.unwrap();
    dropped
        .execute("INSERT INTO note (body) VALUES ('lost')")
        .await
        .unwrap();
    drop(dropped);
    assert_eq!(bodies(pool).await.unwrap().last().unwrap(), "kept");
    ok("savepoint", "nested begin(), a transaction that is dropped");
}

async fn check_batch(pool: &PgPool) {
    let texts: Vec<String> = (0..500).map(|n| format!("many {n}")).collect();
    let insert = sqlx::query("INSERT INTO note (body) SELECT * FROM unnest($1::text[])");
    assert_eq!(
        insert
            .bind(&texts)
            .execute(pool)
            .await
            .unwrap()
            .rows_affected(),
        500
    );
    ok("batch", "one INSERT of an array");
}

async fn check_copy(pool: &PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    let mut sink = conn.copy_in_raw("COPY import FROM STDIN").await.unwrap();
    for n in 0..1000 {
        sink.send(format!("{n}\trow {n}\n").as_bytes())
            .await
            .unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 1000);
    let out = conn
        .copy_out_raw("COPY (SELECT * FROM import) TO STDOUT")
        .await
        .unwrap();
    assert_eq!(out.try_collect::<Vec<_>>().await.unwrap().len(), 1000);
    ok("copy", "copy_in_raw, copy_out_raw");
}

async fn check_cancel(pool: &PgPool) {
    let mut tx = pool.begin().await.unwrap();
    tx.execute("SET LOCAL statement_timeout = '50ms'")
        .await
        .unwrap();
    ok(
        "cancel",
        refused(tx.execute("SELECT pg_sleep(60)").await, "57014"),
    );
    tx.rollback().await.unwrap();
}

async fn check_restart(pool: &PgPool, tenant: i64) {
    let before = bodies(pool).await.unwrap();
    ask("restart");
    renew_login(pool, tenant);
    assert_eq!(bodies(pool).await.unwrap(), before);
    ok(
        "restart",
        "before_acquire finds what is gone, the pool replaces it",
    );
}

async fn check_source(pool: &PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    let port = sqlx::query_scalar("SELECT inet_server_port()");
    let port: i32 = port.fetch_one(&mut *conn).await.unwrap();
    let source = sqlx::query_scalar("SHOW usher.data_source");
    let source: String = source.fetch_one(&mut *conn).await.unwrap();
    assert_eq!(source, ask(&format!("node {port}")));
    ok("source", source);
}

#[tokio::main]
async fn main() {
    ok("login", refused(login("no.token.this").await, "28000"));
    let pools = [pool_of(tenant_a()).await, pool_of(tenant_b()).await];
    check_tenants(&pools).await;
    check_renewal().await;
    check_prepared(&pools[0]).await;
    check_savepoint(&pools[0]).await;
    check_batch(&pools[1]).await;
    check_copy(&pools[1]).await;
    check_cancel(&pools[0]).await;
    check_restart(&pools[0], tenant_a()).await;
    check_source(&pools[0]).await;
}
