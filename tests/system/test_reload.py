"""RELOAD, SIGHUP and SET: the ini file is taken whole while clients are at work, or not at all."""

import json
import os
import shutil
import signal
import subprocess

import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import LoginError, PgError, message, rows_of, tags_of
from console import CONSOLE, Console, error_of

REMOVED = "terminating connection: its {} was removed from PgUsher's configuration"


@pytest.fixture
def own(make_proxy):
    def make(overrides=None, **more):
        proxy = make_proxy({**(overrides or {}), "pgusher": {
            **CONSOLE, **(overrides or {}).get("pgusher", {})}}, **more)
        return proxy, Console(proxy)
    return make


def change(proxy, console, sections):
    """Writes the ini anew and RELOADs; a section that is None is gone. The replies."""
    for name, keys in sections.items():
        if keys is None:
            proxy.sections.pop(name, None)
        else:
            proxy.sections.setdefault(name, {}).update(keys)
    proxy.write_ini()
    replies = console.run("RELOAD")
    rows_of(replies)  # raises an error
    return replies


def config(console):
    return {row["key"]: row["value"] for row in console.show("CONFIG")}


def end_of(conn):
    """What a client is told that is ended: SQLSTATE and text."""
    last = conn.read_to_end()[-1].fields()
    return last["C"], last["M"]


# ---- options ----------------------------------------------------------------------------------


def test_the_guard_holds_for_what_is_prepared_already(own):
    proxy, console = own()
    sql = "SELECT pg_try_advisory_xact_lock(3)"
    with proxy.raw(TENANT_A) as conn:
        conn.run(p.parse("", sql) + p.parse("locks", sql) + p.parse("one", "SELECT 1") + p.sync())
        for mode, codes in (("standard", []), ("strict", ["42501"]), ("standard", [])):
            change(proxy, console, {"guard": {"mode": mode}})
            for name in ("", "locks"):
                assert p.codes_of(conn.run(p.bind("", name) + p.execute() + p.sync())) == codes
            assert p.codes_of(conn.run(p.bind("", "one") + p.execute() + p.sync())) == []


def test_limits_are_taken(own):
    proxy, console = own()
    with proxy.raw(TENANT_A) as conn:
        change(proxy, console, {"tenants": {"max_client_conn": 1}})
        with pytest.raises(LoginError, match="too many connections of this tenant"):
            proxy.raw(TENANT_A)
        change(proxy, console, {f"tenant {TENANT_A}": {"max_client_conn": 2}})
        with proxy.raw(TENANT_A) as second:
            assert second.scalar("SELECT 1") == "1"
            assert conn.scalar("SELECT 1") == "1"
    assert config(console)[f"tenant {TENANT_A}.max_client_conn"] == "2"


def test_a_restart_is_asked_for(own):
    proxy, console = own()
    port = proxy.port
    replies = change(proxy, console, {"pgusher": {"listen_port": 1, "max_client_conn": 77},
                                      "context": {"setting": "a.b"}})
    notice = next(m for m in replies if m.type == "N").fields()["M"]
    assert notice == "until a restart these stay as they were: listen_port, context.setting"
    assert notice in proxy.log()
    assert config(console)["listen_port"] == str(port)
    assert config(console)["max_client_conn"] == "77"


def test_an_error_changes_nothing(own):
    proxy, console = own()
    before = config(console)
    with proxy.raw(TENANT_A) as conn:
        with pytest.raises(PgError) as caught:
            change(proxy, console, {"pgusher": {"max_client_conn": 5, "query_timeout": "soon"}})
        with open(proxy.ini, encoding="utf-8") as file:
            line = [text.split(" ")[0] for text in file].index("query_timeout") + 1
        assert f"{proxy.ini}:{line}: query_timeout: \"soon\"" in str(caught.value)
        assert f"{proxy.ini}:{line}: query_timeout: \"soon\"" in proxy.log()
        assert config(console) == before
        said = proxy.log().count("the old configuration stays")
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: proxy.log().count("the old configuration stays") > said, "SIGHUP")
        assert conn.scalar("SELECT 1") == "1"
    change(proxy, console, {"pgusher": {"query_timeout": "9s"}})
    assert config(console)["query_timeout"] == "9"
    # A file that a new section names.
    with pytest.raises(PgError, match="nosuch.json"):
        change(proxy, console, {"jwt x": {"jwks_file": "/nosuch.json", "issuer": "x"}})
    assert config(console)["query_timeout"] == "9"


