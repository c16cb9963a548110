//! tokio-postgres with deadpool: a connection is logged in with a token that is not old, and
//! whoever takes one names the tenant.

use std::io;
use std::time::Duration;

use deadpool_postgres::{
    Connect, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod,
};
use futures_util::future::{try_join_all, BoxFuture};
use futures_util::{pin_mut, SinkExt, TryStreamExt};
use pgusher_clients::*;
use tokio::{task::JoinHandle, time::sleep};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, GenericClient, NoTls};

// docs: begin
/// Logs each new connection in with a token that is not old.
struct TokenLogin;

impl Connect for TokenLogin {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let mut config = config.clone();
        Box::pin(async move {
            config.password(fetch_token(tenant_a()));
            let (client, connection) = config.connect(NoTls).await?;
            Ok((
                client,
                tokio::spawn(async { connection.await.unwrap_or(()) }),
            ))
        })
    }
}

fn pool(server: Config) -> Pool {
    let recycle = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_connect(server, TokenLogin, recycle);
    let reset = Hook::async_fn(|client, _| {
        Box::pin(async move {
            let reset = client.batch_execute("RESET usher.token").await;
            reset.map_err(HookError::Backend)
        })
    });
    Pool::builder(manager)
        .max_size(2)
        .pre_recycle(reset)
        .build()
        .unwrap()
}

async fn client_of(pool: &Pool, tenant: i64) -> Object {
    let client = pool.get().await.unwrap();
    // A token has no quotes in it, so none are escaped.
    let set = format!("SET usher.token = '{}'", fetch_token(tenant));
    client.batch_execute(&set).await.unwrap();
    client
}
// docs: end

fn server() -> Config {
    let mut config = Config::new();
    config
        .host(env("PGHOST"))
        .port(env("PGPORT").parse().unwrap())
        .user(env("PGUSER"));
    config.dbname(env("PGDATABASE"));
    config
}

