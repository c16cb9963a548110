"""A token that has expired runs nothing new, whatever stands around it; what was under way when it
expired may finish. By both protocols, for tenants and for services (roles of no tenant)."""

import time

import pytest

import pgproto as p
from conftest import TENANT_A
from pgproto import ConnectionClosed

GONE = (ConnectionClosed, ConnectionResetError, BrokenPipeError)
WAIT_S = 3.2  # a token of two seconds has expired, whatever the second it was made in
REFUSED = "SET app.current_tenant_id = 4; garbage("
DEEP = " AND ".join(["true"] * 4200)  # such text is not parsed


@pytest.fixture
def log_in(make_proxy, keys):
    """A client of a tenant, or of a service, whose token lives for two seconds."""
    proxies = {}

    def connect(who):
        if who not in proxies:
            proxies[who] = make_proxy({"role app": {"tenant": "none"}} if who == "service" else {})
        proxy = proxies[who]
        claims = {"role": "app", "exp": int(time.time()) + 2}
        if who == "tenant":
            claims["tenant_id"] = str(TENANT_A)
        return proxy.raw(None, secret=keys.hand_made(claims), timeout=10)
    return connect


def runs_of(conn, messages):
    """How many rows came until the connection ended; None: it did not."""
    seen = []
    try:
        for message in messages:
            conn.send(message)
            seen += conn.read_until_ready()
    except GONE:
        return len([m for m in seen if m.type == "D"])
    return None


def extended(*statements):
    return b"".join(p.parse("", s) + p.bind("", "") + p.execute() for s in statements) + p.sync()


ANEW = {
    "block": [p.query("BEGIN"), p.query("SELECT 1")],
    "mode": [p.query("BEGIN ISOLATION LEVEL SERIALIZABLE"), p.query("SELECT 1")],
    "string": [p.query("BEGIN; SELECT 1")],
    "batch": [extended("BEGIN", "SELECT 1")],
    "batches": [extended("BEGIN"), extended("SELECT 1")],
    "failed": [p.query("BEGIN"), p.query(REFUSED), p.query("ROLLBACK; SELECT 1")],
    "failed-mode": [p.query("BEGIN ISOLATION LEVEL SERIALIZABLE"), p.query(REFUSED),
                    p.query("ROLLBACK; SELECT 1")],
    "failed-chain": [p.query("BEGIN"), p.query(REFUSED), p.query("ROLLBACK AND CHAIN; SELECT 1")],
    "failed-block": [p.query("BEGIN"), p.query(REFUSED), p.query("ROLLBACK; BEGIN; SELECT 1")],
    "failed-batch": [p.query("BEGIN"), p.query(REFUSED), extended("ROLLBACK", "SELECT 1")],
    "failed-deep": [p.query("BEGIN"), p.query(REFUSED), p.query(f"ROLLBACK; SELECT 1 WHERE {DEEP}")],
}


@pytest.mark.parametrize("who", ["tenant", "service"])
def test_nothing_new_runs(log_in, who):
    clients = [(name, messages, log_in(who)) for name, messages in ANEW.items()]
    for _, _, conn in clients:
        conn.simple("SELECT 1")
    time.sleep(WAIT_S)
    ran = {name: runs_of(conn, messages) for name, messages, conn in clients}
    assert ran == dict.fromkeys(ANEW, 0)


UNDER_WAY = [
    [p.query("BEGIN"), p.query("SELECT 1")],
    [p.query("BEGIN; SELECT 1")],
    [extended("BEGIN", "SELECT 1")],
    [p.query("BEGIN; SAVEPOINT s"), p.query("SELECT 1/0"), p.query("ROLLBACK TO s")],
]


@pytest.mark.parametrize("who", ["tenant", "service"])
def test_what_is_under_way_may_end(log_in, who):
    clients = [log_in(who) for _ in UNDER_WAY]
    failed = log_in(who)
    failed.simple("BEGIN; SELECT 1/0")
    for conn, begin in zip(clients, UNDER_WAY):
        for message in begin:
            conn.send(message)
            conn.read_until_ready()
    time.sleep(WAIT_S)
    for conn in clients:
        assert conn.scalar("SELECT 1") == "1"
        assert p.rows_of(conn.run(extended("SELECT 2"))) == [("2",)]
        assert p.tags_of(conn.simple("COMMIT")) == ["COMMIT"]
        assert runs_of(conn, [p.query("SELECT 3")]) == 0
    assert p.codes_of(failed.simple("SELECT 1")) == ["25P02"]
    assert p.tags_of(failed.simple("ROLLBACK; BEGIN")) == ["ROLLBACK", "BEGIN"]
    assert runs_of(failed, [p.query("SELECT 3")]) == 0
