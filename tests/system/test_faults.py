"""What goes wrong outside: servers that die, clients that vanish, a full pool, wrong passwords,
expired tokens, malformed packets. Each has a clear message, and nothing hangs or stays dirty."""

import os
import re
import signal
import struct
import threading
import time

import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import ConnectionClosed, LoginError
from proxy import run_binary

pytestmark = pytest.mark.usefixtures("items")

WHO = "SELECT DISTINCT tenant_id FROM item"
CLOSED = (ConnectionClosed, ConnectionResetError, BrokenPipeError)


def serves(proxy, tenant=TENANT_B):
    """A new client gets in and sees its own rows: the proxy is in order again."""
    with proxy.raw(tenant) as conn:
        return conn.scalar(WHO) == str(tenant)


def pid_of(conn):
    return int(conn.scalar("SELECT pg_backend_pid()"))


def item_exists(cluster, item):
    return cluster.sql("SELECT count(*) FROM item WHERE id = %s", (item,), dbname="eav") == [(1,)]


# ---- servers that die --------------------------------------------------------------------


def test_idle_backend_killed(tiny_proxy, cluster):
    """Nothing was under way: the client must not notice."""
    with tiny_proxy.raw(TENANT_A) as conn:
        pid = pid_of(conn)
        cluster.kill_backend(pid)
        assert conn.scalar(WHO) == str(TENANT_A)
        assert pid_of(conn) != pid


def test_backend_killed_in_a_query(tiny_proxy, cluster):
    conn = tiny_proxy.raw(TENANT_A)
    conn.send(p.query("SELECT pg_sleep(60) /* victim */"))
    cluster.kill_backend(cluster.backend_running("victim", "eav"))
    messages = conn.read_to_end()
    # PostgreSQL's own reason, and no other behind it: drivers show the last.
    assert p.codes_of(messages) == ["57P01"]
    assert not [m for m in messages if m.type in "CZ"]
    conn.close()
    assert serves(tiny_proxy)


def test_backend_killed_in_a_transaction(tiny_proxy, cluster):
    conn = tiny_proxy.raw(TENANT_A)
    conn.simple("BEGIN")
    conn.simple(f"INSERT INTO item VALUES (600, {TENANT_A}, 'lost', 1)")
    cluster.kill_backend(pid_of(conn))
    try:
        conn.send(p.query("SELECT 1"))
        messages = conn.read_to_end()
    except CLOSED:
        messages = []
    # Never a quiet new transaction on another server.
    assert not p.tags_of(messages)
    assert set(p.codes_of(messages)) <= {"57P01", "08006"}
    conn.close()
    assert serves(tiny_proxy)
    assert not item_exists(cluster, 600)


def test_backend_killed_in_mid_result(tiny_proxy, cluster):
    conn = tiny_proxy.raw(TENANT_A)
    conn.send(p.query("SELECT i, repeat('x', 1000), pg_sleep(0.0005)"
                      " FROM generate_series(1, 1000000) i"))
    conn.read_until("D")
    cluster.kill_backend(cluster.backend_running("generate_series", "eav"))
    messages = conn.read_to_end()
    assert not p.tags_of(messages) and messages[-1].type == "E"
    conn.close()
    assert serves(tiny_proxy)


@pytest.mark.parametrize("direction", ["in", "out"])
def test_backend_killed_in_copy(tiny_proxy, cluster, direction):
    conn = tiny_proxy.raw(TENANT_A)
    if direction == "in":
        conn.send(p.query("COPY bulk FROM STDIN"))
        conn.read_until("G")
        conn.send(p.copy_data("1\tone\n"))
    else:
        conn.send(p.query("COPY (SELECT i, pg_sleep(0.001) FROM generate_series(1, 100000) i)"
                          " TO STDOUT"))
        conn.read_until("d")
    cluster.kill_backend(cluster.backend_running("COPY", "eav"))
    try:
        for _ in range(50 if direction == "in" else 0):
            conn.send(p.copy_data("2\ttwo\n"))
        messages = conn.read_to_end()
    except CLOSED:
        messages = []
    assert not p.tags_of(messages)
    conn.close()
    assert serves(tiny_proxy)