async fn login(token: &str) -> Result<Client, Error> {
    let (client, connection) = server().password(token).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn bodies(client: &impl GenericClient) -> Result<Vec<String>, Error> {
    let rows = client
        .query("SELECT body FROM note ORDER BY id", &[])
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The server's message of the refusal, whose SQLSTATE must be that one.
fn refused<T>(result: Result<T, Error>, state: &str) -> String {
    let error = result.err().expect("was not refused");
    let fault = error
        .as_db_error()
        .unwrap_or_else(|| panic!("not the server's: {error}"));
    assert_eq!(fault.code().code(), state, "{fault}");
    fault.message().to_string()
}

async fn check_tenants(pool: &Pool) {
    for tenant in [tenant_a(), tenant_b()] {
        let client = client_of(pool, tenant).await;
        let body = format!("{tenant}: 0");
        let insert = "INSERT INTO note (body) VALUES ($1), ('gone')";
        client.execute(insert, &[&body]).await.unwrap();
        let update = "UPDATE note SET body = body || '!' WHERE body <> $1";
        client.execute(update, &[&"gone"]).await.unwrap();
        let gone = client
            .execute("DELETE FROM note WHERE body = 'gone'", &[])
            .await
            .unwrap();
        assert_eq!(gone, 1);
        assert_eq!(bodies(&**client).await.unwrap(), [body + "!"]);
    }
    let client = client_of(pool, tenant_b()).await;
    let spoof = "INSERT INTO note (tenant_id, body) VALUES ($1, 'spoof')";
    ok(
        "tenants",
        refused(client.execute(spoof, &[&tenant_a()]).await, "42501"),
    );
}

async fn check_renewal() {
    let renewed = login(&brief_token(tenant_a())).await.unwrap();
    let left = login(&brief_token(tenant_a())).await.unwrap();
    sleep(BRIEF + Duration::from_secs(1)).await;
    let set = format!("SET usher.token = '{}'", fetch_token(tenant_a()));
    renewed.batch_execute(&set).await.unwrap();
    assert_eq!(bodies(&renewed).await.unwrap().len(), 1);
    ok("renewal", refused(bodies(&left).await, "28000"));
}

async fn check_prepared(pool: &Pool) {
    let client = client_of(pool, tenant_a()).await;
    let count = "SELECT count(*) FROM note WHERE id > $1";
    let kept = client.prepare(count).await.unwrap();
    for _ in 0..20 {
        let row = client.query_one(&kept, &[&0i64]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
        let cached = client.prepare_cached(count).await.unwrap();
        client.query_one(&cached, &[&0i64]).await.unwrap();
    }
    // A type that the driver looks up in the catalogue, with queries of its own.
    let looked_up = "SELECT NULL::pg_namespace";
    client.query_one(looked_up, &[]).await.unwrap();
    ok(
        "prepared",
        "prepare, deadpool's prepare_cached, a looked-up type",
    );
}

async fn check_savepoint(pool: &Pool) {
    let mut client = client_of(pool, tenant_a()).await;
    let mut outer = client.transaction().await.unwrap();
    outer
        .execute("INSERT INTO note (body) VALUES ('kept')", &[])
        .await
        .unwrap();
    let inner = outer.transaction().await.unwrap();
    let failed = inner
        .execute("INSERT INTO note (body) VALUES (NULL)", &[])
        .await;
    refused(failed, "23502");
    inner.rollback().await.unwrap();
    let five = outer.prepare("SELECT generate_series(1, 5)").await.unwrap();
    let portal = outer.bind(&five, &[]).await.unwrap();
    assert_eq!(outer.query_portal(&portal, 3).await.unwrap().len(), 3);
    assert_eq!(outer.query_portal(&portal, 3).await.unwrap().len(), 2);
    outer.commit().await.unwrap();
    assert_eq!(bodies(&**client).await.unwrap().last().unwrap(), "kept");
    ok("savepoint", "nested transaction(), a portal");
}

async fn check_batch(pool: &Pool) {
    let client = client_of(pool, tenant_b()).await;
    let insert = client
        .prepare("INSERT INTO note (body) VALUES ($1)")
        .await
        .unwrap();
    let texts: Vec<String> = (0..100).map(|n| format!("many {n}")).collect();
    let values: Vec<[&(dyn ToSql + Sync); 1]> = texts.iter().map(|text| [text as _]).collect();
    let done = try_join_all(values.iter().map(|one| client.execute(&insert, one)))
        .await
        .unwrap();
    assert_eq!(done, vec![1; 100]);
    client
        .batch_execute("BEGIN; DELETE FROM note WHERE body = 'many 0'; COMMIT")
        .await
        .unwrap();
    ok("batch", "100 queries in a pipeline, batch_execute");
}

async fn check_copy(pool: &Pool) {
    let client = client_of(pool, tenant_b()).await;
    let sink = client.copy_in("COPY import FROM STDIN").await.unwrap();
    pin_mut!(sink);
    for n in 0..1000 {
        sink.send(io::Cursor::new(format!("{n}\trow {n}\n")))
            .await
            .unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 1000);
    let out = client
        .copy_out("COPY (SELECT * FROM import) TO STDOUT")
        .await
        .unwrap();
    let lines = out
        .try_fold(0, |n, _| async move { Ok(n + 1) })
        .await
        .unwrap();
    assert_eq!(lines, 1000);
    ok("copy", "copy_in, copy_out");
}

async fn check_cancel(pool: &Pool) {
    let client = client_of(pool, tenant_a()).await;
    let cancel = client.cancel_token();
    tokio::spawn(async move {
        sleep(Duration::from_millis(300)).await;
        cancel.cancel_query(NoTls).await.unwrap();
    });
    ok(
        "cancel",
        refused(client.batch_execute("SELECT pg_sleep(60)").await, "57014"),
    );
}

async fn check_restart(pool: &Pool) {
    let before = bodies(&**client_of(pool, tenant_a()).await).await.unwrap();
    ask("restart");
    let client = client_of(pool, tenant_a()).await;
    assert_eq!(bodies(&**client).await.unwrap(), before);
    ok("restart", "the pool drops what the proxy has closed");
}

async fn check_source(pool: &Pool) {
    let client = client_of(pool, tenant_a()).await;
    let row = client
        .query_one("SELECT inet_server_port()", &[])
        .await
        .unwrap();
    let node = ask(&format!("node {}", row.get::<_, i32>(0)));
    let row = client
        .query_one("SHOW usher.data_source", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), node);
    ok("source", node);
}

#[tokio::main]
async fn main() {
    ok("login", refused(login("no.token.this").await, "28000"));
    let pool = pool(server());
    check_tenants(&pool).await;
    check_renewal().await;
    check_prepared(&pool).await;
    check_savepoint(&pool).await;
    check_batch(&pool).await;
    check_copy(&pool).await;
    check_cancel(&pool).await;
    check_restart(&pool).await;
    check_source(&pool).await;
}