def test_a_key_file_that_is_no_good_refuses_it(own, keys, tmp_path):
    """The one that is in use, too: the whole of the old configuration stays, its keys with it."""
    jwks = tmp_path / "keys.json"
    with open(keys.jwks_file, encoding="utf-8") as file:
        good = file.read()
    jwks.write_text(good)
    proxy, console = own({"jwt": {"jwks_file": jwks}})
    before = config(console)
    for bad, why in (("{", "not valid JSON"), ("{}", "")):
        jwks.write_text(bad)
        with pytest.raises(PgError, match=f"the old configuration stays.*{jwks}.*{why}"):
            change(proxy, console, {"pgusher": {"query_timeout": "8s"}})
        assert config(console) == before
        with proxy.raw(TENANT_A) as conn:
            assert conn.scalar("SELECT 1") == "1"
    # What is changed here has nothing to do with files.
    assert console.do("SET query_wait_timeout = '13s'") == "SET"
    jwks.write_text(good)
    change(proxy, console, {"pgusher": {"query_timeout": "8s"}})
    assert config(console)["query_timeout"] == "8"


def test_sighup(own):
    proxy, console = own()
    proxy.sections["pgusher"]["query_timeout"] = "7s"
    proxy.write_ini()
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: config(console)["query_timeout"] == "7", "SIGHUP is taken")


def test_timeouts_hold_for_the_next_event(own):
    proxy, console = own()
    with proxy.raw(TENANT_A) as conn:
        change(proxy, console, {"pgusher": {"query_timeout": "200ms"}})
        conn.send(message("Q", b"SELECT pg_sleep(30)\0"))
        assert end_of(conn)[0] == "57014"


def test_set(own):
    proxy, console = own()
    assert console.do("SET query_timeout = '11s'") == "SET"
    assert console.do("SET max_client_conn TO 99") == "SET"
    assert console.do("SET admin_users = 'dba, it''s'") == "SET"
    assert (config(console)["query_timeout"], config(console)["max_client_conn"]) == ("11", "99")
    assert error_of(console.run, "SET max_client_conn = x")["M"].startswith("max_client_conn: \"x\"")
    assert "restart" in error_of(console.run, "SET listen_port = 1")["M"]
    assert "did you mean query_timeout" in error_of(console.run, "SET query_timeou = 1")["M"]
    assert config(console)["query_timeout"] == "11"
    assert console.do("RELOAD") == "RELOAD"
    assert config(console)["query_timeout"] == "0"
    with pytest.raises(PgError, match="admin access needed"):
        Console(proxy, "monitoring").do("SET max_client_conn = 1")


def test_lowered_server_limit(own):
    proxy, console = own({"pgusher": {"max_server_conn": 4}})
    conns = [proxy.raw(TENANT_A) for _ in range(4)]
    for conn in conns:
        conn.simple("BEGIN; SELECT 1")
    assert len(console.show("SERVERS")) == 4
    change(proxy, console, {"pgusher": {"max_server_conn": 2}})
    for conn in conns:
        assert conn.simple("COMMIT")
    wait_until(lambda: len(console.show("SERVERS")) <= 2, "servers are closed")
    # Raised, with somebody waiting.
    for conn in conns[:2]:
        conn.simple("BEGIN; SELECT 1")
    conns[2].send(message("Q", b"SELECT 3\0"))
    wait_until(lambda: console.pool()["cl_waiting"] == "1", "it waits")
    change(proxy, console, {"pgusher": {"max_server_conn": 3}})
    assert rows_of(conns[2].read_until_ready()) == [("3",)]


