"""The console's commands that act: PAUSE and its like, KILL, REVOKE, RELOAD, SHUTDOWN."""

import itertools
import os
import signal
import threading
import time
import uuid

import pytest

import pgproto
from cluster import wait_until
from console import CONSOLE, Console, error_of
from conftest import TENANT_A, TENANT_B
from idp import make_ca
from pgproto import Connection, LoginError, PgError, codes_of, errors_of, rows_of


# ---- PAUSE, RESUME, KILL, RECONNECT -----------------------------------------------------------


def test_pause_waits_for_the_transaction(own):
    proxy, console = own()
    asker = Console(proxy)
    conn, other = proxy.raw(TENANT_A), proxy.raw(TENANT_B)
    conn.simple("BEGIN")
    conn.simple("SELECT 1")
    asker.conn.send(pgproto.query("PAUSE"))
    wait_until(lambda: console.show("STATE")[1]["value"] == "yes", "it pauses")
    other.send(pgproto.query("SELECT 2"))
    assert conn.scalar("SELECT 3") == "3"  # the transaction goes on
    assert asker.conn.is_silent() and other.is_silent()
    assert error_of(console.run, "PAUSE")["M"] == "already suspended/paused"
    conn.simple("COMMIT")
    assert pgproto.tags_of(asker.conn.read_until_ready()) == ["PAUSE"]
    assert console.show("SERVERS") == []
    assert other.is_silent()
    assert console.pool()["cl_waiting"] == "1"
    assert console.do("RESUME") == "RESUME"
    assert rows_of(other.read_until_ready()) == [("2",)]
    assert error_of(console.run, "RESUME")["M"] == "pooler is not paused/suspended"


def test_pause_of_one_database(make_proxy):
    proxy = make_proxy({"pgusher": CONSOLE}, databases=("eav", "pristine"))
    console = Console(proxy)
    with proxy.raw(TENANT_A) as conn, proxy.raw(TENANT_A, "pristine") as other:
        assert conn.scalar("SELECT 1") == other.scalar("SELECT 1") == "1"
        assert console.do("PAUSE eav") == "PAUSE"
        assert {r["name"]: r["paused"] for r in console.show("DATABASES")} == {
            "eav": "1", "pristine": "0", "pgusher": "0"}
        assert [r["database"] for r in console.show("SERVERS")] == ["pristine"]
        conn.send(pgproto.query("SELECT 2"))
        assert other.scalar("SELECT 2") == "2"
        assert conn.is_silent()
        assert error_of(console.run, "RESUME pristine")["M"] == "database pristine is not paused"
        assert console.do("RESUME eav") == "RESUME"
        assert rows_of(conn.read_until_ready()) == [("2",)]
    assert error_of(console.run, "PAUSE nosuch")["C"] == "3D000"
    assert "admin db" in error_of(console.run, "PAUSE pgusher")["M"]


def test_pause_before_the_first_client(own):
    proxy, console = own()
    assert console.do("PAUSE eav") == "PAUSE"
    conn = Connection(proxy.address)
    conn.send(pgproto.startup({"user": "app", "database": "eav"}))
    conn.read()
    conn.send(pgproto.password(proxy.keys.token(TENANT_A)))
    assert conn.is_silent()
    console.do("RESUME eav")
    conn.read_until("Z")
    assert conn.scalar("SELECT 1") == "1"


def test_pause_that_resume_ends(own):
    proxy, console = own()
    asker = Console(proxy)
    with proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.simple("SELECT 1")
        asker.conn.send(pgproto.query("PAUSE"))
        wait_until(lambda: console.show("STATE")[1]["value"] == "yes", "it pauses")
        console.do("RESUME")
        assert codes_of(asker.conn.read_until_ready()) == ["57014"]
        assert conn.scalar("SELECT 1") == "1"


def test_pause_whose_asker_leaves(own):
    proxy, console = own()
    asker = Console(proxy)
    with proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.simple("SELECT 1")
        asker.conn.send(pgproto.query("PAUSE"))
        wait_until(lambda: console.show("STATE")[1]["value"] == "yes", "it pauses")
        asker.conn.reset()
        conn.simple("COMMIT")
        wait_until(lambda: console.show("SERVERS") == [], "servers are closed")
        console.do("RESUME")
        assert conn.scalar("SELECT 1") == "1"


