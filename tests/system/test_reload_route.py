"""RELOAD that changes nodes under reads that go to replicas: what the probe has measured is said of
a node's address, not of its name; a weight counts at once."""

import time

import pytest

from conftest import TENANT_A
from console import Console
from test_reload import change
from test_routing import paths, probe_file, routed  # noqa: F401

READS = "SELECT body FROM shared_note WHERE id = 77"  # calls no function of users' own


@pytest.fixture
def late(cluster):
    """replica2 replays nothing, once it is called."""
    yield lambda: cluster.pause_replica("replica2")
    cluster.resume_replica("replica2")


def reads(proxy, n=6):
    """How many of n reads went to each node, and the answers."""
    before, rows = paths(proxy), []
    for _ in range(n):
        with proxy.raw(TENANT_A) as conn:
            rows += conn.rows(READS)
    after = paths(proxy)
    return {node: int(after[node]["reads"]) - int(row["reads"])
            for node, row in before.items()}, rows


@pytest.mark.parametrize("swaps", [True, False])
def test_a_node_at_another_address(cluster, routed, items, late, swaps):  # noqa: F811
    cluster.wait_caught_up()
    proxy = routed(max_lag="1s")
    late()
    with proxy.raw(TENANT_A) as conn:
        conn.simple("INSERT INTO shared_note VALUES (77, 'new')")
    time.sleep(1.5)
    console = Console(proxy)
    elsewhere = {"node replica1": {"port": cluster.ports["replica2"]}}
    if swaps:
        elsewhere["node replica2"] = {"port": cluster.ports["replica1"]}
    change(proxy, console, elsewhere)
    assert reads(proxy)[1] == [("new",)] * 6


def test_a_node_that_becomes_an_analytics_copy(routed, items):  # noqa: F811
    proxy = routed()
    change(proxy, Console(proxy), {"node replica1": {"role": "analytics"}})
    assert reads(proxy)[0]["replica1"] == 0


def test_a_weight(routed, items):  # noqa: F811
    proxy = routed()
    console = Console(proxy)
    change(proxy, console, {"node replica1": {"weight": 0}})
    there = reads(proxy)[0]
    assert there["replica1"] == 0 and there["replica2"] == 6
    change(proxy, console, {"node replica1": {"weight": 1}, "node replica2": {"weight": 0}})
    there = reads(proxy)[0]
    assert there["replica1"] == 6 and there["replica2"] == 0
