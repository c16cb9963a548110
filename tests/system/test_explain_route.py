"""EXPLAIN ROUTE: the console says what a statement is, and where it would go and why."""

import contextlib

import pytest

from cluster import wait_until
from console import Console, error_of
from pgproto import rows_of
from test_probe import lag, probe_role, probing, wait_measured  # noqa: F401

DATABASE = "lagged"


@pytest.fixture
def explain(cluster, probe_role, make_proxy):  # noqa: F811
    """explain(statement): rows (item, name, detail)."""
    proxy = make_proxy(probing(probe_role, max_lag="2s"))
    wait_measured(proxy, "primary", "replica1", "replica2")
    console = Console(proxy)

    def rows(statement):
        return rows_of(console.run(f"EXPLAIN ROUTE {statement}"))
    rows.console, rows.proxy = console, proxy
    return rows


def of(rows, item, database=DATABASE):
    """{name: detail} of one kind of row, of one database where it names them."""
    return {name.removeprefix(f"{database}/") if name else name: detail
            for kind, name, detail in rows
            if kind == item and not (name and "/" in name and not name.startswith(database))}


def test_what_writes_goes_to_the_primary(explain):
    rows = explain("UPDATE t SET a = 1;")
    assert list(of(rows, "statement")) == ["1"]
    assert of(rows, "guard") == {"passes": None}
    assert of(rows, "route") == {"primary": "the primary: it is no query"}
    assert set(of(rows, "candidate")) == {"primary", "replica1", "replica2"}
    assert of(rows, "candidate")["primary"].startswith("the primary, lag 0.")
    assert of(rows, "candidate")["replica1"].startswith("fits, lag 0.")
    assert of(rows, "wish") == {"bounded": "max_lag 2.000 s, read_your_writes session"}


def test_what_is_refused_goes_nowhere(explain):
    rows = explain("SELECT set_config('app.current_tenant_id', '1', true)")
    (rule, message), = of(rows, "guard").items()
    assert rule == "tenant_setting" and message
    assert of(rows, "route") == {None: "nowhere: refused"}


def test_the_token_is_not_looked_at(explain):
    rows = explain("SET usher.token = 'x.y.z'")
    assert [row[0] for row in rows] == ["statement"]
    assert "answered by PgUsher" in rows[0][2]


def test_functions_and_their_volatility(explain):
    rows = explain("SELECT now(), now(), Random(), pg_catalog.nextval('s'), no_such_one(1)")
    assert of(rows, "function") == {
        "now": "stable or immutable", "random": "volatile", "pg_catalog.nextval": "volatile",
        "no_such_one": "not known: taken for volatile",
    }
    assert len([row for row in rows if row[0] == "function"]) == 4
    assert of(rows, "route") == {"primary": "the primary: it calls a volatile function: nextval"}


def test_a_read_goes_to_a_replica(explain):
    for statement in ("SELECT now()", "BEGIN READ ONLY"):
        (node, why), = of(explain(statement), "route").items()
        assert node in ("replica1", "replica2") and why.startswith("fits")


def test_a_comment_asks_for_more(explain):
    rows = explain("/* consistency='strong' */ SELECT 1")
    assert list(of(rows, "wish")) == ["strong"]
    assert of(rows, "route") == {"primary": "strong: the primary"}
    rows = explain("SELECT 1 /* max_lag='1ms' */;")
    assert of(rows, "wish") == {"bounded": "max_lag 0.001 s, read_your_writes session"}
    assert of(rows, "route") == {"primary": "no replica fits: too far behind"}


def test_wrong_spellings(explain):
    for wrong in ("EXPLAIN", "EXPLAIN ROUTE", "EXPLAIN ROUTE ;", "EXPLAIN SELECT 1"):
        assert error_of(explain.console.run, wrong)["C"] == "42601"


@contextlib.contextmanager
def paused(cluster, *nodes):
    for node in nodes:
        cluster.pause_replica(node)
    try:
        yield
    finally:
        for node in nodes:
            cluster.resume_replica(node)


def test_a_late_replica_is_said(cluster, explain):
    with paused(cluster, "replica1"):
        wait_until(lambda: lag(explain.proxy, "replica1") > 2.1, "replica1 is late")
        rows = explain("SELECT 1")
        assert list(of(rows, "route")) == ["replica2"]
        assert of(rows, "candidate")["replica1"].startswith("too far behind, lag 2.")
        assert of(rows, "candidate")["replica2"].startswith("fits, lag 0.")


def test_without_a_probe_the_primary_is_looked_for(make_proxy):
    """Nothing is measured, and the servers are used all the same."""
    console = Console(make_proxy({"pgusher": {"admin_users": "dba"}}))
    for statement in ("SELECT 1", "UPDATE t SET a = 1"):
        rows = rows_of(console.run(f"EXPLAIN ROUTE {statement}"))
        candidates = {detail for kind, _, detail in rows if kind == "candidate"}
        assert candidates == {"not measured (no probe_role)"}
        routes = {(name, detail) for kind, name, detail in rows if kind == "route"}
        assert routes == {(None, "the primary, looked for by trying the nodes in order")}
    nodes = rows_of(console.run("SHOW NODES"))
    assert {node[8] for node in nodes} == {None}, "a timeline that is not known is empty"