def test_postgresql_restart(make_proxy, cluster):
    """Clients with nothing under way stay connected over a restart of the primary."""
    proxy = make_proxy({"pgusher": {"max_server_conn": 3}})
    clients = [proxy.raw(t) for t in (TENANT_A, TENANT_B) * 3]
    for conn in clients:
        conn.scalar(WHO)
    cluster.restart("primary")
    for number, conn in enumerate(clients):
        assert conn.scalar(WHO) == str((TENANT_A, TENANT_B)[number % 2])
        conn.terminate()


def test_postgresql_not_there(make_proxy, keys):
    """A clear error within query_wait_timeout, or at login; not a hang."""
    proxy = make_proxy({
        "node nowhere": {"host": "127.0.0.1", "port": 1},
        "database gone": {"dbname": "eav", "nodes": "nowhere"},
        "pgusher": {"query_wait_timeout": "1s"},
    })
    with pytest.raises((LoginError, p.PgError)) as caught:
        with proxy.raw(TENANT_A, "gone") as conn:
            conn.rows("SELECT 1")
    assert caught.value.code in ("57P03", "57014", "08001", "08006")
    assert serves(proxy)


def test_wrong_password_of_the_role(make_proxy, tmp_path):
    secret = tmp_path / "wrong.password"
    secret.write_text("not-the-password\n")
    secret.chmod(0o600)
    proxy = make_proxy({
        "role app": {"password_file": secret}, "pgusher": {"query_wait_timeout": "3s"},
    })
    with pytest.raises((LoginError, p.PgError)) as caught:
        with proxy.raw(TENANT_A) as conn:
            conn.rows("SELECT 1")
    assert caught.value.code in ("57P03", "57014", "28P01"), caught.value
    proxy.wait_log("password authentication failed")
    assert "not-the-password" not in proxy.log()


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize("key", ["jwks_file", "password_file"])
def test_missing_file_ends_with_status_1(proxy, tmp_path, command, key):
    with open(proxy.ini, encoding="utf-8") as file:
        lines = file.read().splitlines()
    number = next(i for i, line in enumerate(lines) if line.startswith(f"{key} ="))
    lines[number] = f"{key} = {tmp_path}/not-there"
    ini = tmp_path / "missing.ini"
    ini.write_text("\n".join(lines))
    done = run_binary(command, "-c", str(ini))
    assert done.returncode == 1
    assert f"{ini}:{number + 1}: {key}: " in done.stderr and "not-there" in done.stderr


@pytest.mark.parametrize("how", ["later", "with the token"])
def test_client_gone_in_its_login(make_proxy, keys, how):
    """It waits for a server that does not come, gives up, and is gone: not a place taken until
    client_login_timeout."""
    proxy = make_proxy({"node primary": {"port": 1}})
    with p.Connection(proxy.address) as conn:
        conn.send(p.startup({"user": "app", "database": "eav"}))
        assert conn.read().type == "R"
        if how == "later":
            conn.send(p.password(keys.token(TENANT_A)))
            proxy.wait_log("logged in")
        else:
            conn.send(p.password(keys.token(TENANT_A)))
        conn.sock.shutdown(1)
        wait_until(lambda: re.search('client_eof user="?app', proxy.log()), "its end is logged")


# ---- clients that vanish -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["terminate", "close", "reset"])
def test_client_gone_in_a_transaction(tiny_proxy, cluster, how):
    conn = tiny_proxy.raw(TENANT_A)
    conn.simple("BEGIN")
    conn.simple(f"INSERT INTO item VALUES (601, {TENANT_A}, 'dirty', 1)")
    conn.simple("SET LOCAL work_mem = '7MB'")
    getattr(conn, how)()
    with tiny_proxy.raw(TENANT_B) as other:
        assert other.scalar(WHO) == str(TENANT_B)
        assert other.scalar("SHOW work_mem") != "7MB"
        assert other.scalar("SELECT count(*) FROM item WHERE id = 601") == "0"
    assert not item_exists(cluster, 601)
    assert not cluster.backends("eav", "idle in transaction")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_gone_in_a_query(tiny_proxy, cluster, how):
    """Its query is cancelled or its server closed; the next client need not wait for its end."""
    conn = tiny_proxy.raw(TENANT_A)
    conn.send(p.query("SELECT pg_sleep(60) /* abandoned */"))
    cluster.backend_running("abandoned", "eav")
    getattr(conn, how)()
    began = time.monotonic()
    assert serves(tiny_proxy)
    assert time.monotonic() - began < 20


