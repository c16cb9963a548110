"""A read that a replica cannot answer is repeated on the primary by the same token and settings, its
rows come once, and the replica keeps nothing of it. Statements are in test_repeat.py."""

import pytest

from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import bind, execute, one_shot, parse, query, sync, types_of
from test_routing import probe_file, routed, where  # noqa: F401

pytestmark = pytest.mark.usefixtures("items")

# What it says is the catalogue's: an error of a class that is asked of the primary again.
UNKNOWN = "has_table_privilege('nosuch', 'select')"


@pytest.fixture
def one_replica(routed):  # noqa: F811
    """No read stays away from it because of an own write."""
    return routed({"node replica2": {"weight": 0}}, read_your_writes="off")


def data_of(replies):
    return [[v.decode() for v in m.values()] for m in replies if m.type == "D"]


def errors(replies):
    return [m.fields()["C"] for m in replies if m.type == "E"]


def use(sql):
    return parse("", sql) + bind("", "") + execute()


@pytest.mark.parametrize("word, after", [("SET LOCAL", TENANT_A), ("SET", TENANT_B)])
def test_the_token_of_its_batch_holds(one_replica, keys, word, after):
    with one_replica.raw(TENANT_A) as conn:
        replies = conn.run(use(f"{word} usher.token = '{keys.token(TENANT_B)}'")
                           + use("SELECT DISTINCT tenant_id, liar() > 0 FROM item") + sync())
        assert types_of(replies).replace("S", "") == "12C12DCZ"
        assert data_of(replies) == [[str(TENANT_B), "t"]]
        assert conn.scalar("SELECT DISTINCT tenant_id FROM item") == str(after)


def test_the_settings_of_its_batch_hold(one_replica):
    with one_replica.raw(TENANT_A) as conn:
        conn.run(use("SET usher.max_lag = '7s'") + use("SELECT liar()") + sync())
        assert conn.scalar("SHOW usher.max_lag") == "7s"


def test_a_lock_is_not_left_on_the_replica(cluster, one_replica):
    """As any user's function may: an advisory lock outlives the error of its statement."""
    cluster.superuser("eav").execute(
        "CREATE OR REPLACE FUNCTION keeps_lock() RETURNS text LANGUAGE plpgsql STABLE AS"
        " $$ BEGIN PERFORM pg_advisory_lock(4711); RETURN 'x'; END $$")
    cluster.wait_caught_up()

    def is_free(node):
        return cluster.superuser("postgres", node).execute(
            "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'"
            " AND objid = 4711").fetchall()[0][0]

    def is_known():
        return where(cluster, conn, "SELECT where_am_i() FROM (SELECT keeps_lock()) x") == "replica1"

    with one_replica.raw(TENANT_A) as conn:
        wait_until(is_known, "the catalogue knows the function")
        for batch in (query, one_shot):
            assert errors(conn.run(batch(f"SELECT keeps_lock(), {UNKNOWN}"))) == ["42P01"]
            wait_until(lambda: is_free("replica1") and is_free("primary"), "nothing is left")


def test_rows_come_once(one_replica):
    with one_replica.raw(TENANT_A) as conn:
        for n in (1, 50, 200, 500, 1000, 5000, 50000):
            sql = (f"SELECT i, repeat('x', 50), CASE WHEN i = {n} THEN {UNKNOWN} END"
                   f" FROM generate_series(1, {n + 10}) i")
            for batch in (query, one_shot):
                replies = conn.run(batch(sql))
                got = [int(m.values()[0]) for m in replies if m.type == "D"]
                assert got == list(range(1, len(got) + 1)) and len(got) < n
                assert errors(replies) == ["42P01"]
