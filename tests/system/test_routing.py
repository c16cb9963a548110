"""Where reads go: replicas within their budget, one's own writes, blocks, batches, faults.

The function where_am_i tells the node. It says that it is STABLE, so that it counts as a read.
"""

import time

import pytest

from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import (Connection, bind, describe, errors_of, execute, one_shot, parse, query,
                     rows_of, sync, tags_of)
from test_probe import PROBE_PASSWORD, show

WHERE = "SELECT where_am_i()"


@pytest.fixture(scope="module")
def probe_file(cluster, tmp_path_factory):
    """Role probe, which may do in eav what it needs; its password file."""
    if not cluster.sql("SELECT 1 FROM pg_roles WHERE rolname = 'probe'"):
        cluster.sql("CREATE ROLE probe")
    cluster.sql(f"ALTER ROLE probe LOGIN PASSWORD '{PROBE_PASSWORD}'")
    cluster.superuser("eav").execute(
        "CREATE OR REPLACE FUNCTION where_am_i() RETURNS text LANGUAGE sql STABLE AS"
        " $$ SELECT current_setting('port') $$;"
        "GRANT SELECT, INSERT, UPDATE ON public.replication_heartbeat TO probe;"
        "GRANT USAGE ON SEQUENCE public.replication_heartbeat_id_seq TO probe")
    path = tmp_path_factory.mktemp("routing") / "probe.password"
    path.write_text(PROBE_PASSWORD)
    path.chmod(0o600)
    cluster.wait_caught_up()
    return str(path)


def routing(probe_file, **freshness):
    return {
        "pgusher": {"admin_users": "dba", "workers": 1},
        "role probe": {"password_file": probe_file, "tenant": "none"},
        "database eav": {"nodes": "primary, replica1, replica2"},
        "freshness": {"probe_role": "probe", "heartbeat_interval": "50ms", **freshness},
        "guard": {"trusted_functions": "where_am_i"},
        "audit": {},
    }


def paths(proxy):
    return {row["path"].split("/")[1]: row for row in show(proxy, "PATHS")}


def wait_usable(proxy, *names):
    wait_until(lambda: all(paths(proxy)[n]["usable"] == "yes" for n in names),
               f"{names} are usable")


@pytest.fixture
def routed(cluster, probe_file, make_proxy, tmp_path):
    """A proxy whose reads go to replicas; routed(max_lag=...) for other options."""
    def make(sections=None, **freshness):
        ini = routing(probe_file, **freshness)
        ini["audit"]["file"] = str(tmp_path / "audit.jsonl")
        for name, keys in (sections or {}).items():
            ini.setdefault(name, {}).update(keys)
        proxy = make_proxy(ini)
        wait_usable(proxy, "primary", "replica1", "replica2")
        # Functions are known, and so is what only reads.
        proxy.wait_log("function catalogue")
        return proxy
    return make


def node_of(cluster, answer):
    return {str(p): n for n, p in cluster.ports.items()}[answer]


def where(cluster, conn, sql=WHERE):
    return node_of(cluster, conn.scalar(sql))


REPLICAS = {"replica1", "replica2"}


def test_reads_go_to_replicas_and_writes_to_the_primary(cluster, routed, items):
    cluster.wait_caught_up()
    proxy = routed()
    with proxy.raw(TENANT_A) as conn:
        assert {where(cluster, conn) for _ in range(10)} == REPLICAS
        assert conn.scalar("SELECT count(*) FROM item") == "20"
        assert where(cluster, conn, "INSERT INTO shared_note VALUES (1, where_am_i())"
                     " RETURNING body") == "primary"
        assert where(cluster, conn, "SELECT where_am_i() FOR UPDATE") == "primary"
        # A block that may write is the primary's.
        conn.simple("BEGIN")
        assert where(cluster, conn) == "primary"
        conn.simple("COMMIT")
    reads = {n: int(row["reads"]) for n, row in paths(proxy).items()}
    assert reads["replica1"] + reads["replica2"] >= 11