def test_client_gone_in_mid_result(tiny_proxy):
    conn = tiny_proxy.raw(TENANT_A)
    conn.send(p.query("SELECT i, repeat('x', 1000) FROM generate_series(1, 2000000) i"))
    conn.read_until("D")
    conn.reset()
    assert serves(tiny_proxy)


@pytest.mark.parametrize("how", ["close", "reset", "terminate"])
def test_client_gone_in_copy(tiny_proxy, cluster, how):
    cluster.sql("TRUNCATE bulk", dbname="eav")
    conn = tiny_proxy.raw(TENANT_A)
    conn.send(p.query("COPY bulk FROM STDIN"))
    conn.read_until("G")
    conn.send(p.copy_data("1\tone\n" * 1000))
    getattr(conn, how)()
    assert serves(tiny_proxy)
    assert cluster.sql("SELECT count(*) FROM bulk", dbname="eav") == [(0,)]


def test_half_closed_client_gets_its_reply(proxy):
    """protocol-traps.md 22: FIN after the Query, and the answer comes all the same."""
    conn = proxy.raw(TENANT_A)
    conn.send(p.query(WHO))
    conn.sock.shutdown(1)
    messages = conn.read_until_ready()
    assert p.rows_of(messages) == [(str(TENANT_A),)]
    assert conn.read_to_end() == []
    conn.close()


