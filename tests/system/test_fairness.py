"""How much of the servers one tenant may hold, and what another one's flood costs a tenant."""

import contextlib
import threading

import pytest

from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import codes_of, query

WORKERS = 2


def backend(conn):
    return conn.scalar("SELECT pg_backend_pid()")


def begin(conn):
    conn.simple("BEGIN")
    return backend(conn)


def test_a_tenants_servers(make_proxy):
    """Clients on both workers; at the limit one waits, whichever worker frees a server."""
    proxy = make_proxy({"pgusher": {"workers": WORKERS, "max_server_conn": 8},
                        "tenants": {"max_server_conn": 2}})
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.raw(TENANT_A)) for _ in range(12)]
        others = [stack.enter_context(proxy.raw(TENANT_B)) for _ in range(2)]
        for conn in clients[:2]:
            begin(conn)
        for conn in clients[2:]:
            conn.send(query("SELECT pg_backend_pid()"))
        assert all(conn.is_silent(0.05) for conn in clients[2:])
        for conn in others:
            begin(conn)
        # One lease after the other, through all that wait, on both workers.
        clients[0].simple("COMMIT")
        for conn in clients[2:]:
            assert not codes_of(conn.read_until_ready())
        clients[1].simple("COMMIT")


def test_wait_ends_by_the_tenants_own_timeout(make_proxy):
    proxy = make_proxy({"tenants": {"max_server_conn": 1},
                        f"tenant {TENANT_A}": {"query_wait_timeout": "100ms"}})
    with proxy.raw(TENANT_A) as one, proxy.raw(TENANT_A) as two, proxy.raw(TENANT_B) as other:
        begin(one)
        error, = [m for m in two.simple("SELECT 1") if m.type == "E"]
        assert error.fields()["C"] == "57014"
        assert "max_server_conn of [tenants]" in error.fields()["H"]
        assert other.scalar("SELECT 1") == "1"
        one.simple("COMMIT")
        assert two.scalar("SELECT 1") == "1"


@pytest.mark.parametrize("section, key", [("pgusher", "default_pool_size"),
                                          ("database eav", "pool_size")])
def test_pool_size(make_proxy, section, key):
    proxy = make_proxy({"pgusher": {"workers": WORKERS}, section: {key: 1}})
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.raw(TENANT_A)) for _ in range(8)]
        held = begin(clients[0])
        for conn in clients[1:]:
            conn.send(query("SELECT pg_backend_pid()"))
        assert all(conn.is_silent(0.05) for conn in clients[1:])
        clients[0].simple("COMMIT")
        for conn in clients[1:]:
            row, = [m for m in conn.read_until_ready() if m.type == "D"]
            assert row.values() == [held.encode()]


def flood(proxy, tenant, n, stop, counts, sql="SELECT 1"):
    """n clients of one thread, each with a query under way at any time."""
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(proxy.raw(tenant)) for _ in range(n)]
        for conn in conns:
            conn.send(query(sql))
        while not stop.is_set():
            for conn in conns:
                conn.read_until_ready()
                counts[tenant] = counts.get(tenant, 0) + 1
                conn.send(query(sql))
        for conn in conns:
            conn.read_until_ready()


def test_one_client_against_a_flood(make_proxy):
    """Counted in grants: between two answers of the one, few servers went to the flood."""
    proxy = make_proxy({"pgusher": {"workers": WORKERS, "max_server_conn": 1}})
    counts, stop = {}, threading.Event()
    thread = threading.Thread(target=flood, args=(proxy, TENANT_A, 200, stop, counts))
    with proxy.raw(TENANT_B) as one:
        one.scalar("SELECT 1")
        thread.start()
        wait_until(lambda: counts.get(TENANT_A, 0) > 200, "the flood is there")
        before = counts[TENANT_A]
        for _ in range(50):
            one.scalar("SELECT 1")
        granted = counts[TENANT_A] - before
        stop.set()
        thread.join()
    # In turn with 200 clients each of its queries would wait for 200 servers: 10,000.
    assert granted < 50 * 40, granted


def test_one_database_against_a_flood_of_another(make_proxy):
    """Its login and its queries, though the other database's clients wait all the time."""
    proxy = make_proxy({"pgusher": {"workers": WORKERS, "max_server_conn": 2},
                        "database other": {"dbname": "eav", "nodes": "primary"}})
    counts, stop = {}, threading.Event()
    thread = threading.Thread(target=flood, args=(proxy, TENANT_A, 16, stop, counts))
    thread.start()
    try:
        wait_until(lambda: counts.get(TENANT_A, 0) > 200, "the flood is there")
        with proxy.raw(TENANT_B, "other") as one:
            pids = {backend(one) for _ in range(100)}
    finally:
        stop.set()
        thread.join()
    # A place stays with a busy pool; a stall of the machine may cost it.
    assert len(pids) < 20, pids


def test_weights(make_proxy):
    """Two floods that share two servers of two workers: by their weights, loosely."""
    proxy = make_proxy({"pgusher": {"workers": WORKERS, "max_server_conn": 2},
                        f"tenant {TENANT_B}": {"weight": 3}})
    counts, stop = {}, threading.Event()
    threads = [threading.Thread(target=flood,
                                args=(proxy, tenant, 20, stop, counts, "SELECT pg_sleep(0.003)"))
               for tenant in (TENANT_A, TENANT_B)]
    for thread in threads:
        thread.start()
    wait_until(lambda: counts.get(TENANT_A, 0) > 40 and counts.get(TENANT_B, 0) > 40, "both run")
    before = dict(counts)
    wait_until(lambda: sum(counts.values()) - sum(before.values()) > 600, "they are served")
    served = {tenant: counts[tenant] - before[tenant] for tenant in counts}
    stop.set()
    for thread in threads:
        thread.join()
    assert 2 < served[TENANT_B] / served[TENANT_A] < 4.5, served
