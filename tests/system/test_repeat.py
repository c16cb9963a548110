"""Reads that a replica could not answer, taken once more for the primary: the same answer as at
once, nothing twice, and what they write there counts as a write."""

import os
import signal
import subprocess
import time

import pytest

from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import (bind, close, codes_of, describe, execute, flush, one_shot, parse, query, rows_of, sync,
                     types_of)
from test_routing import (REPLICAS, WHERE, answer_of, node_of, paths, paused,  # noqa: F401
                          probe_file, routed, where)

FAILS = "SELECT liar() > 0"  # on a replica only
RUN = bind("", "") + execute()


def run(name):
    return bind("", name) + execute()


@pytest.mark.parametrize("batch, rows", [
    # Each uses a statement of an earlier batch, and replaces or closes it behind that.
    (RUN + parse("", FAILS) + RUN + sync(), [("1",), ("t",)]),
    (run("s") + close("S", "s") + parse("t", FAILS) + run("t") + sync(), [("1",), ("t",)]),
    (run("s") + close("S", "s") + parse("s", FAILS) + run("s") + sync(), [("1",), ("t",)]),
    (close("S", "s") + parse("s", FAILS) + run("s") + RUN + sync(), [("t",), ("1",)]),
    (RUN + close("S", "") + parse("", FAILS) + RUN + sync(), [("1",), ("t",)]),
])
def test_statements_that_the_batch_replaces(routed, batch, rows):  # noqa: F811
    with routed().raw(TENANT_A) as conn:
        conn.run(parse("s", "SELECT 1") + parse("", "SELECT 1") + sync())
        assert rows_of(conn.run(batch)) == rows


def test_a_description_is_of_the_statement_before(routed):  # noqa: F811
    with routed().raw(TENANT_A) as conn:
        conn.run(parse("", "SELECT 1 AS a") + sync())
        replies = conn.run(describe("S", "") + parse("", FAILS) + RUN + sync())
        assert [m.columns() for m in replies if m.type == "T"] == [["a"]]
        assert types_of(replies) == "tT12DCZ"


def test_what_a_repeated_read_writes_is_seen(cluster, routed, items, request):  # noqa: F811
    """PostgreSQL lets a STABLE function call a VOLATILE one that writes."""
    cluster.superuser("eav").execute(
        "CREATE OR REPLACE FUNCTION note(i bigint) RETURNS text LANGUAGE plpgsql VOLATILE AS"
        " $$ BEGIN INSERT INTO shared_note VALUES (i, 'noted'); RETURN 'done'; END $$;"
        "CREATE OR REPLACE FUNCTION stable_note(i bigint) RETURNS text LANGUAGE plpgsql STABLE AS"
        " $$ BEGIN RETURN note(i); END $$;")
    cluster.wait_caught_up()
    proxy = routed({"guard": {"trusted_functions": "where_am_i, stable_note"}}, max_lag="1h")
    request.getfixturevalue("paused")
    with proxy.raw(TENANT_A) as conn:
        assert where(cluster, conn) in REPLICAS
        assert conn.scalar("SELECT stable_note(5)") == "done"
        assert conn.rows("SELECT body FROM shared_note WHERE id = 5") == [("noted",)]
        conn.run(one_shot("SELECT stable_note(6)"))
        assert conn.rows("SELECT body FROM shared_note WHERE id = 6") == [("noted",)]


def test_a_commit_counts_before_its_sync(cluster, routed, items, request):  # noqa: F811
    proxy = routed(max_lag="1h", read_your_writes="tenant")
    with proxy.raw(TENANT_A) as writer, proxy.raw(TENANT_A) as other:
        writer.simple("BEGIN; INSERT INTO shared_note VALUES (5, 'x')")
        cluster.wait_caught_up()
        beat = cluster.sql("SELECT max(id) FROM replication_heartbeat", dbname="eav")[0][0]
        while cluster.sql("SELECT max(id) FROM replication_heartbeat", dbname="eav")[0][0] < beat + 3:
            time.sleep(0.02)
        request.getfixturevalue("paused")
        assert where(cluster, other) in REPLICAS
        writer.send(parse("", "COMMIT") + RUN + flush())
        writer.read_until("C")
        assert other.rows("SELECT body FROM shared_note WHERE id = 5") == [("x",)]
        writer.run(sync())


