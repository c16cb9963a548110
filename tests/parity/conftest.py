"""The two databases of the parity tests, and how a case runs on both.

The cluster, keys and proxies are those of tests/system/conftest.py.
"""

import os
import random
import re
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "system"))

import pgproto as p  # noqa: E402
from conftest import (  # noqa: E402, F401
    TENANT_A, TENANT_B, clients_are_closed, cluster, keys, make_proxy,
)
from proxy import Proxy  # noqa: E402
from sides import Ended, Side  # noqa: E402

from .compare import same  # noqa: E402
from .script import steps  # noqa: E402

TABLES = """
CREATE TABLE t (
    id int NOT NULL,
    tenant_id bigint NOT NULL DEFAULT current_setting('app.current_tenant_id')::bigint,
    a text,
    n int CHECK (n < 100),
    PRIMARY KEY (id, tenant_id)
);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY t_tenant ON t
    USING (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint);
CREATE TABLE plain (id int PRIMARY KEY, a text DEFAULT 'none', n numeric);
CREATE TABLE child (id int REFERENCES plain DEFERRABLE INITIALLY IMMEDIATE, UNIQUE (id) DEFERRABLE);
GRANT SELECT, INSERT, UPDATE, DELETE ON t, plain, child TO app;
CREATE SCHEMA lab;
GRANT USAGE, CREATE ON SCHEMA lab TO app;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE FUNCTION noisy(p_text text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'noise: %', p_text USING HINT = 'be silent', DETAIL = 'loud';
    RETURN upper(p_text);
END $$;
CREATE FUNCTION faulty(p_code text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'fault %', p_code USING ERRCODE = p_code, HINT = 'a hint', DETAIL = 'a detail',
        COLUMN = 'c', CONSTRAINT = 'k', TABLE = 'tab', SCHEMA = 's', DATATYPE = 'dt';
END $$;
"""
RESET = """
TRUNCATE t, plain, child;
INSERT INTO t SELECT i, t, 'a' || i, i FROM generate_series(1, 9) i, unnest(ARRAY[%s, %s]) t;
INSERT INTO plain SELECT i, 'p' || i, i / 4.0 FROM generate_series(1, 5) i
"""
WRITES = re.compile(rb"insert|update|delete|copy|merge|truncate", re.I)
DATABASES = {"proxied": "parity_proxied", "direct": "parity_direct"}
CLOSED = p.Message("closed", b"")
MODES = ("stepwise", "packed", "switched")


class Twins:
    """Runs cases: once direct, then through PgUsher in every way that a client may send them."""

    def __init__(self, cluster, proxy, token, other_token, first_new_oid):
        self.cluster = cluster
        self.proxy = proxy
        self.tokens = token, other_token
        self.first_new_oid = first_new_oid
        self.holders = None
        self.version = cluster.major()

    def reset(self, database):
        self.cluster.sql(RESET % (TENANT_A, TENANT_B), dbname=database)

    def direct(self):
        # A startup setting is what RESET and DISCARD ALL go back to, as if there were no other.
        return p.Connection.connect(
            ("127.0.0.1", self.cluster.ports["primary"]), "app", DATABASES["direct"],
            self.cluster.password, timeout=20,
            options=f"-c app.current_tenant_id={TENANT_A}", application_name="parity",
        )

    def proxied(self, which=0):
        return self.proxy.raw(None, DATABASES["proxied"], self.tokens[which],
                              application_name="parity")

    def expected(self, case):
        replies = play(case, self.direct, steps(case))
        if WRITES.search(b"".join(part.data for part in case.parts)):
            self.reset(DATABASES["direct"])
        return replies

    def seen(self, case, mode):
        """mode: stepwise as a client would; packed into one packet that is cut anywhere; switched to
        another server whenever no transaction is open."""
        rng = random.Random(case.name) if mode == "packed" else None
        between = self.switch if mode == "switched" else None
        replies = play(case, self.proxied, steps(case, mode == "packed"), rng, between)
        if between:
            self.release()
        if WRITES.search(b"".join(part.data for part in case.parts)):
            self.reset(DATABASES["proxied"])
        return replies

    def same(self, expected, seen):
        return all(same(one, other, self.first_new_oid) for one, other in zip(expected, seen))

    def switch(self):
        """The server that was used last is taken, and the other one is given back."""
        if self.holders is None:
            self.holders = [self.proxied(1), self.proxied(1)]
        taking, giving = self.holders
        taking.simple("BEGIN")
        taking.simple("SELECT 1")
        if giving.status == "T":
            giving.simple("COMMIT")
        self.holders.reverse()

    def release(self):
        for holder in self.holders or ():
            holder.terminate()
        self.holders = None


def play(case, connect, script, rng=None, between=None):
    """All replies of each connection of the case."""
    sides = {n: Side(connect(), rng) for n in sorted({step.conn for step in script})}
    replies = {n: [] for n in sides}
    try:
        for step in script:
            side = sides[step.conn]
            if between and side.conn.status == "I" and not side.failed and _is_between(replies):
                between()
            replies[step.conn] += take(side, step)
    except Ended as ended:
        replies[step.conn] += ended.messages + [CLOSED]
    for side in sides.values():
        side.conn.terminate()
    return list(replies.values())


def take(side, step):
    got = side.run(step)
    for kind in step.until:
        if kind not in [m.type for m in got]:
            got += side.conn.read_until(kind)
    return got + side.conn.read_to_end() + [CLOSED] if step.ends else got


def _is_between(replies):
    return all(not r or r[-1].type == "Z" for r in replies.values())


@pytest.fixture(scope="session")
def twins(cluster, keys, tmp_path_factory):  # noqa: F811
    """Two databases, equal down to the tables' object ids, and a proxy with two servers."""
    cluster.superuser("pristine").execute(TABLES)
    cluster.close_superuser("pristine")
    for name in DATABASES.values():
        cluster.deploy(name, template="pristine")
    settings = {"workers": 1, "max_server_conn": 2, "max_prepared_statements": 3}
    with Proxy(cluster, keys, tmp_path_factory.mktemp("proxy"), {"pgusher": settings},
               databases=(DATABASES["proxied"],)) as proxy:
        made = Twins(
            cluster, proxy, keys.token(TENANT_A), keys.token(TENANT_B),
            cluster.sql("SELECT max(oid)::bigint + 1 FROM pg_class",
                        dbname=DATABASES["direct"])[0][0],
        )
        for name in DATABASES.values():
            made.reset(name)
        yield made
        assert proxy.process.poll() is None, proxy.log()[-4000:]