def test_pause_under_load_loses_nothing(own):
    proxy, console = own(max_server_conn=3)
    stop, failures, done = threading.Event(), [], []

    def work(tenant):
        n = 0
        try:
            with proxy.raw(tenant) as conn:
                for n in itertools.count():
                    if stop.is_set():
                        break
                    if n % 3:
                        assert conn.scalar("SELECT $1::int", (n,)) == str(n)
                        continue
                    conn.simple("BEGIN")
                    assert conn.scalar(f"SELECT {n}") == str(n)
                    conn.simple("COMMIT")
        except Exception as error:
            failures.append(error)
        done.append(n)

    threads = [threading.Thread(target=work, args=(t,)) for t in (TENANT_A, TENANT_B) * 4]
    for thread in threads:
        thread.start()
    for i in range(10):
        assert console.do("PAUSE" if i % 2 else "PAUSE eav") == "PAUSE"
        assert console.show("SERVERS") == []
        before = int(console.show("STATS")[0]["total_query_count"])
        console.do("RESUME" if i % 2 else "RESUME eav")
        wait_until(lambda: int(console.show("STATS")[0]["total_query_count"]) > before + 20, "on")
        if i % 3 == 0:
            console.do("RECONNECT")
    stop.set()
    for thread in threads:
        thread.join(60)
    assert failures == [] and len(done) == 8 and min(done) > 0


def test_reconnect(own):
    proxy, console = own()
    with proxy.raw(TENANT_A) as conn, proxy.raw(TENANT_A) as holder:
        old = conn.scalar("SELECT pg_backend_pid()")
        holder.simple("BEGIN")
        held = holder.scalar("SELECT pg_backend_pid()")
        assert console.do("RECONNECT eav") == "RECONNECT"
        assert holder.scalar("SELECT pg_backend_pid()") == held
        assert [r["close_needed"] for r in console.show("SERVERS") if r["remote_pid"] == held
                ] == ["1"]
        holder.simple("COMMIT")
        assert conn.scalar("SELECT pg_backend_pid()") not in (old, held)
        wait_until(lambda: held not in [r["remote_pid"] for r in console.show("SERVERS")], "gone")


def test_kill(own):
    proxy, console = own()
    busy, idle = proxy.raw(TENANT_A), proxy.raw(TENANT_B)
    busy.send(pgproto.query("SELECT pg_sleep(600)"))
    wait_until(lambda: console.pool()["sv_active"] == "1", "it runs")
    assert console.do("KILL eav") == "KILL"
    for conn in (busy, idle):
        assert codes_of(conn.read_to_end()) == ["57P01"]
    wait_until(lambda: console.show("SERVERS") == [], "servers are closed")
    assert console.pool()["paused"] == "1"
    late = Connection(proxy.address)  # waits at the login or behind it, as its worker may be
    late.send(pgproto.startup({"user": "app", "database": "eav"}))
    late.send(pgproto.password(proxy.keys.token(TENANT_A)) + pgproto.query("SELECT 1"))
    wait_until(lambda: console.pool()["cl_waiting"] == "1", "it waits")
    console.do("RESUME eav")
    late.read_until("Z")
    assert rows_of(late.read_until_ready()) == [("1",)]
    assert console.do("KILL") == "KILL"
    assert codes_of(late.read_to_end()) == ["57P01"]
    console.do("RESUME")


@pytest.mark.parametrize("column", ("id", "ptr"))
def test_kill_client(own, column):
    proxy, console = own()
    victims = [proxy.raw(TENANT_A) for _ in range(4)]  # on both workers, in all likelihood
    others = proxy.raw(TENANT_B)
    for victim in victims:
        victim.simple("SELECT 1")
        ids = {row["id"]: row[column] for row in console.show("CLIENTS")}
        assert console.do(f"KILL_CLIENT {ids[str(victim.pid)]}") == "KILL_CLIENT"
        assert codes_of(victim.read_to_end()) == ["57P01"]
        assert error_of(console.run, f"KILL_CLIENT {ids[str(victim.pid)]}")["C"] == "42704"
    assert others.scalar("SELECT 1") == "1"
    for wrong in ("0", "x", "0x", "12x", "99999999999999999999", "-1"):
        assert errors_of(console.run(f"KILL_CLIENT {wrong}")), wrong


