"""The console: PgBouncer's commands, asked of PgUsher; columns are compared with the real one's."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import uuid

import psycopg
import pytest

import pgproto
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from idp import make_ca
from pgproto import Connection, ConnectionClosed, LoginError, PgError, codes_of, errors_of, rows_of
from proxy import free_port

CONSOLE = {"admin_users": "dba, other_dba", "stats_users": "monitoring"}
SHOWS = ("CLIENTS", "SERVERS", "POOLS", "LISTS", "STATS", "STATS_TOTALS", "STATS_AVERAGES",
         "TOTALS", "CONFIG", "DATABASES", "USERS", "MEM", "VERSION")
OUR_SHOWS = ("STATE", "KEYS", "WORKERS", "TENANTS")
ACTIONS = ("PAUSE", "RESUME", "RELOAD", "RECONNECT", "KILL", "KILL_CLIENT 1", "REVOKE x",
           "SHUTDOWN", "KILL_TENANT 1", "DISABLE eav", "ENABLE eav", "WAIT_CLOSE eav", "SUSPEND",
           "SHOW FDS")


class Console:
    """An admin client by hand: rows as dicts, whatever the worker."""

    def __init__(self, proxy, role="dba", dbname="pgusher", token=None, address=None):
        token = token if token is not None else proxy.keys.token(None, role=role)
        self.conn = Connection.connect(address or proxy.address, role, dbname, token)

    def run(self, sql):
        return self.conn.simple(sql)

    def show(self, what):
        """SHOW's rows as dicts."""
        replies = self.run(f"SHOW {what}")
        names = next(m.columns() for m in replies if m.type == "T")
        return [dict(zip(names, row)) for row in rows_of(replies)]

    def do(self, sql):
        """The command's tag; an error raises PgError."""
        replies = self.run(sql)
        rows_of(replies)
        return pgproto.tags_of(replies)[0]

    def pool(self, database="eav"):
        rows = [row for row in self.show("POOLS") if row["database"] == database]
        return rows[0] if rows else {}


def error_of(run, sql):
    fields = errors_of(run(sql))
    assert len(fields) == 1, fields
    return fields[0]


@pytest.fixture(scope="module")
def shared(cluster, keys, tmp_path_factory):
    from proxy import Proxy

    with Proxy(cluster, keys, tmp_path_factory.mktemp("console"), {"pgusher": CONSOLE}) as made:
        yield made


@pytest.fixture
def console(shared):
    return Console(shared)


@pytest.fixture
def own(make_proxy):
    """A proxy of the test's own, and its console."""
    def make(**more):
        proxy = make_proxy({"pgusher": {**CONSOLE, **more}})
        return proxy, Console(proxy)
    return make


# ---- PgBouncer's columns ------------------------------------------------------------------


