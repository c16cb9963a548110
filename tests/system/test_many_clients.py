"""Thousands of clients on a few servers: every one of them gets its answers, each its own tenant's,
and what is too much is refused in words. With PGUSHER_SOAK=1 the full number, on two processes."""

import os
import socket

import pytest

import pgproto as p
from cluster import wait_until
from load import Load, write_secrets
from proxy import Proxy, free_port

SOAK = os.environ.get("PGUSHER_SOAK") == "1"
CLIENTS, SERVERS = 2000, 20
TENANTS = range(1000, 1010)
ASK = "SELECT current_setting('app.current_tenant_id')"


@pytest.fixture
def secrets_file(keys, tmp_path):
    return write_secrets(tmp_path, [(keys.token(t), t) for t in TENANTS])


class Backends:
    """The server connections that came since; other tests' proxies have some, too."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.before = self._pids()

    def _pids(self):
        return {backend["pid"] for backend in self.cluster.backends("eav")}

    def count(self):
        return len(self._pids() - self.before)


def assert_all_answered(line, clients, each):
    assert line["logged_in"] == clients and line["login_errors"] == 0, line
    assert line["errors"] == 0 and line["wrong"] == 0 and line["unanswered"] == 0, line
    assert line["client_min"] == line["client_max"] == each, line
    assert line["answers"] == clients * each, line


def test_all_get_their_answers(make_proxy, cluster, secrets_file):
    backends = Backends(cluster)
    proxy = make_proxy({"pgusher": {"max_server_conn": SERVERS, "log_connections": "no",
                                    "log_disconnections": "no"}})
    line = Load(proxy.port, secrets_file, "send", clients=CLIENTS, count=5, sql=ASK).run()
    assert_all_answered(line, CLIENTS, 5)
    assert 1 <= backends.count() <= SERVERS


def test_more_clients_than_descriptors(make_proxy, keys, secrets_file):
    """Those who fit work on, with servers and cancels; the others are told why they do not."""
    proxy = make_proxy({"pgusher": {"max_server_conn": 4, "workers": 2}}, descriptors=300)
    assert "there is room for about" in proxy.log()
    with proxy.raw(TENANTS[0]) as early:
        with Load(proxy.port, secrets_file, "idle", clients=400) as load:
            line = load.line
            assert line["logged_in"] + line["login_errors"] == 400, line
            assert line["logged_in"] >= 50 and line["login_errors"] >= 100, line
            assert line["first_error"] == (
                "53300 no more connections allowed (the limit of open files)"), line
            assert early.scalar(ASK) == str(TENANTS[0])
            early.send(p.query("SELECT pg_sleep(60)"))
            cancel_until_taken(early)
            with pytest.raises(p.LoginError) as refused:
                proxy.raw(TENANTS[1])
            assert refused.value.code == "53300"
        wait_until(lambda: can_log_in(proxy), "there is room again")
    assert "cannot accept connections" not in proxy.log()


def cancel_until_taken(conn):
    """The first may come before the query has a server."""
    for _ in range(100):
        conn.cancel()
        if not conn.is_silent():
            break
    assert p.codes_of(conn.read_until_ready()) == ["57014"]


def can_log_in(proxy):
    try:
        proxy.raw(TENANTS[1]).terminate()
    except p.LoginError:
        return False
    return True


def test_connections_that_say_nothing(make_proxy, secrets_file):
    """They hold descriptors without ever logging in, and must not hold those of the servers."""
    proxy = make_proxy({"pgusher": {"max_server_conn": 4, "client_login_timeout": "3s"}},
                       descriptors=300)
    with proxy.raw(TENANTS[0]) as early:
        mute = [socket.create_connection(proxy.address, 5) for _ in range(400)]
        assert early.scalar(ASK) == str(TENANTS[0])
        last = p.Connection(proxy.address)
        assert p.codes_of(last.read_to_end()) == ["53300"]
        wait_until(lambda: can_log_in(proxy), "the mute ones were closed")
        for sock in mute:
            sock.close()
    assert "cannot accept connections" not in proxy.log()


def test_too_few_descriptors_to_begin_with(cluster, keys, tmp_path):
    with pytest.raises(AssertionError, match="the descriptor limit .* is 60, too low"):
        Proxy(cluster, keys, tmp_path, descriptors=60).start()


@pytest.mark.skipif(not SOAK, reason="PGUSHER_SOAK=1: 20,000 clients, some minutes")
def test_twenty_thousand(cluster, keys, tmp_path, secrets_file):
    """Two processes on one port, with 100 servers each, because one may not open so many files
    everywhere. All clients are logged in at once, and each gets every answer."""
    proxies, port, backends = [], free_port(), Backends(cluster)
    try:
        for number in (1, 2):
            folder = tmp_path / f"p{number}"
            folder.mkdir()
            proxy = Proxy(cluster, keys, folder, {"pgusher": {
                "listen_port": port, "peer_id": number, "max_server_conn": 100,
                "log_connections": "no", "log_disconnections": "no"}})
            proxy.port = port
            proxies.append(proxy.start())
            proxy.wait_log("is ready")
        line = Load(port, secrets_file, "send", clients=20000, sources=4, processes=2, count=10,
                    sql=ASK).run(600)
        print(line)
        assert_all_answered(line, 20000, 10)
        assert backends.count() <= 200
    finally:
        for proxy in proxies:
            proxy.stop()