# ---- REVOKE --------------------------------------------------------------------------------


def test_revoke(own, keys):
    proxy, console = own()
    jti = str(uuid.uuid4())
    token = keys.token(TENANT_A, extra=("--claim", f"jti={jti}"))
    twin = keys.token(TENANT_A, extra=("--claim", f"jti={uuid.uuid4()}"))
    mine = [proxy.raw(TENANT_A, secret=token) for _ in range(4)]
    other = proxy.raw(TENANT_A, secret=twin)
    mine[0].simple("BEGIN")
    mine[0].simple("SELECT 1")
    assert console.do(f"REVOKE '{jti}'") == "REVOKE"
    for conn in mine:
        assert codes_of(conn.read_to_end()) == ["28000"]
    for _ in range(6):  # whichever worker it comes to
        with pytest.raises(LoginError) as caught:
            proxy.raw(TENANT_A, secret=token)
        assert caught.value.code == "28000" and "revoked" in caught.value.message
    assert other.scalar("SELECT 1") == "1"
    assert proxy.raw(TENANT_A).scalar("SELECT 1") == "1"
    assert [row["tokens_revoked"] for row in console.show("WORKERS")] == ["1", "1"]
    assert console.do(f"REVOKE {jti}") == "REVOKE"  # again, and unquoted
    assert f"REVOKE \"{jti}\"" in proxy.log()


def test_revoked_before_it_was_used(own, keys):
    proxy, console = own()
    token = keys.token(None, role="dba", extra=("--claim", "jti=admin.token:1"))
    assert Console(proxy, token=token).show("STATE")
    console.do("REVOKE admin.token:1")
    with pytest.raises(LoginError) as caught:
        Console(proxy, token=token)
    assert caught.value.code == "28000"


def test_revoked_while_another_token_counts(own, keys):
    """The session was opened with it, and could go back to it."""
    proxy, console = own()
    login = keys.token(TENANT_A, extra=("--claim", "jti=of-the-login"))
    conn = proxy.raw(TENANT_A, secret=login)
    conn.simple(f"SET usher.token = '{keys.token(TENANT_B)}'")
    assert conn.scalar("SELECT DISTINCT tenant_id FROM entities") == str(TENANT_B)
    console.do("REVOKE of-the-login")
    assert codes_of(conn.read_to_end()) == ["28000"]


def test_revoked_while_it_waits_for_its_first_server(own, keys):
    proxy, console = own()
    token = keys.token(TENANT_A, extra=("--claim", "jti=in-the-door"))
    console.do("PAUSE")
    conn = Connection((proxy.address[0], proxy.address[1]))
    conn.send(pgproto.startup({"user": "app", "database": "eav", "TimeZone": "UTC"})
              + pgproto.password(token))
    wait_until(lambda: [r for r in console.show("POOLS") if r["cl_waiting"] != "0"], "it waits")
    console.do("REVOKE in-the-door")
    console.do("RESUME")
    assert codes_of(conn.read_to_end()) == ["28000"]


# ---- RELOAD, SHUTDOWN, signals ------------------------------------------------------------------


def test_reload(own, keys, tmp_path):
    proxy, console = own(logfile=str(tmp_path / "log"))
    os.rename(tmp_path / "log", tmp_path / "log.1")
    assert console.do("RELOAD") == "RELOAD"
    assert (tmp_path / "log").exists()
    # A folder in the place of the log file cannot be opened.
    os.rename(tmp_path / "log", tmp_path / "log.2")
    (tmp_path / "log").mkdir()
    assert "cannot open" in error_of(console.run, "RELOAD")["M"]


def test_reload_says_when_tls_stays(own, tmp_path):
    _, cert, key = make_ca(tmp_path)
    proxy, console = own(client_tls_sslmode="allow", client_tls_cert_file=cert,
                         client_tls_key_file=key)
    assert console.do("RELOAD") == "RELOAD"
    with open(cert, "w") as file:
        file.write("no certificate")
    error = error_of(console.run, "RELOAD")["M"]
    assert error.startswith("the old configuration stays: ") and "client_tls_cert_file" in error