def processes(cluster, name):
    with open(os.path.join(cluster.base, name, "postmaster.pid"), encoding="ascii") as file:
        pid = file.readline().strip()
    found = subprocess.run(["pgrep", "-P", pid], capture_output=True, text=True, check=False)
    return [int(p) for p in [pid, *found.stdout.split()]]


@pytest.mark.parametrize("batch", [False, True])
def test_a_replica_that_stops_without_a_word(cluster, routed, batch):  # noqa: F811
    proxy = routed({"node replica2": {"weight": 0}})
    with proxy.raw(TENANT_A) as conn:
        assert where(cluster, conn) == "replica1"
        stopped = processes(cluster, "replica1")
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            replies = conn.run(one_shot(WHERE) if batch else query(WHERE))
            assert node_of(cluster, answer_of(replies)) == "primary"
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


def test_a_tenant_at_its_limit_takes_no_replica_from_others(cluster, routed, items):  # noqa: F811
    proxy = routed({"tenants": {"max_server_conn": 1}, "node replica2": {"weight": 0}},
                   heartbeat_interval="2s", max_lag="1h")
    with proxy.raw(TENANT_A) as holder, proxy.raw(TENANT_A) as reader, \
            proxy.raw(TENANT_B) as other:
        assert where(cluster, other) == "replica1"
        holder.simple("BEGIN; SELECT FROM shared_note FOR UPDATE")
        reader.send(query(WHERE))
        # Over there it waits no more.
        while paths(proxy)["replica1"]["reads"] == "1":
            time.sleep(0.02)
        time.sleep(0.8)
        assert {where(cluster, other) for _ in range(4)} == {"replica1"}
        holder.simple("COMMIT")
        assert node_of(cluster, answer_of(reader.read_until_ready())) == "primary"


def test_a_parse_that_is_answered_at_once_is_answered_once(cluster, routed):  # noqa: F811
    """The replica's server had the statement, so PgUsher answered before the read failed."""
    proxy = routed({"pgusher": {"max_server_conn": 1}, "node replica2": {"weight": 0}})
    with proxy.raw(TENANT_A) as conn:
        for _ in range(3):
            wait_until(lambda: where(cluster, conn) == "replica1", "replica1 is read from")
            replies = conn.run(parse("s", f"{FAILS}, 'now'::date IS NULL") + close("S", "never")
                               + run("s") + sync())
            assert types_of(replies) == "132DCZ"
            conn.run(close("S", "s") + sync())


@pytest.mark.parametrize("batch, code", [
    (RUN + parse("s", "SELECT 2") + run("s") + sync(), "42P05"),
    (run("s") + parse("s", "SELECT 2") + run("s") + sync(), "42P05"),
    (parse("", "SELECT FROM nowhere") + RUN + close("S", "s") + parse("s", "SELECT 2") + sync(),
     "42P01"),
    (parse("t", "SELECT 2") + parse("t", "SELECT 3") + run("t") + sync(), "42P05"),
])
def test_a_batch_that_fails_takes_no_statement_away(routed, batch, code):  # noqa: F811
    with routed().raw(TENANT_A) as conn:
        conn.run(parse("s", "SELECT 1") + parse("", "SELECT 1") + sync())
        assert codes_of(conn.run(batch)) == [code]
        assert rows_of(conn.run(run("s") + sync())) == [("1",)]


@pytest.mark.parametrize("is_told_before", [True, False])
def test_a_described_statement_waits_for_ddl(cluster, routed, request, is_told_before):  # noqa: F811
    """A replica that has not replayed it has rows of other types than the client was told."""
    cluster.sql("CREATE TABLE moved AS SELECT 7 AS a; ALTER TABLE moved OWNER TO app", dbname="eav")
    request.addfinalizer(lambda: cluster.sql("DROP TABLE moved", dbname="eav"))
    cluster.wait_caught_up()
    proxy = routed(max_lag="1h")
    request.getfixturevalue("paused")
    prepare = parse("q", "SELECT a FROM moved") + describe("S", "q") + sync()
    with proxy.raw(TENANT_A) as conn, proxy.raw(TENANT_B) as other:
        assert where(cluster, conn) in REPLICAS
        if is_told_before:
            conn.run(prepare)
        assert codes_of(other.simple("ALTER TABLE moved ALTER a TYPE text USING 'x' || a")) == []
        if not is_told_before:
            conn.run(prepare)
        for _ in range(2):
            replies = conn.run(run("q") + sync())
            assert codes_of(replies) == ["0A000"] if is_told_before else rows_of(replies) == [("x7",)]
        assert where(cluster, conn) in REPLICAS
