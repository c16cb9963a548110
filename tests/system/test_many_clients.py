"""Thousands of clients on a few servers: every one of them gets its answers, each its own tenant's,
and what is too much is refused in words. With PGUSHER_SOAK=1 the full number, on two processes."""

import os

import pytest

from load import Load, write_secrets

SOAK = os.environ.get("PGUSHER_SOAK") == "1"
CLIENTS, SERVERS = 2000, 20
TENANTS = range(1000, 1010)
ASK = "SELECT current_setting('app.current_tenant_id')"


@pytest.fixture
def secrets_file(keys, tmp_path):
    return write_secrets(tmp_path, [(keys.token(t), t) for t in TENANTS])


def assert_all_answered(line, clients, each):
    assert line["logged_in"] == clients and line["login_errors"] == 0, line
    assert line["errors"] == 0 and line["wrong"] == 0 and line["unanswered"] == 0, line
    assert line["client_min"] == line["client_max"] == each, line
    assert line["answers"] == clients * each, line


def test_all_get_their_answers(make_proxy, cluster, secrets_file):
    proxy = make_proxy({"pgusher": {"max_server_conn": SERVERS, "log_connections": "no",
                                    "log_disconnections": "no"}})
    line = Load(proxy.port, secrets_file, "send", clients=CLIENTS, count=5, sql=ASK).run()
    assert_all_answered(line, CLIENTS, 5)
    assert 1 <= len(cluster.backends("eav")) <= SERVERS