@pytest.fixture(scope="module")
def pgbouncer(tmp_path_factory):
    """A real PgBouncer's console: a raw connection."""
    binary = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not os.access(binary, os.X_OK):
        pytest.skip("pgbouncer is not installed")
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    if " 1.18." not in version.stdout:
        pytest.skip("later versions have columns in between; the order is that of 1.18")
    folder = tmp_path_factory.mktemp("pgbouncer")
    port = free_port()
    ini = folder / "pgbouncer.ini"
    ini.write_text(
        "[databases]\neav = host=127.0.0.1\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = any\nadmin_users = dba\nunix_socket_dir =\n"
    )
    run_as = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
    path = folder
    while run_as and path != path.parent and str(path) != "/tmp":
        path.chmod(0o755)
        path = path.parent
    process = subprocess.Popen([binary, str(ini)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, **run_as)

    def answers():
        assert process.poll() is None
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0
    wait_until(answers, "pgbouncer listens")
    yield ("127.0.0.1", port)
    process.terminate()
    process.wait(20)


def described(conn, sql):
    """(name, type) of each column."""
    body = next(m.body for m in conn.simple(sql) if m.type == "T")
    count, pos, out = struct.unpack_from("!H", body)[0], 2, []
    for _ in range(count):
        end = body.index(b"\0", pos)
        out.append((body[pos:end].decode(), struct.unpack_from("!IHI", body, end + 1)[2]))
        pos = end + 19
    return out


# Where no PgBouncer 1.18 is at hand: what exporters live by.
COLUMNS_1_18 = {
    "CLIENTS": "type user database state addr port local_addr local_port connect_time request_time"
               " wait wait_us close_needed ptr link remote_pid tls application_name",
    "POOLS": "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req"
             " sv_active sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login"
             " maxwait maxwait_us pool_mode",
    "DATABASES": "name host port database force_user pool_size min_pool_size reserve_pool"
                 " pool_mode max_connections current_connections paused disabled",
    "STATS": "database total_xact_count total_query_count total_received total_sent"
             " total_xact_time total_query_time total_wait_time avg_xact_count avg_query_count"
             " avg_recv avg_sent avg_xact_time avg_query_time avg_wait_time",
    "CONFIG": "key value default changeable",
    "LISTS": "list items",
}


@pytest.mark.parametrize("what", COLUMNS_1_18)
def test_columns_of_1_18(console, what):
    names = [name for name, _ in described(console.conn, f"SHOW {what}")]
    wanted = COLUMNS_1_18[what].split()
    assert names[: len(wanted)] == wanted


@pytest.mark.parametrize("what", SHOWS)
def test_columns_begin_as_pgbouncers(console, pgbouncer, what):
    theirs = described(Connection.connect(pgbouncer, "dba", "pgbouncer", ""), f"SHOW {what}")
    assert described(console.conn, f"SHOW {what}")[: len(theirs)] == theirs


@pytest.mark.parametrize("what", ("LISTS", "TOTALS"))
def test_rows_begin_as_pgbouncers(console, pgbouncer, what):
    def names(conn):
        return [row[0] for row in conn.rows(f"SHOW {what}")]
    theirs = names(Connection.connect(pgbouncer, "dba", "pgbouncer", ""))
    assert names(console.conn)[: len(theirs)] == theirs


# ---- who may -----------------------------------------------------------------------------


@pytest.mark.parametrize("dbname", ("pgusher", "pgbouncer"))
@pytest.mark.parametrize("role", ("dba", "other_dba", "monitoring"))
def test_named_roles_get_in(shared, role, dbname):
    assert Console(shared, role, dbname).conn.rows("SHOW VERSION")[0][0].startswith("PgUsher ")


@pytest.mark.parametrize("tenant, role, user", [
    (TENANT_A, "app", "app"),       # a tenant's token
    (TENANT_A, "app", "dba"),       # that says it is another
    (None, "dba2", "dba2"),         # nearly
    (None, "dba,", "dba,"),
    (None, "ops", "ops"),
    (None, "dba", "app"),           # an admin's token, as the tenants' role
])
def test_others_do_not(shared, keys, tenant, role, user):
    token = keys.token(tenant, role=role)
    with pytest.raises(LoginError) as caught:
        Connection.connect(shared.address, user, "pgusher", token)
    assert caught.value.code == "28000"


def test_no_token_does_not(shared):
    with pytest.raises(LoginError) as caught:
        Connection.connect(shared.address, "dba", "pgusher", "")
    assert caught.value.code == "28000"


def test_nobody_does_by_default(make_proxy, keys):
    proxy = make_proxy()
    with pytest.raises(LoginError) as caught:
        Connection.connect(proxy.address, "dba", "pgusher", keys.token(None, role="dba"))
    assert caught.value.code == "28000"


def test_admin_has_no_way_to_postgresql(shared, keys, console):
    assert error_of(console.run, "SELECT 1")["C"] == "42601"
    with pytest.raises(LoginError) as caught:
        Connection.connect(shared.address, "dba", "eav", keys.token(None, role="dba"))
    assert caught.value.code == "28000"


@pytest.mark.parametrize("what", SHOWS + OUR_SHOWS + ("HELP",))
def test_stats_user_may_look(shared, what):
    assert codes_of(Console(shared, "monitoring").run(f"SHOW {what}")) == []


@pytest.mark.parametrize("command", ACTIONS)
def test_stats_user_may_not_act(shared, command):
    error = error_of(Console(shared, "monitoring").run, command)
    assert error["C"] == "42501" and "admin access needed" in error["M"]


def test_tenants_role_cannot_be_named_as_admin(cluster, keys, tmp_path):
    from proxy import Proxy, run_binary

    proxy = Proxy(cluster, keys, tmp_path, {"pgusher": {"admin_users": "dba, app"}})
    checked = run_binary("check", "-c", proxy.ini)
    assert checked.returncode == 1
    assert "admin_users" in checked.stderr and "app" in checked.stderr


def test_consoles_name_is_taken(cluster, keys, tmp_path):
    from proxy import Proxy, run_binary

    proxy = Proxy(cluster, keys, tmp_path, databases=("pgbouncer",))
    checked = run_binary("check", "-c", proxy.ini)
    assert checked.returncode == 1 and "console" in checked.stderr


def test_same_user_needs_no_password(make_proxy, keys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sock")
    proxy = make_proxy({"pgusher": {"unix_socket_dir": folder}})
    path = f"{folder}/.s.PGSQL.{proxy.port}"
    with Connection.connect(path, "whoever", "pgusher", None) as conn:
        assert conn.rows("SHOW VERSION")
        clients = conn.simple("SHOW CLIENTS")
        names = next(m.columns() for m in clients if m.type == "T")
        assert dict(zip(names, rows_of(clients)[0]))["addr"] == "unix"
        assert codes_of(conn.simple("RELOAD")) == []
    if os.geteuid() == 0:
        # Another user has to show a token.
        script = ("import socket,struct,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);"
                  "b=struct.pack('!I',196608)+b'user\\0dba\\0database\\0pgusher\\0\\0';"
                  "s.sendall(struct.pack('!I',len(b)+4)+b);print(s.recv(9).hex())")
        folder.chmod(0o755)
        for parent in list(folder.parents)[:-2]:
            parent.chmod(0o755)
        other = subprocess.run(["/usr/bin/python3", "-c", script, path], user="nobody",
                               capture_output=True, text=True, timeout=30)
        assert other.stdout.strip() == "520000000800000003", other
    with pytest.raises(LoginError):  # nor is it asked for less elsewhere
        Connection.connect(path, "app", "eav", "no token")


def test_token_that_expires_ends_the_console(shared, keys):
    console = Console(shared, token=keys.hand_made(
        {"role": "dba", "exp": int(time.time()) + 2}))
    console.show("STATE")
    wait_until(lambda: ended(console.conn), "28000")


def ended(conn):
    """Asks once more; True when the answer is FATAL 28000."""
    try:
        conn.send(pgproto.query("SHOW STATE"))
        messages = conn.read_until("ZE")
    except (ConnectionClosed, OSError):
        raise AssertionError("closed without a word") from None
    if messages[-1].type == "E":
        assert messages[-1].fields()["C"] == "28000"
        return True
    return False


# ---- SHOW --------------------------------------------------------------------------------


def test_clients_and_servers(own, keys):
    proxy, console = own(max_server_conn=1)
    # A worker's first client waits for a server to learn its parameters from.
    waiting, idle = proxy.raw(TENANT_B), proxy.raw(TENANT_A)
    busy = proxy.raw(TENANT_A, application_name="busy one")
    busy.simple("BEGIN")
    busy.simple("SELECT 1")
    waiting.send(pgproto.query("SELECT 2"))
    wait_until(lambda: console.pool().get("cl_waiting") == "1", "a client waits")

    clients = {row["id"]: row for row in console.show("CLIENTS")}
    assert len(clients) == 4
    ours = {str(c.pid): c for c in (busy, waiting, idle, console.conn)}
    assert set(clients) == set(ours)
    for pid, conn in ours.items():
        row = clients[pid]
        assert row["type"] == "C" and int(row["ptr"], 16) == int(pid)
        assert (row["addr"], int(row["port"])) == conn.sock.getsockname()
        assert (row["local_addr"], row["local_port"]) == ("127.0.0.1", str(proxy.port))
        assert row["connect_time"].endswith(" UTC") and row["close_needed"] == "0"
    assert clients[str(busy.pid)]["state"] == "active"
    assert clients[str(busy.pid)]["application_name"] == "busy one"
    assert clients[str(busy.pid)]["tenant"] == str(TENANT_A)
    assert clients[str(waiting.pid)]["state"] == "waiting"
    assert int(clients[str(waiting.pid)]["wait_us"]) > 0
    assert clients[str(idle.pid)]["state"] == "idle"
    assert clients[str(console.conn.pid)]["database"] == "pgusher"

    (server,) = console.show("SERVERS")
    assert server["type"] == "S" and server["state"] == "active"
    assert (server["user"], server["database"]) == ("app", "eav")
    assert server["link"] == clients[str(busy.pid)]["ptr"]
    assert clients[str(busy.pid)]["link"] == server["ptr"]
    assert server["tenant"] == str(TENANT_A) and server["node"] == "primary"
    assert busy.scalar("SELECT pg_backend_pid()") == server["remote_pid"]
    assert (server["addr"], server["port"]) == ("127.0.0.1", str(proxy.cluster.ports["primary"]))

    pool = console.pool()
    assert (pool["cl_active"], pool["cl_waiting"]) == ("2", "1")
    assert (pool["sv_active"], pool["sv_idle"]) == ("1", "0")
    assert pool["pool_mode"] == "transaction"
    busy.simple("COMMIT")
    assert rows_of(waiting.read_until_ready()) == [("2",)]
    wait_until(lambda: console.pool()["sv_idle"] == "1", "the server is idle")
    assert [row["state"] for row in console.show("SERVERS")] == ["idle"]
    assert console.pool()["cl_active"] == "3"
    lists = {row["list"]: row["items"] for row in console.show("LISTS")}
    assert (lists["used_clients"], lists["used_servers"], lists["pools"]) == ("4", "1", "2")
    workers = console.show("WORKERS")
    assert sum(int(row["clients"]) for row in workers) == 4 and len(workers) == 2
    idle.terminate()
    wait_until(lambda: console.pool()["cl_active"] == "2", "it is gone")


def test_stats(own):
    proxy, console = own()
    with proxy.raw(TENANT_A) as conn, proxy.raw(TENANT_B) as other:
        for _ in range(5):
            conn.simple("SELECT 1")
        conn.simple("SELECT repeat('x', 10000)")
        conn.simple("BEGIN")
        conn.simple("SELECT pg_sleep(0.2)")
        conn.simple("COMMIT")
        other.run(pgproto.one_shot("SELECT 1"))
        other.simple("SELECT nonsense")
        (row,) = console.show("STATS")
    assert row["database"] == "eav"
    assert row["total_xact_count"] == "9"
    assert row["total_query_count"] == "11"
    assert int(row["total_sent"]) > 10000
    assert 200 < int(row["total_received"]) < 5000
    assert int(row["total_xact_time"]) >= 200_000
    assert int(row["total_query_time"]) >= 200_000
    assert int(row["avg_query_time"]) == int(row["total_query_time"]) // 11
    (totals,) = console.show("STATS_TOTALS")
    assert totals["xact_count"] == "9" and totals["query_count"] == "11"
    assert {r["name"]: r["value"] for r in console.show("TOTALS")}["total_query_count"] == "11"
    assert console.show("STATS_AVERAGES")[0]["database"] == "eav"


def test_waiting_counts(own):
    proxy, console = own(max_server_conn=1)
    with proxy.raw(TENANT_A) as holder, proxy.raw(TENANT_B) as waiter:
        holder.simple("BEGIN")
        holder.simple("SELECT 1")
        waiter.send(pgproto.query("SELECT 1"))
        wait_until(lambda: int(console.pool()["maxwait_us"]) >= 100_000, "a wait of 100 ms")
        holder.simple("COMMIT")
        waiter.read_until_ready()
        assert int(console.show("STATS")[0]["total_wait_time"]) >= 100_000


def test_averages_are_logged(own):
    proxy, console = own(stats_period="200ms")
    with proxy.raw(TENANT_A) as conn:
        conn.simple("SELECT 1")
        proxy.wait_log("stats: ")
        wait_until(lambda: console.show("STATS")[0]["avg_query_count"] == "0",
                   "averages forget")
    assert console.show("STATS")[0]["total_query_count"] == "1"


def test_config_and_databases(console, shared):
    config = {row["key"]: row for row in console.show("CONFIG")}
    assert config["listen_port"]["value"] == str(shared.port)
    assert config["listen_port"]["changeable"] == "no"
    assert config["max_client_conn"]["default"] == "20000"
    assert config["admin_users"]["value"] == CONSOLE["admin_users"]
    assert config["jwt.role_claim"]["value"] == "role"
    password = shared.cluster.password
    assert all(password not in (row["value"] or "") for row in config.values())
    databases = {row["name"]: row for row in console.show("DATABASES")}
    assert databases["eav"]["database"] == "eav" and databases["eav"]["paused"] == "0"
    assert databases["eav"]["port"] == str(shared.cluster.ports["primary"])
    assert "pgusher" in databases
    assert {row["name"]: row["tenant"] for row in console.show("USERS")} == {"app": "required"}


def test_keys_and_state(console):
    rows = console.show("KEYS")
    assert sorted(row["alg"] for row in rows) == ["ES256", "HS256", "RS256"]
    assert all(row["kid"] and row["source"] for row in rows)
    assert {r["key"]: r["value"] for r in console.show("STATE")} == {
        "active": "yes", "paused": "no", "suspended": "no"}


def test_help_is_a_notice(console):
    replies = console.run("SHOW HELP")
    (notice,) = [m.fields() for m in replies if m.type == "N"]
    assert notice["S"] == "NOTICE" and notice["M"] == "Console usage"
    assert "SHOW HELP|CONFIG" in notice["D"] and "REVOKE" in notice["D"]
    assert pgproto.tags_of(replies) == ["SHOW"]


# ---- statements and protocols ----------------------------------------------------------------


@pytest.mark.parametrize("sql", [
    "FOO", "SHOW", "SHOW FOO", "SELECT 1", "SHOW VERSION; SHOW VERSION", "PAUSE a b", "KILL_CLIENT",
    "REVOKE", "SHOW \"", "SHOW '", "REVOKE 'x", "RELOAD now", "PAUSE;;", "BEGIN", "SET x = 1",
    "SHOW CLIENTS clients", "X" * 60000, "\x01\x02", "PAUSE " + "a" * 64, "SHOW VERSION -- x",
    "SHUTDOWN soon", "SHOW \u00e9",
])
def test_what_is_no_command(console, sql):
    error = error_of(console.run, sql)
    assert error["C"] == "42601"
    assert "SHOW HELP" in error["M"] and len(error["M"]) < 300
    assert console.show("VERSION")


@pytest.mark.parametrize("sql", [
    "show version", "SHOW VERSION;", " \n SHOW\tVERSION ; \n", "\"show\" \"version\"",
])
def test_ways_to_write(console, sql):
    assert len(console.conn.rows(sql)) == 1


def test_nothing_is_an_empty_query(console):
    for sql in ("", ";", "  ;\n"):
        assert pgproto.types_of(console.run(sql)) == "IZ"


def test_what_drivers_set_is_ignored(console):
    for sql in ("SET client_encoding TO 'UTF8'", "SET extra_float_digits = 3",
                "set DateStyle = ISO;", "SET application_name = 'x y'"):
        assert pgproto.types_of(console.run(sql)) == "CZ", sql
    assert console.conn.rows("SHOW client_encoding") == [("UTF8",)]


def test_psycopg(shared, keys):
    with psycopg.connect(
        host="127.0.0.1", port=shared.port, user="dba", dbname="pgusher",
        password=keys.token(None, role="dba"), autocommit=True,
    ) as conn:
        for _ in range(8):  # from the sixth time on it prepares the statement by name
            rows = conn.execute("SHOW POOLS").fetchall()
        assert isinstance(rows[0][2], int)
        # With a parameter list psycopg speaks the extended protocol.
        cursor = conn.execute("SHOW DATABASES", prepare=True)
        assert cursor.description[0].name == "name" and len(cursor.fetchall()) == 2
        with pytest.raises(psycopg.errors.SyntaxError, match="SHOW HELP"):
            conn.execute("FOO", prepare=True)
        assert conn.execute("SHOW STATE", prepare=True).fetchone() == ("active", "yes")


def test_psql(shared, keys, cluster):
    def psql(*args, dbname="pgusher"):
        env = {**shared.psql_env(TENANT_A, dbname), "PGUSER": "dba",
               "PGPASSWORD": keys.token(None, role="dba")}
        return subprocess.run([os.path.join(cluster.bin, "psql"), "-X", *args], env=env,
                              capture_output=True, text=True, timeout=60, check=False)
    assert "cl_active" in psql("-c", "SHOW POOLS").stdout
    assert "Console usage" in psql("-c", "show help", dbname="pgbouncer").stderr
    failed = psql("-c", "NONSENSE")
    assert failed.returncode == 1 and "HINT:  SHOW HELP" in failed.stderr


def test_extended_protocol(console):
    p = pgproto
    conn = console.conn
    replies = conn.run(p.parse("s", "SHOW VERSION") + p.describe("S", "s") + p.bind("q", "s")
                       + p.describe("P", "q") + p.execute("q") + p.close("S", "s") + p.sync())
    assert p.types_of(replies) == "1tT2TDC3Z"
    replies = conn.run(p.parse("", "PAUSE nosuch") + p.bind("", "") + p.describe("P", "")
                       + p.execute() + p.execute() + p.sync())
    assert p.types_of(replies) == "12nEZ" and codes_of(replies) == ["3D000"]
    assert p.types_of(conn.run(p.one_shot("SHOW STATE"))) == "12DDDCZ"
    assert codes_of(conn.run(p.parse("", "FOO") + p.bind("", "") + p.sync())) == ["42601"]
    assert codes_of(conn.run(p.bind("", "nosuch") + p.sync())) == ["26000"]
    assert codes_of(conn.run(p.execute("nosuch") + p.sync())) == ["34000"]
    assert codes_of(conn.run(p.parse("", "SHOW STATE") + p.bind("", "", ("1",)) + p.sync())
                    ) == ["08P01"]
    assert codes_of(conn.run(p.parse("", "SHOW STATE") + p.bind("", "", (), (), (1,)) + p.sync())
                    ) == ["0A000"]
    twice = p.parse("a", "SHOW STATE") + p.parse("a", "SHOW STATE") + p.sync()
    assert codes_of(conn.run(twice)) == ["42P05"]
    many = b"".join(p.parse(f"n{i}", "SHOW STATE") for i in range(100)) + p.sync()
    assert codes_of(conn.run(many)) == ["54000"]
    replies = conn.run(p.one_shot("SHOW STATE") * 3 + p.query("SHOW STATE"), 4)
    assert p.types_of(replies) == "12DDDCZ" * 3 + "TDDDCZ"


@pytest.mark.parametrize("data", [
    b"Q\0\0\0\3", b"Q\x40\0\0\0", b"!\0\0\0\4", b"Q\0\0\0\7abc", pgproto.message("B", b"\0\0\0"),
    pgproto.message("D", b"S"), pgproto.message("P", b"abc"), pgproto.message("E", b""),
    pgproto.message("B", b"\0\0\xff\xff\0\0"), pgproto.message("Q", b"SHOW STATE\0\0"),
    pgproto.copy_data(b"x"), pgproto.function_call(1, ()), struct.pack("!cI", b"Q", 1 << 24),
])
def test_malformed_messages_end_it(shared, data):
    console = Console(shared)
    console.conn.send(data + pgproto.sync())
    messages = console.conn.read_to_end()
    assert codes_of(messages) in (["08P01"], []), messages
    assert Console(shared).show("VERSION")


def test_bytes_one_by_one(console):
    data = pgproto.one_shot("SHOW STATE") + pgproto.query("SHOW VERSION")
    console.conn.send_cut(data, range(1, len(data)))
    assert pgproto.types_of(console.conn.read_until_ready(2)) == "12DDDCZTDCZ"


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
    assert "TLS stays as it was" in error_of(console.run, "RELOAD")["M"]


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
