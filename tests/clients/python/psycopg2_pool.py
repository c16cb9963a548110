"""psycopg2 with its own pool, which has no hooks: a context manager takes their place."""

import contextlib
import io
import os
import threading
import time

import psycopg2
import psycopg2.errors
import psycopg2.extras
from psycopg2.pool import ThreadedConnectionPool

from checks import BRIEF_S, TENANT_A, TENANT_B, ask, fetch_token, none, ok, refused


# docs: begin
class TokenPool(ThreadedConnectionPool):
    """Logs each new connection in with a token that is not old."""

    def _connect(self, key=None):
        self._kwargs["password"] = fetch_token(TENANT_A)
        return super()._connect(key)


pool = TokenPool(minconn=1, maxconn=2, dsn="")


@contextlib.contextmanager
def cursor_of(tenant):
    conn = pool.getconn()
    try:
        with conn, conn.cursor() as cursor:
            cursor.execute("SET LOCAL usher.token = %s", (fetch_token(tenant),))
            yield cursor
    finally:
        pool.putconn(conn, close=conn.closed)
# docs: end


def bodies(cursor):
    cursor.execute("SELECT body FROM note ORDER BY id")
    return [row[0] for row in cursor.fetchall()]


def check_login():
    error = refused(lambda: psycopg2.connect("", password="no.token.this"),
                    psycopg2.OperationalError)
    with cursor_of(TENANT_A) as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == (os.environ["PGUSER"],)
    ok("login", str(error).rsplit("FATAL:", 1)[-1].strip())


def check_tenants():
    for tenant in (TENANT_A, TENANT_B):
        with cursor_of(tenant) as cursor:
            cursor.execute("INSERT INTO note (body) VALUES (%s), ('gone')", (f"{tenant}: 0",))
            cursor.execute("UPDATE note SET body = body || '!' WHERE body <> 'gone'")
            cursor.execute("DELETE FROM note WHERE body = 'gone'")
            assert bodies(cursor) == [f"{tenant}: 0!"]

    def spoof():
        with cursor_of(TENANT_B) as cursor:
            cursor.execute("INSERT INTO note (tenant_id, body) VALUES (%s, 'x')", (TENANT_A,))
    ok("tenants", refused(spoof, psycopg2.errors.InsufficientPrivilege).diag.message_primary)


def check_renewal():
    brief = [psycopg2.connect("", password=fetch_token(TENANT_A, BRIEF_S)) for _ in range(2)]
    time.sleep(BRIEF_S + 1)
    with brief[0] as conn, conn.cursor() as cursor:
        cursor.execute("SET usher.token = %s", (fetch_token(TENANT_A),))
        assert len(bodies(cursor)) == 1
    error = refused(lambda: bodies(brief[1].cursor()), psycopg2.Error)
    ok("renewal", error)


def check_savepoint():
    with cursor_of(TENANT_A) as cursor:
        cursor.execute("INSERT INTO note (body) VALUES ('kept')")
        cursor.execute("SAVEPOINT here")
        refused(lambda: cursor.execute("INSERT INTO note (body) VALUES (NULL)"),
                psycopg2.errors.NotNullViolation)
        cursor.execute("ROLLBACK TO here")
        assert "kept" in bodies(cursor)
    with pool.getconn() as conn:
        with conn.cursor("named") as cursor:
            cursor.itersize = 1
            cursor.execute("SELECT generate_series(1, 5)")
            assert [row[0] for row in cursor] == [1, 2, 3, 4, 5]
    pool.putconn(conn)
    ok("savepoint", "SAVEPOINT, ROLLBACK TO, a named cursor")


def check_batch():
    with cursor_of(TENANT_B) as cursor:
        psycopg2.extras.execute_values(cursor, "INSERT INTO note (body) VALUES %s",
                                       [(f"many {n}",) for n in range(250)])
        psycopg2.extras.execute_batch(cursor, "UPDATE note SET body = %s WHERE body = %s",
                                      [(f"more {n}", f"many {n}") for n in range(250)])
        assert sum(body.startswith("more") for body in bodies(cursor)) == 250
    ok("batch", "execute_values, execute_batch")


def check_copy():
    with cursor_of(TENANT_B) as cursor:
        cursor.copy_expert("COPY import FROM STDIN",
                           io.StringIO("".join(f"{n}\trow {n}\n" for n in range(1000))))
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT id FROM import ORDER BY id) TO STDOUT", out)
        assert out.getvalue().split() == [str(n) for n in range(1000)]
    ok("copy", "copy_expert in and out")


def check_cancel():
    with pool.getconn() as conn:
        threading.Timer(0.3, conn.cancel).start()
        error = refused(lambda: conn.cursor().execute("SELECT pg_sleep(60)"),
                        psycopg2.errors.QueryCanceled)
        conn.rollback()
    pool.putconn(conn)
    ok("cancel", error.diag.message_primary)


def check_restart():
    ask("restart")

    def once():
        with cursor_of(TENANT_A) as cursor:
            return bodies(cursor)
    # The pool finds out by an error; whoever got it tries again.
    error = refused(once, psycopg2.Error)
    assert "kept" in once()
    ok("restart", f"after one error: {error}")


def check_source():
    with cursor_of(TENANT_A) as cursor:
        cursor.execute("SELECT inet_server_port()")
        node = ask("node", cursor.fetchone()[0])
        cursor.execute("SHOW usher.data_source")
        assert cursor.fetchone() == (node,)
        assert cursor.connection.get_parameter_status("usher.data_source") == node
    ok("source", f"{node}, by SHOW and get_parameter_status")


if __name__ == "__main__":
    check_login()
    check_tenants()
    check_renewal()
    none("prepared", "psycopg2 puts parameters into the text")
    check_savepoint()
    check_batch()
    check_copy()
    check_cancel()
    check_restart()
    check_source()