def test_client_that_does_not_read_holds_up_nobody(make_proxy):
    proxy = make_proxy({"pgusher": {"workers": 1, "max_server_conn": 2}})
    slow = proxy.raw(TENANT_A)
    slow.send(p.query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
    assert serves(proxy)
    with open(f"/proc/{proxy.process.pid}/status", encoding="ascii") as file:
        resident_kb = int(next(line for line in file if line.startswith("VmRSS")).split()[1])
    if "san" not in os.environ.get("PGUSHER_BIN", ""):
        assert resident_kb < 80_000, "the result is kept in memory"
    messages = slow.read_until_ready()
    assert sum(m.type == "D" for m in messages) == 100000
    slow.terminate()


# ---- a full pool -------------------------------------------------------------------------


def test_waiting_client_is_served_when_a_server_is_freed(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as holder, tiny_proxy.raw(TENANT_B) as waiter:
        holder.simple("BEGIN")
        holder.simple(WHO)
        waiter.send(p.query(WHO))
        assert waiter.is_silent(0.5)
        holder.simple("COMMIT")
        assert p.rows_of(waiter.read_until_ready()) == [(str(TENANT_B),)]


def test_deferred_begin_holds_no_server(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as idle, tiny_proxy.raw(TENANT_B) as other:
        idle.simple("BEGIN")
        assert idle.status == "T"
        assert other.scalar(WHO) == str(TENANT_B)
        assert idle.scalar(WHO) == str(TENANT_A)
        idle.simple("COMMIT")


def test_query_wait_timeout(make_proxy):
    proxy = make_proxy(
        {"pgusher": {"workers": 1, "max_server_conn": 1, "query_wait_timeout": "500ms"}}
    )
    with proxy.raw(TENANT_A) as holder:
        holder.simple("BEGIN")
        holder.simple(WHO)
        waiter = proxy.raw(TENANT_B)
        began = time.monotonic()
        waiter.send(p.query(WHO))
        error = waiter.read_until("E")[-1].fields()
        assert 0.3 < time.monotonic() - began < 15
        assert error["C"] == "57014" and "query_wait_timeout" in error["M"]
        waiter.terminate()
        assert holder.scalar(WHO) == str(TENANT_A)
        holder.simple("COMMIT")
    assert serves(proxy)


def test_many_more_clients_than_servers_all_get_through(make_proxy, cluster):
    proxy = make_proxy({"pgusher": {"max_server_conn": 2}})
    clients = [proxy.raw((TENANT_A, TENANT_B)[n % 2]) for n in range(60)]
    for conn in clients:
        conn.send(p.query(f"{WHO}; SELECT pg_sleep(0.005)"))
    for number, conn in enumerate(clients):
        tenant = (TENANT_A, TENANT_B)[number % 2]
        assert p.rows_of(conn.read_until_ready())[0] == (str(tenant),)
    assert len(cluster.backends("eav")) >= 2
    for conn in clients:
        conn.terminate()


def test_flood_of_one_tenant_does_not_starve_the_other(tiny_proxy):
    """isolation.md row 24: round-robin between tenants, whoever has more clients waiting."""
    flood = [tiny_proxy.raw(TENANT_A) for _ in range(40)]
    with tiny_proxy.raw(TENANT_B) as quiet:
        for conn in flood:
            conn.send(p.query("SELECT pg_sleep(0.05)"))
        time.sleep(0.1)
        began = time.monotonic()
        assert quiet.scalar(WHO) == str(TENANT_B)
        waited = time.monotonic() - began
        for conn in flood:
            conn.read_until_ready()
            conn.terminate()
    assert waited < 0.7, f"waited {waited:.2f} s behind a flood of 2 s"


# ---- tokens and packets ------------------------------------------------------------------


def test_expired_token_ends_a_live_session(proxy, keys):
    conn = proxy.raw(TENANT_A, secret=keys.fresh_token(TENANT_A, 2))
    assert conn.scalar(WHO) == str(TENANT_A)
    wait_for_expiry(conn, WHO)


def wait_for_expiry(conn, sql):
    """Asks until refused: then with 28000, and the connection is closed."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        conn.send(p.query(sql))
        messages = conn.read_until("ZE")
        if messages[-1].type == "E":
            error = messages[-1].fields()
            assert error["C"] == "28000" and "expired" in error["M"]
            assert error["S"] == "FATAL"
            assert conn.read_to_end() == []
            conn.close()
            return
        time.sleep(0.1)
    raise AssertionError("the token never expired")


def test_transaction_under_way_may_finish_after_expiry(proxy, keys, cluster):
    conn = proxy.raw(TENANT_A, secret=keys.fresh_token(TENANT_A, 2))
    conn.simple("BEGIN")
    conn.simple(f"INSERT INTO item VALUES (602, {TENANT_A}, 'in time', 1)")
    time.sleep(3.2)
    assert conn.scalar(WHO) == str(TENANT_A)
    assert p.tags_of(conn.simple("COMMIT")) == ["COMMIT"]
    assert item_exists(cluster, 602)
    wait_for_expiry(conn, WHO)


@pytest.mark.parametrize(
    "packet",
    [
        b"Q" + struct.pack("!I", 3),
        b"Q" + struct.pack("!I", 0),
        b"Q" + struct.pack("!I", 0xFFFFFFFF),
        b"Q" + struct.pack("!I", 0x7FFFFFFF),
        p.message("Q", b"SELECT 1"),
        p.message("!", b"what"),
        p.message("p", b"late password\0"),
        p.message("P", b"no terminator") + p.sync(),
        p.message("P", b"\0SELECT 1\0\0\5") + p.sync(),
        p.parse("", "SELECT 1") + p.message("B", b"\0\0\0\0\0\5") + p.sync(),
        p.message("D", b"Xname\0") + p.sync(),
        p.message("C", b"") + p.sync(),
        p.message("E", b"\0\0") + p.sync(),
        p.message("S", b"trailing"),
    ],
    ids=["len3", "len0", "len-negative", "len-huge", "query-unterminated", "unknown-type",
         "password",
         "parse-unterminated", "parse-short", "bind-short", "describe-kind", "close-empty",
         "execute-short", "sync-long"],
)
def test_malformed_packet_after_login(proxy, packet):
    conn = proxy.raw(TENANT_A)
    conn.send(packet)
    messages = conn.read_until("E")
    assert messages[-1].fields()["C"] == "08P01"
    # PostgreSQL closes after a lost frame, and goes on after a bad body: either, but no hang.
    if messages[-1].fields()["S"] == "FATAL":
        assert conn.read_to_end() == []
    conn.close()
    assert serves(proxy)


def test_malformed_packet_in_a_transaction_rolls_back(tiny_proxy, cluster):
    conn = tiny_proxy.raw(TENANT_A)
    conn.simple("BEGIN")
    conn.simple(f"INSERT INTO item VALUES (603, {TENANT_A}, 'x', 1)")
    conn.send(b"!" + struct.pack("!I", 2))
    assert p.codes_of(conn.read_to_end()) == ["08P01"]
    conn.close()
    assert serves(tiny_proxy)
    assert not item_exists(cluster, 603)


def test_messages_cut_at_every_byte(proxy):
    data = p.query(WHO) + p.one_shot(WHO + " WHERE id = $1", ["3"])
    with proxy.raw(TENANT_A) as conn:
        for position in range(1, len(data)):
            conn.send_cut(data, [position], pause=0.0003)
            assert p.rows_of(conn.read_until_ready(2)) == [(str(TENANT_A),)] * 2


def test_large_messages_both_ways(proxy):
    with proxy.raw(TENANT_A) as conn:
        big = "x" * 20_000_000
        assert conn.rows("SELECT length($1::text)", [big]) == [(str(len(big)),)]
        assert len(conn.scalar("SELECT repeat('y', 20000000)")) == 20_000_000
        assert conn.scalar(f"SELECT length('{big[:3_000_000]}')") == "3000000"


# ---- ending ------------------------------------------------------------------------------


def test_sigterm_lets_a_transaction_finish(make_proxy, cluster):
    proxy = make_proxy({"pgusher": {"shutdown_timeout": "20s"}})
    busy, idle = proxy.raw(TENANT_A), proxy.raw(TENANT_B)
    busy.simple("BEGIN")
    busy.simple(f"INSERT INTO item VALUES (604, {TENANT_A}, 'finished', 1)")
    idle.scalar("SELECT 1")
    proxy.process.send_signal(signal.SIGTERM)
    assert p.codes_of(idle.read_to_end()) == ["57P01"]
    assert p.tags_of(busy.simple("COMMIT")) == ["COMMIT"]
    assert p.codes_of(busy.read_to_end()) in (["57P01"], [])
    assert proxy.process.wait(30) == 0
    assert item_exists(cluster, 604)
    assert not cluster.backends("eav", "idle in transaction")
    for conn in (busy, idle):
        conn.close()


def test_sigterm_does_not_wait_for_ever(make_proxy, cluster):
    proxy = make_proxy({"pgusher": {"shutdown_timeout": "500ms"}})
    conn = proxy.raw(TENANT_A)
    conn.simple("BEGIN")
    conn.simple(f"INSERT INTO item VALUES (605, {TENANT_A}, 'cut off', 1)")
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(30) == 0
    assert set(p.codes_of(conn.read_to_end())) <= {"57P01"}
    conn.close()
    wait_until(lambda: not cluster.backends("eav", "idle in transaction"), "rolled back")
    assert not item_exists(cluster, 605)


def test_no_descriptor_is_left_open(make_proxy):
    """Logins, refusals, cuts and cancels in number: open files go back to where they were."""
    proxy = make_proxy({"pgusher": {"max_server_conn": 2}})
    folder = f"/proc/{proxy.process.pid}/fd"
    with proxy.raw(TENANT_A) as conn:
        conn.scalar("SELECT 1")
    assert serves(proxy)
    before = len(os.listdir(folder))

    def visitor(number):
        for _ in range(20):
            conn = proxy.raw(TENANT_A) if number else p.Connection(proxy.address)
            if number % 3 == 1:
                conn.simple("BEGIN")
            if number % 3 == 2:
                conn.cancel()
            conn.reset() if number % 2 else conn.close()

    threads = [threading.Thread(target=visitor, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    # Server connections may have been replaced: two, and as many being closed.
    wait_until(lambda: len(os.listdir(folder)) <= before + 4, f"{before} descriptors again")
    assert serves(proxy)


@pytest.mark.parametrize("setting, code, busy", [
    ("query_timeout", "57014", "SELECT pg_sleep(60)"),
    ("transaction_timeout", "57014", "SELECT 1"),
    ("idle_transaction_timeout", "25P03", "SELECT 1"),
])
def test_timeouts_free_the_server(make_proxy, setting, code, busy):
    """The client is told which setting, and the only server serves the next one."""
    proxy = make_proxy({"pgusher": {"workers": 1, "max_server_conn": 1, setting: "200ms"}})
    with proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.send(p.query(busy))
        messages = conn.read_to_end()
        assert p.codes_of(messages)[-1] == code
        assert setting in repr(messages[-1])
    with proxy.raw(TENANT_B) as other:
        assert other.scalar("SELECT 1") == "1"


def test_client_idle_timeout(make_proxy):
    proxy = make_proxy({"pgusher": {"client_idle_timeout": "200ms"}})
    with proxy.raw(TENANT_A) as conn:
        conn.scalar("SELECT 1")
        assert p.codes_of(conn.read_to_end()) == ["57P05"]