# ---- sections ---------------------------------------------------------------------------------


def test_a_database_comes_and_goes(own):
    proxy, console = own()
    with pytest.raises(LoginError):
        proxy.raw(TENANT_A, "other")
    change(proxy, console, {"database other": {"dbname": "eav", "nodes": "primary"}})
    idle, busy, begun = (proxy.raw(TENANT_A, "other") for _ in range(3))
    stays = proxy.raw(TENANT_A)
    assert idle.scalar("SELECT current_database()") == "eav"
    busy.simple("BEGIN; SELECT 1")
    begun.simple("BEGIN")
    change(proxy, console, {"database other": None})
    assert end_of(idle) == end_of(begun) == ("57P01", REMOVED.format("database"))
    with pytest.raises(LoginError, match="other"):
        proxy.raw(TENANT_A, "other")
    # What is under way ends first.
    assert busy.scalar("SELECT 2") == "2"
    assert tags_of(busy.simple("COMMIT")) == ["COMMIT"]
    assert end_of(busy) == ("57P01", REMOVED.format("database"))
    assert stays.scalar("SELECT 3") == "3"
    # Another one by the same name.
    change(proxy, console, {"database other": {"dbname": "pristine", "nodes": "primary"}})
    with proxy.raw(TENANT_A, "other") as again:
        assert again.scalar("SELECT current_database()") == "pristine"


def test_one_that_waits_for_a_removed_database_ends(own):
    proxy, console = own({"pgusher": {"max_server_conn": 1},
                          "database other": {"dbname": "eav", "nodes": "primary"}})
    busy, waits = proxy.raw(TENANT_A), proxy.raw(TENANT_A, "other")
    busy.simple("BEGIN; SELECT 1")
    waits.send(message("Q", b"SELECT 1\0"))
    wait_until(lambda: console.pool("other").get("cl_waiting") == "1", "it waits")
    change(proxy, console, {"database other": None})
    assert end_of(waits) == ("57P01", REMOVED.format("database"))
    assert busy.scalar("SELECT 1") == "1"


def test_a_role_comes_and_goes(own, cluster):
    proxy, console = own({"role app": {"tenant": "required"}})
    other = proxy.raw(TENANT_A)
    change(proxy, console, {"role app": None, "role nobody": {"tenant": "none"}})
    assert end_of(other) == ("57P01", REMOVED.format("role"))
    with pytest.raises(LoginError, match="role"):
        proxy.raw(TENANT_A)
    change(proxy, console, {"role app": {"password_file": cluster.password_file}})
    with proxy.raw(TENANT_A) as again:
        assert again.scalar("SELECT 1") == "1"
        # A token that was checked to name a tenant, and statements without a context.
        change(proxy, console, {"role app": {"tenant": "none"}})
        assert end_of(again)[0] == "57P01"


def test_another_address_or_database(own, cluster):
    """Clients stay; their next transactions run where the file says now."""
    proxy, console = own()
    idle, busy = proxy.raw(TENANT_A), proxy.raw(TENANT_A)
    busy.simple("BEGIN; SELECT 1")
    before = busy.scalar("SELECT pg_backend_pid()")
    change(proxy, console, {"database eav": {"nodes": "new"},
                            "node new": {"host": "localhost", "port": cluster.ports["primary"]}})
    assert [row["node"] for row in console.show("SERVERS")] == ["primary"]
    assert idle.scalar("SELECT pg_backend_pid()") != before
    assert busy.scalar("SELECT pg_backend_pid()") == before
    busy.simple("COMMIT")
    assert busy.scalar("SELECT pg_backend_pid()") != before
    assert {row["node"] for row in console.show("SERVERS")} == {"new"}
    change(proxy, console, {"database eav": {"dbname": "pristine"}})
    for conn in (idle, busy):
        assert conn.scalar("SELECT current_database()") == "pristine"