def ends(proxy, status=0):
    assert proxy.process.wait(30) == status
    proxy.process = None


def test_shutdown_at_once(own):
    proxy, console = own()
    conn = proxy.raw(TENANT_A)
    conn.send(pgproto.query("SELECT pg_sleep(600)"))
    wait_until(lambda: console.pool()["sv_active"] == "1", "it runs")
    console.conn.send(pgproto.query("SHUTDOWN"))
    assert codes_of(console.conn.read_to_end()) == ["57P01"]
    assert codes_of(conn.read_to_end()) == ["57P01"]
    ends(proxy)


def test_shutdown_when_servers_are_free(own):
    proxy, console = own()
    conn, idle = proxy.raw(TENANT_A), proxy.raw(TENANT_B)
    conn.simple("BEGIN")
    conn.simple("SELECT 1")
    console.conn.send(pgproto.query("SHUTDOWN WAIT_FOR_SERVERS"))
    messages = console.conn.read_to_end()
    assert pgproto.tags_of(messages) == ["SHUTDOWN"] and codes_of(messages) == ["57P01"]
    assert codes_of(idle.read_to_end()) == ["57P01"]
    assert conn.scalar("SELECT 5") == "5"
    conn.simple("COMMIT")
    assert codes_of(conn.read_to_end()) == ["57P01"]
    ends(proxy)


@pytest.mark.parametrize("how", ["simple", "extended", "deferred"])
def test_shutdown_when_the_last_answer_is_ours(own, how):
    """Clients whose transaction ends without a server leave like the others."""
    proxy, console = own(query_wait_timeout="2s", max_server_conn=1, workers=1)
    conn = proxy.raw(TENANT_A)
    if how == "deferred":
        conn.simple("BEGIN")
    else:
        busy = proxy.raw(TENANT_B)
        busy.simple("BEGIN")
        busy.simple("SELECT 1")
        conn.send(pgproto.query("SELECT 2") if how == "simple" else
                  pgproto.one_shot("SELECT 2"))
        wait_until(lambda: console.pool()["cl_waiting"] == "1", "it waits")
    console.conn.send(pgproto.query("SHUTDOWN WAIT_FOR_SERVERS"))
    console.conn.read_to_end()
    if how == "deferred":
        assert pgproto.tags_of(conn.simple("COMMIT")) == ["COMMIT"]
        assert codes_of(conn.read_to_end()) == ["57P01"]
    else:
        codes = codes_of(conn.read_to_end())
        assert len(codes) == 2 and codes[1] == "57P01", codes
        busy.simple("COMMIT")
    ends(proxy)


def test_shutdown_when_clients_have_gone(own):
    proxy, console = own()
    conn, other = proxy.raw(TENANT_A), proxy.raw(TENANT_B)
    assert console.do("SHUTDOWN WAIT_FOR_CLIENTS") == "SHUTDOWN"

    def refused():
        try:
            Connection(proxy.address).close()
        except ConnectionRefusedError:
            return True
        return False
    wait_until(refused, "no new clients")
    assert conn.scalar("SELECT 1") == other.scalar("SELECT 1") == "1"
    other.terminate()
    # A worker that has no clients any more still answers for the others.
    for _ in range(3):
        assert conn.scalar("SELECT 2") == "2"
        assert str(conn.pid) in [row["id"] for row in console.show("CLIENTS")]
        time.sleep(0.1)  # two polls of a worker's
    conn.terminate()
    ends(proxy)


@pytest.mark.parametrize("what", ["CLIENTS", "SERVERS"])
def test_sigterm_while_shutdown_waits(own, what):
    """It is the first one: transactions have shutdown_timeout; the second ends at once."""
    proxy, console = own()
    conn = proxy.raw(TENANT_A)
    conn.simple("BEGIN")
    conn.simple("SELECT 1")
    console.conn.send(pgproto.query(f"SHUTDOWN WAIT_FOR_{what}"))
    assert pgproto.tags_of(console.conn.read_until_ready()) == ["SHUTDOWN"]
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("SIGTERM: waiting for transactions to end")
    assert conn.scalar("SELECT 5") == "5"
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("SIGTERM: ending")
    assert codes_of(conn.read_to_end()) == ["57P01"]
    ends(proxy)


