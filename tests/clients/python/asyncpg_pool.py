"""asyncpg with its pool: `setup` names the tenant whenever a connection is taken."""

import asyncio
import contextlib
import contextvars
import os

import asyncpg

from checks import BRIEF_S, TENANT_A, TENANT_B, ask, fetch_token, ok

# docs: begin
tenant = contextvars.ContextVar("tenant")  # set by the web framework for each request


async def login_token():
    """asyncpg calls it for each new connection."""
    return fetch_token(TENANT_A)


async def setup(conn):
    """Called whenever a connection is taken. A token has no quotes in it, so none are escaped."""
    await conn.execute(f"SET usher.token = '{fetch_token(tenant.get())}'")


def make_pool():
    return asyncpg.create_pool(password=login_token, setup=setup, min_size=1, max_size=2)
# docs: end


async def refused(call, error_type):
    """The error that the awaited call ends with."""
    try:
        await call
    except error_type as error:
        return error
    raise AssertionError("was not refused")


async def bodies(conn):
    return [row["body"] for row in await conn.fetch("SELECT body FROM note ORDER BY id")]


async def check_login():
    conn = await asyncpg.connect(password=fetch_token(TENANT_A))
    assert await conn.fetchval("SELECT current_user") == os.environ["PGUSER"]
    await conn.close()
    bad = asyncpg.connect(password="no.token.this")
    ok("login", await refused(bad, asyncpg.InvalidAuthorizationSpecificationError))


async def check_tenants(pool):
    for who in (TENANT_A, TENANT_B):
        tenant.set(who)
        async with pool.acquire() as conn:
            await conn.execute("INSERT INTO note (body) VALUES ($1), ($2)", f"{who}: 0", "gone")
            await conn.execute("UPDATE note SET body = body || '!' WHERE body <> 'gone'")
            assert await conn.execute("DELETE FROM note WHERE body = 'gone'") == "DELETE 1"
            assert await bodies(conn) == [f"{who}: 0!"]
    spoof = pool.execute("INSERT INTO note (tenant_id, body) VALUES ($1, 'spoof')", TENANT_A)
    ok("tenants", await refused(spoof, asyncpg.InsufficientPrivilegeError))


async def check_renewal():
    brief = [await asyncpg.connect(password=fetch_token(TENANT_A, BRIEF_S)) for _ in range(2)]
    await asyncio.sleep(BRIEF_S + 1)
    await brief[0].execute(f"SET usher.token = '{fetch_token(TENANT_A)}'")
    assert len(await bodies(brief[0])) == 1
    await brief[0].close()
    error = await refused(bodies(brief[1]), asyncpg.PostgresConnectionError)
    assert "the token has expired" in str(error), error
    ok("renewal", error)


async def check_prepared(pool):
    async with pool.acquire() as conn:
        count = await conn.prepare("SELECT count(*) FROM note WHERE id > $1")
        for _ in range(20):
            assert await count.fetchval(0) == 1
        assert [a.name for a in count.get_attributes()] == ["count"]
        # asyncpg looks up a type that it does not know, with a query of its own.
        assert await conn.fetchval("SELECT $1::aclitem[]", []) == []
        # More texts than its cache of statements holds.
        for n in range(150):
            assert await conn.fetchval(f"SELECT {n} + $1::int", n) == 2 * n
    ok("prepared", "prepare(), the statement cache run over, a looked-up type")


async def check_savepoint(pool):
    async with pool.acquire() as conn:
        async with conn.transaction():
            await conn.execute("INSERT INTO note (body) VALUES ('kept')")
            try:
                async with conn.transaction():
                    await conn.execute("INSERT INTO note (body) VALUES (NULL)")
            except asyncpg.NotNullViolationError:
                pass
            async with conn.transaction():
                rows = [r["body"] async for r in conn.cursor("SELECT body FROM note", prefetch=1)]
                assert "kept" in rows, rows
        assert "kept" in await bodies(conn)
    ok("savepoint", "nested transaction(), a cursor")


async def check_batch(pool):
    async with pool.acquire() as conn:
        await conn.executemany("INSERT INTO note (body) VALUES ($1)",
                               [(f"many {n}",) for n in range(500)])
        assert await conn.fetchval("SELECT count(*) FROM note WHERE body LIKE 'many %'") == 500
    ok("batch", "executemany")


async def check_copy(pool):
    rows = [(n, f"row {n}") for n in range(1000)]
    async with pool.acquire() as conn:
        assert await conn.copy_records_to_table("import", records=rows) == "COPY 1000"
        got = bytearray()

        async def take(data):
            got.extend(data)
        await conn.copy_from_query("SELECT body FROM note WHERE body LIKE $1", "many %",
                                   output=take)
        assert got.count(b"\n") == 500
        assert await conn.fetchval("SELECT sum(id) FROM import") == 499500
    ok("copy", "binary records in, text out")


async def check_cancel(pool):
    async with pool.acquire() as conn:
        await refused(conn.execute("SELECT pg_sleep(60)", timeout=0.3), asyncio.TimeoutError)
        assert await conn.fetchval("SELECT 1") == 1
        async with conn.transaction():
            await conn.execute("SET LOCAL statement_timeout = '50ms'")
            error = await refused(conn.execute("SELECT pg_sleep(60)"), asyncpg.QueryCanceledError)
            await refused(conn.execute("SELECT 1"), asyncpg.InFailedSQLTransactionError)
    ok("cancel", error)


async def check_restart(pool):
    before = await pool.fetchval("SELECT count(*) FROM note")
    ask("restart")
    # The pool drops what it has seen closed; a call may come before it has looked.
    for _ in range(pool.get_size()):
        with contextlib.suppress(asyncpg.PostgresConnectionError):
            await pool.fetchval("SELECT 1")
    assert await pool.fetchval("SELECT count(*) FROM note") == before
    ok("restart", "the pool drops what the proxy has closed")


async def check_source(pool):
    async with pool.acquire() as conn:
        node = ask("node", await conn.fetchval("SELECT inet_server_port()"))
        assert await conn.fetchval("SHOW usher.data_source") == node
        assert getattr(conn.get_settings(), "usher.data_source") == node
    ok("source", f"{node}, by SHOW and get_settings")


async def main():
    await check_login()
    async with make_pool() as pool:
        await check_tenants(pool)
        tenant.set(TENANT_A)
        await check_renewal()
        for check in (check_prepared, check_savepoint, check_batch, check_copy, check_cancel,
                      check_restart, check_source):
            await check(pool)


if __name__ == "__main__":
    asyncio.run(main())
