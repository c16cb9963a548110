"""pool_mode = session: the server connection is the client's until it disconnects, then it is cleaned
and goes to the next one. The tenant context is each transaction's all the same."""

import psycopg
import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B

pytestmark = pytest.mark.usefixtures("items")

SESSION = {"pgusher": {"workers": 1, "max_server_conn": 1, "pool_mode": "session"}}
BY_DATABASE = {"pgusher": {"workers": 1, "max_server_conn": 1},
               "database eav": {"pool_mode": "session"}}
WHO = "SELECT DISTINCT tenant_id FROM item"


@pytest.mark.parametrize("overrides", [SESSION, BY_DATABASE])
def test_session_state_lives_as_long_as_the_client(make_proxy, overrides):
    proxy = make_proxy(overrides)
    with proxy.raw(TENANT_A) as a, proxy.raw(TENANT_B) as b:
        pid = a.scalar("SELECT pg_backend_pid()")
        a.simple("SET work_mem = '5MB'")
        a.simple("CREATE TEMP TABLE mine (a int)")
        assert a.scalar(WHO) == str(TENANT_A)
        b.send(p.query("SELECT pg_backend_pid(), current_setting('work_mem'), "
                       "to_regclass('pg_temp.mine'), (" + WHO + ")"))
        assert b.is_silent(), "the only server is a's"
        assert a.scalar("SHOW work_mem") == "5MB"
        assert a.scalar("SELECT count(*) FROM mine") == "0"
        a.terminate()
        assert p.rows_of(b.read_until_ready()) == [(pid, "4MB", None, str(TENANT_B))]


def test_a_client_that_never_asked_holds_no_server(make_proxy):
    proxy = make_proxy(SESSION)
    with proxy.raw(TENANT_A) as idle, proxy.raw(TENANT_B) as busy:
        assert busy.scalar("SELECT 1") == "1"
        busy.terminate()
        assert idle.scalar("SELECT 1") == "1"


def test_discard_all_does_not_give_the_server_up(make_proxy):
    proxy = make_proxy(SESSION)
    with proxy.raw(TENANT_A) as a:
        pid = a.scalar("SELECT pg_backend_pid()")
        a.simple("LISTEN x")
        a.simple("DISCARD ALL")
        with proxy.raw(TENANT_B) as b:
            b.send(p.query("SELECT 1"))
            assert b.is_silent()
            assert a.scalar("SELECT pg_backend_pid()") == pid


def test_drivers_prepare_and_pipeline(make_proxy, cluster):
    proxy = make_proxy(SESSION)
    for tenant in (TENANT_A, TENANT_B):
        with psycopg.connect(**proxy.dsn(tenant), autocommit=True) as conn:
            conn.prepare_threshold = 0
            conn.execute("SET DateStyle = 'SQL, DMY'")
            for _ in range(3):
                assert conn.execute(WHO).fetchall() == [(tenant,)]
            with conn.pipeline():
                rows = [conn.execute(WHO) for _ in range(3)]
            assert all(row.fetchall() == [(tenant,)] for row in rows)
    wait_until(lambda: not cluster.sql(
        "SELECT 1 FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'"), "all idle")
