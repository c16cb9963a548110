"""The console: PgBouncer's commands, asked of PgUsher; columns are compared with the real one's."""

import os
import pwd
import shutil
import socket
import struct
import subprocess
import time

import psycopg
import pytest

import pgproto
from cluster import wait_until
from console import CONSOLE, Console, error_of
from conftest import TENANT_A, TENANT_B
from pgproto import Connection, ConnectionClosed, LoginError, codes_of, rows_of
from proxy import free_port

SHOWS = ("CLIENTS", "SERVERS", "POOLS", "LISTS", "STATS", "STATS_TOTALS", "STATS_AVERAGES",
         "TOTALS", "CONFIG", "DATABASES", "USERS", "MEM", "VERSION")
OUR_SHOWS = ("STATE", "KEYS", "WORKERS", "TENANTS")
ACTIONS = ("PAUSE", "RESUME", "RELOAD", "RECONNECT", "KILL", "KILL_CLIENT 1", "REVOKE x",
           "SHUTDOWN", "KILL_TENANT 1", "DISABLE eav", "ENABLE eav", "WAIT_CLOSE eav", "SUSPEND",
           "SHOW FDS")


@pytest.fixture(scope="module")
def shared(cluster, keys, tmp_path_factory):
    from proxy import Proxy

    with Proxy(cluster, keys, tmp_path_factory.mktemp("console"), {"pgusher": CONSOLE}) as made:
        yield made


@pytest.fixture
def console(shared):
    return Console(shared)


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
    assert config["max_client_conn"]["changeable"] == "yes"
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
    "REVOKE", "SHOW \"", "SHOW '", "REVOKE 'x", "RELOAD now", "PAUSE;;", "BEGIN", "SET x",
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