def test_pause_and_shutdown(own):
    """Clients that wait for RESUME do not keep it from ending."""
    proxy, console = own(shutdown_timeout="1s")
    conn = proxy.raw(TENANT_A)
    console.do("PAUSE")
    conn.send(pgproto.query("SELECT 1"))
    proxy.process.send_signal(signal.SIGTERM)
    assert codes_of(conn.read_to_end()) == ["57P01"]
    ends(proxy)


def test_end_while_a_pause_waits(own):
    proxy, console = own()
    conn = proxy.raw(TENANT_A)
    conn.simple("BEGIN")
    conn.simple("SELECT 1")
    console.conn.send(pgproto.query("PAUSE"))
    assert console.conn.is_silent()
    proxy.process.send_signal(signal.SIGINT)
    assert codes_of(console.conn.read_to_end()) == ["57P01"]
    ends(proxy)


def test_signals(own):
    proxy, console = own()
    proxy.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: console.show("STATE")[1]["value"] == "yes", "paused")
    proxy.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: console.show("STATE")[1]["value"] == "no", "resumed")


# ---- limits, many ---------------------------------------------------------------------------


def test_admin_gets_in_when_it_is_full(own):
    proxy, console = own(max_client_conn=3)
    held = [proxy.raw(TENANT_A) for _ in range(2)]
    with pytest.raises(LoginError) as caught:
        proxy.raw(TENANT_A)
    assert caught.value.code == "53300"
    assert Console(proxy).show("CLIENTS")
    assert held and console.show("POOLS")


def test_strangers_do_not_keep_the_local_admin_out(own, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sock")
    proxy, console = own(max_client_conn=3, unix_socket_dir=folder)
    strangers = [Connection(proxy.address) for _ in range(30)]
    wait_until(lambda: console.show("LISTS")[4]["items"] == "31", "all are there")
    path = f"{folder}/.s.PGSQL.{proxy.port}"
    with Connection.connect(path, "whoever", "pgusher", None) as conn:
        assert conn.rows("SHOW VERSION")
    with pytest.raises(LoginError):
        Console(proxy)
    assert len(strangers) == 30


def test_admins_ask_at_the_same_time(own):
    """Rounds of all kinds cross; whoever leaves in the middle is missed by nobody."""
    proxy, console = own()
    clients = [proxy.raw(TENANT_A) for _ in range(20)]
    failures = []

    def ask(number):
        try:
            for i in range(30):
                asker = Console(proxy).conn
                commands = ["SHOW CLIENTS", "SHOW SERVERS", "SHOW STATS", "SHOW POOLS",
                            "RECONNECT", "RELOAD", "PAUSE eav", "RESUME eav", "SHOW MEM"]
                for n in range(5):
                    asker.send(pgproto.query(commands[(number + i + n) % 9]))
                if i % 3:
                    asker.reset()
                else:
                    asker.read_until_ready(5)
                    asker.terminate()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert failures == []
    wait_until(lambda: len(console.show("CLIENTS")) == 21, "all others are gone")
    try:
        console.do("RESUME eav")
    except PgError:
        pass
    assert all(c.scalar("SELECT 1") == "1" for c in clients)


def test_many_rows_are_whole(own):
    """More rows than a slice, and more bytes than the socket takes at once."""
    proxy, console = own()
    token = proxy.keys.token(TENANT_A)
    clients = [Connection.connect(proxy.address, "app", "eav", token,
                                  application_name="n" * 60) for _ in range(700)]
    assert len({row["id"] for row in console.show("CLIENTS")}) == 701
    # Asked for again and again without reading: the answers come, in order.
    console.conn.send(pgproto.query("SHOW CLIENTS") * 40)
    for _ in range(40):
        assert len(rows_of(console.conn.read_until_ready())) == 701
    assert console.do("KILL") == "KILL"
    for conn in clients:
        assert codes_of(conn.read_to_end()) == ["57P01"]
