"""Limits on clients: of a tenant, a database, a role; each refuses its own and nobody else's."""

import contextlib
import socket

import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import LoginError


def fill(stack, proxy, tenant, count):
    return [stack.enter_context(proxy.raw(tenant)) for _ in range(count)]


def refused(proxy, tenant, words):
    with pytest.raises(LoginError) as caught:
        proxy.raw(tenant)
    assert (caught.value.code, words in str(caught.value)) == ("53300", True), caught.value


@pytest.mark.parametrize("section", ["tenants", f"tenant {TENANT_A}"])
def test_a_tenant_fills_its_own_places_only(make_proxy, section):
    proxy = make_proxy({"pgusher": {"workers": 2}, section: {"max_client_conn": 3}})
    with contextlib.ExitStack() as stack:
        clients = fill(stack, proxy, TENANT_A, 3)
        refused(proxy, TENANT_A, "of this tenant")
        fill(stack, proxy, TENANT_B, 3)
        clients[0].terminate()
        wait_until(lambda: can_log_in(proxy, TENANT_A), "the place is free again")


def can_stay(stack, proxy, tenant):
    with contextlib.suppress(LoginError):
        return stack.enter_context(proxy.raw(tenant))
    return None


def can_log_in(proxy, tenant):
    with contextlib.suppress(LoginError):
        proxy.raw(tenant).terminate()
        return True
    return False


@pytest.mark.parametrize("first", [b"", p.startup({"user": "app", "database": "eav"})])
@pytest.mark.parametrize("more", [0, 200])
def test_who_does_not_log_in_keeps_nobody_out(make_proxy, first, more):
    proxy = make_proxy({"pgusher": {"workers": 2, "max_client_conn": 20}})
    with contextlib.ExitStack() as stack:
        known = fill(stack, proxy, TENANT_A, 5)
        for _ in range(15 + more):
            stranger = stack.enter_context(socket.create_connection(proxy.address))
            stranger.sendall(first)
        for _ in range(15):  # a worker makes places of its own strangers' only
            wait_until(lambda: can_stay(stack, proxy, TENANT_B), "a place is made")
        assert [c.scalar("SELECT 1") for c in known] == ["1"] * 5
        refused(proxy, TENANT_B, "max_client_conn")


def test_a_tenants_own_section_counts(make_proxy):
    proxy = make_proxy({"tenants": {"max_client_conn": 1},
                        f"tenant {TENANT_B}": {"max_client_conn": 0}})
    with contextlib.ExitStack() as stack:
        fill(stack, proxy, TENANT_A, 1)
        refused(proxy, TENANT_A, "of this tenant")
        fill(stack, proxy, TENANT_B, 5)


@pytest.mark.parametrize("section, words", [("database eav", "to this database"),
                                            ("role app", "of this role")])
def test_databases_and_roles(make_proxy, section, words):
    proxy = make_proxy({section: {"max_client_conn": 2}})
    with contextlib.ExitStack() as stack:
        fill(stack, proxy, TENANT_A, 1)
        fill(stack, proxy, TENANT_B, 1)
        refused(proxy, TENANT_A, words)


def test_a_change_of_token_moves_no_count(make_proxy, keys):
    """A client counts as the tenant that it logged in as, to its end."""
    proxy = make_proxy({"tenants": {"max_client_conn": 1}})
    with proxy.raw(TENANT_A) as conn:
        conn.simple(f"SET usher.token = '{keys.token(TENANT_B)}'")
        refused(proxy, TENANT_A, "of this tenant")
        proxy.raw(TENANT_B).terminate()
    wait_until(lambda: can_log_in(proxy, TENANT_A), "the place is free again")


# ---- servers that sessions keep -------------------------------------------------------------


def keep(conn, extended):
    replies = conn.run(p.one_shot("LISTEN a")) if extended else conn.simple("LISTEN a")
    return p.codes_of(replies)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("section", ["tenants", f"tenant {TENANT_A}"])
def test_a_tenant_keeps_so_many_servers(make_proxy, section, extended):
    proxy = make_proxy({"pgusher": {"workers": 2, "max_server_conn": 4}, section: {"max_pinned": 2}})
    with contextlib.ExitStack() as stack:
        one, two, three = fill(stack, proxy, TENANT_A, 3)
        for conn in (one, two):
            assert keep(conn, extended) == []
            assert keep(conn, extended) == []  # it has one already
        assert keep(three, extended) == ["53300"]
        assert three.scalar("SELECT 1") == "1"
        three.simple("BEGIN")
        assert keep(three, extended) == ["53300"]
        assert p.codes_of(three.simple("SELECT 1")) == ["25P02"]
        three.simple("ROLLBACK")
        other = stack.enter_context(proxy.raw(TENANT_B))
        assert keep(other, extended) == []
        # What ends it makes room: a statement, or the client's end.
        one.simple("UNLISTEN *")
        one.scalar("SELECT 1")
        assert keep(three, extended) == []
        assert keep(one, extended) == ["53300"]
        two.terminate()
        wait_until(lambda: keep(one, extended) == [], "the place is free again")
        one.simple("DISCARD ALL")
        two = stack.enter_context(proxy.raw(TENANT_A))
        assert keep(two, extended) == []


def test_what_is_kept_counts_for_the_tenant_of_the_moment(make_proxy, keys):
    """As max_server_conn does: SET usher.token decides, not the login."""
    proxy = make_proxy({"pgusher": {"workers": 2, "max_server_conn": 8}, "tenants": {"max_pinned": 1}})
    to_b = f"SET usher.token = '{keys.token(TENANT_B)}'"
    with contextlib.ExitStack() as stack:
        one, two, three, four = fill(stack, proxy, TENANT_A, 4)
        assert keep(one, False) == []
        assert keep(two, False) == ["53300"]
        two.simple(to_b)
        assert keep(two, False) == []
        three.simple(to_b)
        assert keep(three, False) == ["53300"]
        two.simple("DISCARD ALL")  # its token is the login's again
        assert keep(two, False) == ["53300"]
        assert keep(three, False) == []
        one.simple("DISCARD ALL")
        assert keep(four, False) == []


def test_a_setting_that_keeps_one_too_many_ends_its_client(make_proxy):
    proxy = make_proxy({"pgusher": {"workers": 1, "max_server_conn": 4}, "tenants": {"max_pinned": 1}})
    long = f"SET my.long = '{'x' * 5000}'"
    with proxy.raw(TENANT_A) as one, proxy.raw(TENANT_A) as two:
        one.simple(long)
        assert keep(two, False) == ["53300"]
        two.send(p.query(long))
        last = two.read_to_end()[-1].fields()
        assert last["C"] == "53300" and "max_pinned" in last["M"]
        one.simple("RESET my.long")
        one.simple("DISCARD ALL")
        with proxy.raw(TENANT_A) as three:
            assert keep(three, False) == []
