"""psycopg 3 with its pool: one pool serves every tenant, whoever takes a connection says whose
it is."""

import contextlib
import os
import threading
import time

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from checks import BRIEF_S, TENANT_A, TENANT_B, ask, fetch_token, ok, refused


# docs: begin
def login():
    """Called for each new connection, so that it logs in with a token that is not old."""
    return {"password": fetch_token(TENANT_A)}


def reset(conn):
    """Called when a connection comes back: the next one to take it starts without a tenant's."""
    conn.autocommit = True
    conn.execute("RESET usher.token")
    conn.autocommit = False


pool = ConnectionPool(kwargs=login, min_size=1, max_size=2, open=False, reset=reset,
                      check=ConnectionPool.check_connection)


@contextlib.contextmanager
def connection_of(tenant):
    with pool.connection() as conn:
        conn.execute(sql.SQL("SET usher.token = {}").format(fetch_token(tenant)))
        yield conn
# docs: end


def bodies(conn):
    return [row[0] for row in conn.execute("SELECT body FROM note ORDER BY id")]


def check_login():
    with psycopg.connect(password=fetch_token(TENANT_A)) as conn:
        assert conn.execute("SELECT current_user").fetchone() == (os.environ["PGUSER"],)
    error = refused(lambda: psycopg.connect(password="no.token.this"), psycopg.OperationalError)
    ok("login", str(error).rsplit("FATAL:", 1)[-1].strip())


def check_tenants():
    for tenant in (TENANT_A, TENANT_B):
        with connection_of(tenant) as conn:
            for n in range(3):
                conn.execute("INSERT INTO note (body) VALUES (%s)", (f"{tenant}: {n}",))
            conn.execute("UPDATE note SET body = body || '!' WHERE body = %s", (f"{tenant}: 1",))
            conn.execute("DELETE FROM note WHERE body = %s", (f"{tenant}: 2",))
    for tenant in (TENANT_A, TENANT_B):
        with connection_of(tenant) as conn:
            assert bodies(conn) == [f"{tenant}: 0", f"{tenant}: 1!"], bodies(conn)
    with connection_of(TENANT_B) as conn:
        spoof = "INSERT INTO note (tenant_id, body) VALUES (%s, 'spoof')"
        error = refused(lambda: conn.execute(spoof, (TENANT_A,)),
                        psycopg.errors.InsufficientPrivilege)
        conn.rollback()
    ok("tenants", error.diag.message_primary)


def check_renewal():
    brief = [psycopg.connect(password=fetch_token(TENANT_A, BRIEF_S), autocommit=True)
             for _ in range(2)]
    time.sleep(BRIEF_S + 1)
    with brief[0] as conn:
        conn.execute(sql.SQL("SET usher.token = {}").format(fetch_token(TENANT_A)))
        assert len(bodies(conn)) == 2
    error = refused(lambda: bodies(brief[1]), psycopg.Error)
    assert error.sqlstate == "28000", error
    ok("renewal", error.diag.message_primary)


def check_prepared():
    with connection_of(TENANT_A) as conn:
        for _ in range(20):
            query = "SELECT count(*) FROM note WHERE id > %s"
            assert conn.execute(query, (0,), prepare=True).fetchone() == (2,)
        # More statements than the client keeps: it drops the oldest.
        conn.prepared_max = 2
        for n in range(10):
            for _ in range(2):
                query = f"SELECT count(*) + {n} FROM note WHERE id > %s"
                assert conn.execute(query, (0,), prepare=True).fetchone() == (2 + n,)
    ok("prepared", "prepare=True, prepared_max")


def check_savepoint():
    with connection_of(TENANT_A) as conn:
        with conn.transaction():
            conn.execute("INSERT INTO note (body) VALUES ('kept')")
            with contextlib.suppress(psycopg.errors.NotNullViolation), conn.transaction():
                conn.execute("INSERT INTO note (body) VALUES (NULL)")
            assert "kept" in bodies(conn)
        conn.commit()
        assert bodies(conn)[-1] == "kept"
    ok("savepoint", "nested transaction()")


def check_batch():
    with connection_of(TENANT_B) as conn:
        conn.cursor().executemany("INSERT INTO note (body) VALUES (%s)",
                                  [(f"many {n}",) for n in range(100)])
        with conn.pipeline():
            cursors = [conn.execute("SELECT count(*) + %s FROM note", (n,)) for n in range(50)]
            assert [c.fetchone()[0] for c in cursors] == [102 + n for n in range(50)]
        conn.prepared_max = 2
        with conn.pipeline():
            for n in range(6):
                for _ in range(2):
                    conn.execute(f"SELECT {n} FROM note WHERE id = %s", (n,), prepare=True)
    ok("batch", "executemany, pipeline, with statements dropped inside")


def check_copy():
    with connection_of(TENANT_B) as conn:
        with conn.cursor().copy("COPY import FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int8", "text"])
            for n in range(1000):
                copy.write_row((n, f"row {n}"))
        with conn.cursor().copy("COPY (SELECT body FROM note) TO STDOUT") as copy:
            assert len(list(copy.rows())) == 102
        assert conn.execute("SELECT sum(id) FROM import").fetchone() == (499500,)
    ok("copy", "binary in, text out under row-level security")


def check_cancel():
    with connection_of(TENANT_A) as conn:
        sleep = "SELECT pg_sleep(60)"
        threading.Timer(0.3, conn.cancel_safe).start()
        error = refused(lambda: conn.execute(sleep), psycopg.errors.QueryCanceled)
        conn.rollback()
        conn.execute("SET LOCAL statement_timeout = '50ms'")
        timeout = refused(lambda: conn.execute(sleep), psycopg.errors.QueryCanceled)
        assert "statement timeout" in str(timeout)
        conn.rollback()
    ok("cancel", error.diag.message_primary)


def check_restart():
    with connection_of(TENANT_A) as conn:
        before = len(bodies(conn))
    ask("restart")
    with connection_of(TENANT_A) as conn:
        assert len(bodies(conn)) == before
    ok("restart", "the pool's check= replaces what is gone")


def check_source():
    with connection_of(TENANT_A) as conn:
        port = conn.execute("SELECT inet_server_port()").fetchone()[0]
        source = conn.execute("SHOW usher.data_source").fetchone()[0]
        assert source == ask("node", port), source
        assert conn.info.parameter_status("usher.data_source") == source
    ok("source", f"{source}, by SHOW and parameter_status")


if __name__ == "__main__":
    with pool:
        check_login()
        check_tenants()
        check_renewal()
        check_prepared()
        check_savepoint()
        check_batch()
        check_copy()
        check_cancel()
        check_restart()
        check_source()