def test_another_password(own, cluster, tmp_path):
    """A wrong one is repaired without a restart, and what waited goes on."""
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    wrong.chmod(0o600)
    proxy, console = own({"pgusher": {"server_login_retry": "1h"},
                          "role app": {"password_file": wrong}})
    with pytest.raises(LoginError):
        proxy.raw(TENANT_A)
    shutil.copy(cluster.password_file, wrong)
    change(proxy, console, {})
    with proxy.raw(TENANT_A) as conn:
        first = conn.scalar("SELECT pg_backend_pid()")
        change(proxy, console, {})
        assert conn.scalar("SELECT pg_backend_pid()") == first, "nothing changed: it stays"


def test_an_issuer_comes_and_goes(own, keys, tmp_path):
    proxy, console = own()
    alg_key = keys.new_key("ES256", "issuer_of_reload")
    jwks = tmp_path / "second.json"
    jwks.write_text(json.dumps({"keys": keys.public(alg_key)}))
    token = keys.token(TENANT_A, key_file=alg_key, extra=("--claim", "iss=second"))
    for _ in range(3):
        with pytest.raises(LoginError):
            proxy.raw(TENANT_A, secret=token)
        change(proxy, console, {"jwt second": {"jwks_file": jwks, "issuer": "second",
                                               "algorithms": "ES256"}})
        for _ in range(4):  # on either worker
            proxy.raw(TENANT_A, secret=token).close()
        change(proxy, console, {"jwt second": None})


def test_many_changes_under_load(own, cluster):
    """20 RELOADs beside pgbench, each with other limits (of the node, the pool and the tenant) and
    a database that comes and goes, whose client finds all servers in use."""
    proxy, console = own({"pgusher": {"max_server_conn": 4}})
    bench = subprocess.Popen(
        [os.path.join(cluster.bin, "pgbench"), "-n", "-c", "16", "-j", "2", "-T", "600",
         "-f", str(script(proxy))], env=proxy.psql_env(TENANT_A), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: int(console.pool().get("cl_active", 0)) > 0, "pgbench is at work")
        for i in range(20):
            database = {"dbname": "eav", "nodes": "primary"} if i % 2 == 0 else None
            change(proxy, console, {
                "pgusher": {"max_server_conn": 2 + i % 4, "query_timeout": f"{60 + i}s"},
                "tenants": {"max_server_conn": i % 3, "weight": 1 + i % 5},
                "database other": database,
                "database eav": {"max_client_conn": 100 + i, "pool_size": 2 + i % 5 % 3}})
            if database:
                proxy.raw(TENANT_B, "other").scalar("SELECT 1")
            done = served(console) + 20
            wait_until(lambda least=done: served(console) > least, "it goes on")
        assert bench.poll() is None, bench.communicate()[0]
    finally:
        bench.send_signal(signal.SIGINT)
    said = bench.communicate()[0]
    assert "aborted" not in said and "ERROR" not in said and "FATAL" not in said, said


def served(console):
    return sum(int(row["total_xact_count"]) for row in console.show("STATS"))


def script(proxy):
    path = os.path.join(proxy.folder, "load.sql")
    with open(path, "w", encoding="utf-8") as file:
        file.write("SELECT count(*) FROM item;\nBEGIN;\nSELECT 1;\nSELECT 2;\nCOMMIT;\n")
    return path


def test_orders_at_once(own):
    """Several consoles and SIGHUP: one after the other, each answered, the last file holds."""
    proxy, console = own()
    others = [Console(proxy) for _ in range(8)]
    for round_ in range(3):
        proxy.sections["pgusher"]["query_timeout"] = f"{round_ + 5}s"
        proxy.write_ini()
        for other in others:
            other.conn.send(message("Q", b"RELOAD\0"))
        proxy.process.send_signal(signal.SIGHUP)
        for other in others:
            assert tags_of(other.conn.read_until_ready()) == ["RELOAD"]
        assert config(console)["query_timeout"] == str(round_ + 5)
