"""The console's commands about tenants, and those that open and close the door to a database."""

import contextlib

import pytest

import pgproto
from cluster import wait_until
from conftest import TENANT_A as NUMBER_A
from conftest import TENANT_B as NUMBER_B
from pgproto import LoginError, codes_of, errors_of
from console import CONSOLE, Console, error_of

TENANT_A, TENANT_B = str(NUMBER_A), str(NUMBER_B)


@pytest.fixture
def own(make_proxy):
    def make(**sections):
        pgusher = {**CONSOLE, "workers": 2, **sections.pop("pgusher", {})}
        proxy = make_proxy({"pgusher": pgusher, **sections})
        return proxy, Console(proxy)
    return make


def tenants(console):
    return {row["tenant"]: row for row in console.show("TENANTS")}


def test_show_tenants(own):
    proxy, console = own(tenants={"max_client_conn": 8, "max_server_conn": 2},
                         **{f"tenant {TENANT_B}": {"weight": 3}})
    assert tenants(console) == {}
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.raw(TENANT_A)) for _ in range(8)]
        other = stack.enter_context(proxy.raw(TENANT_B))
        assert other.scalar("SELECT 1") == "1"
        for conn in clients[:2]:
            conn.simple("BEGIN; SELECT 1")
        for conn in clients[2:5]:
            conn.send(pgproto.query("SELECT 1"))
        wait_until(lambda: tenants(console)[TENANT_A]["waiting"] == "3", "they wait")
        with pytest.raises(LoginError):
            proxy.raw(TENANT_A)
        row = tenants(console)[TENANT_A]
        assert {key: row[key] for key in row if "wait" not in key and key != "server_time"} == {
            "tenant": TENANT_A, "clients": "8", "active": "2", "max_client_conn": "8",
            "max_server_conn": "2", "weight": "1", "rejected": "1", "pinned": "0",
            "max_pinned": "20"}
        assert int(row["maxwait_us"]) + int(row["maxwait"]) > 0
        assert tenants(console)[TENANT_B]["weight"] == "3"
        wait_until(lambda: int(tenants(console)[TENANT_B]["server_time"]) > 0, "it is counted")
        for conn in clients[:2]:
            conn.simple("COMMIT")
        for conn in clients[2:5]:
            conn.read_until_ready()
        row = tenants(console)[TENANT_A]
        assert (row["active"], row["waiting"], row["maxwait"]) == ("0", "0", "0")
    # Who has no client is not there.
    wait_until(lambda: tenants(console) == {}, "they are gone")


def test_pinned_servers_are_shown(own, keys):
    proxy, console = own(pgusher={"max_server_conn": 8}, tenants={"max_pinned": 3})
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.raw(TENANT_A)) for _ in range(3)]
        clients[2].simple(f"SET usher.token = '{keys.token(TENANT_B)}'")
        for conn in clients:
            conn.simple("LISTEN a")
        assert {t: (row["pinned"], row["max_pinned"]) for t, row in tenants(console).items()} == {
            TENANT_A: ("2", "3"), TENANT_B: ("1", "3")}
        clients[0].simple("DISCARD ALL")
        assert tenants(console)[TENANT_A]["pinned"] == "1"


def test_kill_tenant(own, keys):
    proxy, console = own()
    victims = [proxy.raw(TENANT_A) for _ in range(4)]
    victims[1].simple("BEGIN; SELECT 1")
    other, changed = proxy.raw(TENANT_B), proxy.raw(TENANT_B)
    changed.simple(f"SET usher.token = '{keys.token(TENANT_A)}'")
    assert console.do(f"KILL_TENANT {TENANT_A}") == "KILL_TENANT"
    for conn in (*victims, changed):
        assert codes_of(conn.read_to_end()) == ["57P01"]
    assert other.scalar("SELECT 1") == "1"
    assert error_of(console.run, f"KILL_TENANT {TENANT_A}")["C"] == "42704"
    with proxy.raw(TENANT_A) as again:
        assert again.scalar("SELECT 1") == "1"


def test_disable(own):
    proxy, console = own()
    with proxy.raw(TENANT_A) as inside:
        assert console.do("DISABLE eav") == "DISABLE"
        for _ in range(6):  # whichever worker
            with pytest.raises(LoginError) as caught:
                proxy.raw(TENANT_B)
            assert caught.value.code == "57P03" and "disabled" in str(caught.value)
        assert inside.scalar("SELECT 1") == "1"
        row, = [r for r in console.show("DATABASES") if r["name"] == "eav"]
        assert row["disabled"] == "1"
        assert console.do("ENABLE eav") == "ENABLE"
        with proxy.raw(TENANT_B) as late:
            assert late.scalar("SELECT 1") == "1"
    assert error_of(console.run, "DISABLE nosuch")["C"] == "3D000"
    assert error_of(console.run, "DISABLE pgusher")["C"] == "55000"


def test_wait_close(own):
    proxy, console = own()
    assert console.do("WAIT_CLOSE eav") == "WAIT_CLOSE"
    with proxy.raw(TENANT_A) as holder:
        holder.simple("BEGIN; SELECT 1")
        console.do("RECONNECT")
        console.conn.send(pgproto.query("WAIT_CLOSE eav"))
        assert console.conn.is_silent(0.2)
        holder.simple("COMMIT")
        assert not errors_of(console.conn.read_until_ready())


def test_pool_size_is_shown(own):
    _, console = own(pgusher={"default_pool_size": 7, "max_server_conn": 50})
    rows = {row["name"]: row for row in console.show("DATABASES")}
    assert rows["eav"]["pool_size"] == "7"


@pytest.mark.parametrize("command", ("SUSPEND", "SHOW FDS"))
def test_what_makes_no_sense_here_says_so(own, command):
    _, console = own()
    error = error_of(console.run, command)
    assert error["C"] == "0A000" and "WAIT_FOR_CLIENTS" in error["M"]
