"""Attacks that once worked, each as the attacker ran it: a client of tenant A with a valid token,
and what must hold for the client of tenant B who comes next or is there at the same time.

Most need `tiny_proxy`: on its only server connection, whatever A leaves behind is B's.
"""

import os
import signal
import struct
import threading
import time

import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import ConnectionClosed, LoginError, PgError

pytestmark = pytest.mark.usefixtures("items")

WHO = "SELECT DISTINCT tenant_id FROM item"
GONE = (ConnectionClosed, ConnectionResetError, BrokenPipeError)
SET_OTHER = f"SET app.current_tenant_id = {TENANT_B}"
FAKE_ITEM = "item(id bigint, tenant_id bigint, name text, n int)"
# Deeper than the parser is let go: such text is judged by its words alone.
DEEP = " AND ".join(["true"] * 4200)

# All that a session can leave behind, in one row; the last column says whose `item` is meant.
STATE = """SELECT current_setting('search_path'), current_setting('default_transaction_read_only'),
    current_setting('statement_timeout'), current_setting('idle_session_timeout'),
    (SELECT count(*) FROM pg_listening_channels()),
    (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
    (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = 'item'::regclass)"""
CLEAN = ('"$user", public', "off", "0", "0", "0", "0", "public")


def found_clean(proxy):
    """The next client finds a session like new, and its own rows."""
    with proxy.raw(TENANT_B) as other:
        assert other.rows(STATE) == [CLEAN]
        assert other.rows(WHO) == [(str(TENANT_B),)]


def is_refused(messages):
    """By PgUsher's guard: PostgreSQL's own errors also name the place in its source code."""
    errors = p.errors_of(messages)
    assert [e["C"] for e in errors] == ["42501"] and "R" not in errors[0], messages
    assert not [m for m in messages if m.type == "D"], messages


def rss_mb(proxy):
    with open(f"/proc/{proxy.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) >> 10 for line in file if line.startswith("VmRSS"))


# ---- COPY that failed in the middle of a message -----------------------------------------


def half_a_copy_data(conn, data, rest_bytes):
    """COPY FROM fails while the last rest_bytes of a CopyData are not sent yet; returns them."""
    conn.send(p.query("COPY bulk FROM STDIN"))
    assert conn.read().type == "G"
    conn.send(p.copy_data("bad\n") + data[:-rest_bytes])
    assert p.types_of(conn.read_until_ready()) == "EZ"
    return data[-rest_bytes:]


def one_sized(sql, size):
    """Parse, Bind, Execute and Flush, together size bytes long."""
    rest = p.bind("", "") + p.execute() + p.flush()
    bare = len(p.parse("", sql % "") + rest)
    return p.parse("", sql % ("x" * (size - bare))) + rest


def test_bytes_of_another_client_never_become_input(tiny_proxy):
    """B is given the server while A's bytes still lie in the worker's read buffer."""
    a, b = tiny_proxy.raw(TENANT_A, timeout=10), tiny_proxy.raw(TENANT_B, timeout=10)
    rest = half_a_copy_data(a, p.copy_data("7\tx\n" * 3000), 128 * 20)
    b.send(one_sized("SELECT 'first%s'", 128))
    assert b.is_silent()
    # Whole messages begin at every multiple of 128: also where A's bytes end.
    secrets = [f"B-SECRET-{i:05d}" for i in range(300)]
    b.send(b"".join(one_sized(f"SELECT '{s}', '%s'", 128) for s in secrets))
    assert b.is_silent()
    cut = 128 * 78
    mine = p.query(f"SELECT length('{'z' * 30000}')")
    a.send(rest + mine[:cut])
    time.sleep(0.3)
    b.send(p.sync())
    time.sleep(0.3)
    a.send(mine[cut : cut + 1])
    assert a.is_silent(0.5), f"before its message is whole: {bytes(a.buffer[:80])}"
    a.send(mine[cut + 1 :])
    assert p.rows_of(a.read_until_ready()) == [("30000",)]
    assert [row[0] for row in p.rows_of(b.read_until_ready())][1:] == secrets
    assert a.is_silent() and b.is_silent()


@pytest.mark.parametrize(
    ("tail", "after", "reply"),
    [
        (p.query("SELECT 42"), b"", "TDCZ"),
        (p.query("SELECT 42") * 2, b"", "TDCZTDCZ"),
        (p.one_shot("SELECT 42"), b"", "12DCZ"),
        (p.parse("s", "SELECT 42") + p.bind("", "s") + p.execute() + p.sync(), b"", "12DCZ"),
        (p.parse("s", "SELECT 42") + p.bind("", "s") + p.execute() + p.flush(), p.sync(), "12DCZ"),
        (p.sync(), b"", "Z"),
    ],
    ids=["query", "queries", "batch", "named", "flush-then-sync", "sync"],
)
def test_rest_of_a_copy_data_with_more_behind_it(tiny_proxy, tail, after, reply):
    """In one segment; thrice, for what the proxy leaks shows at its end (sanitizer builds)."""
    for _ in range(3):
        conn = tiny_proxy.raw(TENANT_A, timeout=10)
        rest = half_a_copy_data(conn, p.copy_data("7\tx\n" * 50000), 150000)
        conn.send(rest + tail)
        if after:
            assert p.types_of(conn.read_until("C")) == reply[:-1]
            conn.send(after)
            assert p.types_of(conn.read_until_ready()) == "Z"
        else:
            assert p.types_of(conn.read_until_ready(reply.count("Z"))) == reply
        assert conn.is_silent(0.1)
        assert conn.rows(WHO) == [(str(TENANT_A),)]
        conn.close()
    found_clean(tiny_proxy)


def test_early_sync_in_a_simple_copy_is_forgotten(tiny_proxy, cluster):
    """It belongs to no batch; kept for the next one, it would end that one's skipping early."""
    conn = tiny_proxy.raw(TENANT_A, timeout=10)
    conn.send(p.query("COPY bulk FROM STDIN"))
    assert conn.read().type == "G"
    conn.send(p.copy_data("bad\n") + p.sync())
    assert p.types_of(conn.read_until_ready()) == "EZ"
    assert conn.is_silent(0.3)
    conn.send(p.parse("", "SELECT 1/0") + p.bind("", "") + p.execute() + p.flush())
    assert p.types_of(conn.read_until("E")) == "1E"  # folded when it is planned
    assert conn.is_silent(0.3)
    conn.send(p.one_shot("INSERT INTO bulk VALUES (4711, 'skipped') RETURNING id"))
    assert p.types_of(conn.read_until_ready()) == "Z"
    assert conn.is_silent(0.3)
    assert cluster.sql("SELECT count(*) FROM bulk WHERE id = 4711", dbname="eav") == [(0,)]


# ---- state left for the next client ------------------------------------------------------


def test_search_path_pg_temp_at_startup_captures_nothing(tiny_proxy):
    for spelled in ("pg_temp", "PG_TEMP", "public, pg_temp", '"pg_temp"'):
        try:
            with tiny_proxy.raw(TENANT_A, search_path=spelled) as conn:
                conn.simple(f"CREATE TABLE {FAKE_ITEM}; GRANT ALL ON item TO app")
        except LoginError:
            pass
        found_clean(tiny_proxy)


@pytest.mark.parametrize(
    "set_path",
    [
        'SET LOCAL "SEARCH_PATH" = pg_temp',
        'SET LOCAL "Search_Path" TO PG_TEMP, public',
        'SET LOCAL U&"SEARCH\\005fPATH" = pg_temp',
        "SET LOCAL SCHEMA 'pg_temp'",
        "SELECT set_config('Search_Path', 'pg_temp', true)",
    ],
)
def test_search_path_in_other_letters_captures_nothing(tiny_proxy, set_path):
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.simple(f"BEGIN; {set_path}; CREATE TABLE {FAKE_ITEM}; COMMIT")
    found_clean(tiny_proxy)


def open_transaction(conn):
    assert p.tags_of(conn.simple("BEGIN")) == ["BEGIN"]
    assert conn.scalar("SELECT 1") == "1"


def test_bind_that_fails_does_not_rename_a_portal(tiny_proxy):
    """The second Bind of p fails on the server; ROLLBACK TO keeps what p was before."""
    with tiny_proxy.raw(TENANT_A, timeout=10) as conn:
        open_transaction(conn)
        make = p.parse("c", f"CREATE TEMP TABLE {FAKE_ITEM}") + p.bind("p", "c") + p.sync()
        assert p.types_of(conn.run(make)) == "12Z"
        conn.simple("SAVEPOINT s")
        again = p.parse("d", "SELECT 1") + p.bind("p", "d") + p.sync()
        assert p.codes_of(conn.run(again)) == ["42P03"]
        conn.simple("ROLLBACK TO s")
        conn.run(p.execute("p") + p.sync())
        conn.simple("COMMIT")
    found_clean(tiny_proxy)


@pytest.mark.parametrize("skipped", ["close", "bind", "close-and-bind"])
def test_skipped_messages_do_not_hide_a_portal(tiny_proxy, skipped):
    """Close and Bind behind an error are skipped by the server: the portals hold what they held."""
    makers = ["SET search_path = pg_catalog", "SET default_transaction_read_only = on",
              "SET statement_timeout = '77s'", "LISTEN x", f"CREATE TEMP TABLE {FAKE_ITEM}"]
    with tiny_proxy.raw(TENANT_A, timeout=10) as conn:
        open_transaction(conn)
        conn.run(p.parse("harmless", "SELECT 1") + p.sync())
        for i, sql in enumerate(makers):
            made = p.parse(f"c{i}", sql) + p.bind(f"p{i}", f"c{i}") + p.sync()
            assert p.types_of(conn.run(made)) == "12Z"
        conn.simple("SAVEPOINT s")
        hide = p.execute("no such portal")
        for i in range(len(makers)):
            hide += p.close("P", f"p{i}") if "close" in skipped else b""
            hide += p.bind(f"p{i}", "harmless") if "bind" in skipped else b""
        assert p.types_of(conn.run(hide + p.sync())) == "EZ"
        conn.simple("ROLLBACK TO s")
        conn.run(b"".join(p.execute(f"p{i}") for i in range(len(makers))) + p.sync())
        conn.simple("COMMIT")
    found_clean(tiny_proxy)


# Compiled and planned anew each time, any statement takes longer than the timeout: also those
# that make the session's settings those of the next client.
SLOW = {"plan_cache_mode": "force_custom_plan", "jit": "on", "jit_above_cost": "0",
        "jit_inline_above_cost": "0", "jit_optimize_above_cost": "0"}
LIMITS = {"search_path": "pg_catalog", "default_transaction_read_only": "on",
          "statement_timeout": "1"}


@pytest.mark.parametrize("settings", [LIMITS, {**SLOW, **LIMITS}], ids=["quick", "slow"])
def test_startup_settings_stay_with_their_client(tiny_proxy, settings):
    """A's own statements may fail by them, even its login; B must notice nothing at all."""
    b = tiny_proxy.raw(TENANT_B, timeout=10)
    for i in range(10):
        try:
            with tiny_proxy.raw(TENANT_A, timeout=10, **settings) as a:
                a.simple("SELECT 1")
        except (PgError, *GONE):
            pass
        assert b.rows(STATE) == [CLEAN], f"round {i}"
    assert p.codes_of(b.simple(f"INSERT INTO item VALUES (900, {TENANT_B}, 'b', 1)")) == []


def test_idle_timeout_of_one_client_ends_no_other(tiny_proxy):
    """The backend is stopped while the timeout runs out, so that B's query finds it run out."""
    b = tiny_proxy.raw(TENANT_B, timeout=10)
    with tiny_proxy.raw(TENANT_A, idle_session_timeout="500") as a:
        pid = int(a.scalar("SELECT pg_backend_pid()"))
    time.sleep(0.1)
    os.kill(pid, signal.SIGSTOP)
    try:
        b.send(p.query(WHO))
        time.sleep(0.7)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert p.rows_of(b.read_until_ready()) == [(str(TENANT_B),)]


# ---- roles and the context itself --------------------------------------------------------


@pytest.fixture
def role_app(cluster):
    """Gives role app back its password and settings, should an attack have succeeded."""
    yield
    cluster.sql(f"ALTER ROLE app PASSWORD '{cluster.password}'")
    for which in ("ROLE app", "ROLE app IN DATABASE eav", "DATABASE eav"):
        cluster.sql(f"ALTER {which} RESET ALL")


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER ROLE app PASSWORD 'pwned'",
        "ALTER ROLE CURRENT_USER PASSWORD 'pwned'",
        "ALTER USER app WITH PASSWORD 'pwned'",
        "ALTER USER CURRENT_USER PASSWORD NULL",
        "ALTER ROLE app SET work_mem = '1MB'",
        "ALTER USER app SET work_mem = '1MB'",
        "ALTER ROLE app IN DATABASE eav SET search_path = pg_catalog",
        "ALTER ROLE ALL SET work_mem = '1MB'",
        "ALTER ROLE app RESET ALL",
        "ALTER USER app RESET work_mem",
        "ALTER DATABASE eav SET work_mem = '1MB'",
        "ALTER DATABASE eav RESET ALL",
        "SELECT 1; alter/**/role app SET work_mem = '1MB'",
        "DO $$BEGIN ALTER ROLE app SET work_mem = '1MB'; END$$",
        f"ALTER ROLE app SET work_mem = '1MB'; SELECT 1 WHERE {DEEP}",
    ],
    ids=lambda sql: sql[:60],
)
@pytest.mark.usefixtures("role_app")
def test_alter_role_and_database_are_refused(proxy, sql):
    with proxy.raw(TENANT_A) as conn:
        is_refused(conn.simple(sql))
        is_refused(conn.run(p.parse("", sql) + p.sync()))
        assert conn.scalar("SELECT 1") == "1"


@pytest.mark.parametrize(
    "script",
    [
        "EXECUTE \"{name}\"('{b}'); {who}",
        "EXECUTE/* */{name} ('{b}'); {who}",
        "EXECUTE U&\"\\0070{name:.0}{tail}\"('{b}'); {who}",
        "EXPLAIN ANALYZE EXECUTE \"{name}\"('{b}'); {who}",
        "EXECUTE \"{name}\"('{b}'); {who} WHERE {deep}",
        "EXECUTE U&\"\\0070{name:.0}{tail}\"('{b}'); {who} WHERE {deep}",
        "EXECUTE \"{name}\"('{b}'); {who}; --{pad}",
    ],
    ids=["plain", "comment", "escape", "explain", "deep", "deep-escape", "padded"],
)
def test_context_statement_cannot_be_executed(tiny_proxy, script):
    with tiny_proxy.raw(TENANT_A) as conn:
        open_transaction(conn)
        names = conn.rows("SELECT name FROM pg_prepared_statements WHERE statement ~ 'set_config'")
        assert names, "PgUsher's own statements are no longer seen: this test attacks nothing"
        for (name,) in names:
            assert name[0] == "p"  # of the variants with \0070
            sql = script.format(name=name, tail=name[1:], b=TENANT_B, who=WHO, deep=DEEP,
                                pad="x" * 1_100_000)
            is_refused(conn.simple(sql))
            conn.simple("ROLLBACK")
            assert conn.rows(WHO) == [(str(TENANT_A),)]
            open_transaction(conn)
        conn.simple("ROLLBACK")


@pytest.mark.parametrize(
    "body",
    ["BEGIN EXECUTE t; END", "BEGIN RETURN QUERY EXECUTE t; END", "begin/**/execute(t); end"],
)
def test_function_that_runs_its_argument_is_refused(tiny_proxy, body):
    returns = "SETOF bigint" if "QUERY" in body else "void"
    create = (f"CREATE FUNCTION pg_temp.f(t text) RETURNS {returns} LANGUAGE plpgsql"
              f" AS $f${body}$f$")
    with tiny_proxy.raw(TENANT_A) as conn:
        is_refused(conn.simple(create))
        is_refused(conn.run(p.parse("", create) + p.sync()))
    found_clean(tiny_proxy)


@pytest.mark.parametrize(
    "prepare",
    [
        p.query("PREPARE refused_by_pgusher AS SELECT 1"),
        p.parse("refused_by_pgusher", "SELECT 1") + p.sync(),
    ],
    ids=["sql", "protocol"],
)
def test_refusals_are_told_whatever_is_prepared(tiny_proxy, prepare):
    """PgUsher has the server fail for it, by a statement that does not exist."""
    with tiny_proxy.raw(TENANT_A, timeout=10) as conn:
        for begin in ("", "BEGIN"):
            if begin:
                open_transaction(conn)
            conn.run(prepare)
            is_refused(conn.simple(SET_OTHER))
            conn.simple("ROLLBACK")
            conn.run(p.close("S", "refused_by_pgusher") + p.sync())
            conn.simple("DEALLOCATE ALL")
            is_refused(conn.run(p.one_shot(SET_OTHER)))
            assert conn.rows(WHO) == [(str(TENANT_A),)]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_and_chain_does_not_outlive_the_token(tiny_proxy, end):
    token = tiny_proxy.keys.fresh_token(TENANT_A, 2)
    issued = time.time()
    conn = tiny_proxy.raw(TENANT_A, secret=token, timeout=10)
    open_transaction(conn)
    assert conn.rows(WHO) == [(str(TENANT_A),)]
    wait_until(lambda: time.time() > issued + 3.2, "the token is expired", 10)
    seen = []
    with pytest.raises(GONE):
        conn.simple(f"{end} AND CHAIN")  # may still end what was under way
        for _ in range(2):
            seen += conn.simple(WHO)
            seen += conn.simple(f"{end} AND CHAIN")
    assert not [m for m in seen if m.type == "D"]
    found_clean(tiny_proxy)


# ---- more than one's share ---------------------------------------------------------------


def waiting_replies(conn):
    """How many ReadyForQuery have arrived so far, without waiting for any."""
    conn.sock.setblocking(False)
    try:
        while data := conn.sock.recv(1 << 20):
            conn.buffer += data
    except BlockingIOError:
        pass
    ready, at = 0, 0
    while at + 5 <= len(conn.buffer):
        ready += conn.buffer[at] == ord("Z")
        at += 1 + struct.unpack_from("!I", conn.buffer, at + 1)[0]
    return ready


def test_flood_of_refused_statements_stops_nobody_else(tiny_proxy):
    """Each costs the worker much and no server. B's reply comes between the flood's replies:
    those that were sent before it lie in the flooder's socket by then, for it reads none."""
    flood, first = 40, 4
    a, b = tiny_proxy.raw(TENANT_A), tiny_proxy.raw(TENANT_B)
    assert b.scalar("SELECT 1") == "1"
    columns = ",".join(f"a{i}" for i in range(120_000))
    one = p.query(f"{SET_OTHER}; SELECT {columns}")
    sent = []

    def pump():
        try:
            for i in range(flood):
                a.sock.sendall(one)
                sent.append(i)
        except OSError:
            pass

    a.sock.settimeout(None)
    pumping = threading.Thread(target=pump, daemon=True)
    pumping.start()
    wait_until(lambda: len(sent) >= first, "the flood is under way", 30, 0.001)
    assert b.rows(WHO) == [(str(TENANT_B),)]
    answered, still = waiting_replies(a), flood - len(sent)
    a.wake()
    pumping.join(30)
    assert answered < flood / 2, f"{answered} of {flood} were answered first ({still} not sent)"


def test_messages_behind_a_sleeping_server_take_no_memory(tiny_proxy, cluster):
    """Close needs nothing of the server but a reply to come in its turn."""
    with tiny_proxy.raw(TENANT_A) as conn:
        assert conn.scalar("SELECT 1") == "1"
        before = rss_mb(tiny_proxy)
        conn.send(p.parse("", "SELECT pg_sleep(60) /* ring */") + p.bind("", "") + p.execute()
                  + p.flush())
        pid = cluster.backend_running("/* ring */", "eav")
        data, left = p.close("S", "") * 100_000, 64 << 20
        conn.sock.settimeout(2)
        try:
            while left > 0:
                left -= conn.sock.send(data)
        except TimeoutError:
            pass
        grown = rss_mb(tiny_proxy) - before
        cluster.kill_backend(pid)
        assert grown < 48, f"{grown} MB for {(64 << 20) - left} bytes of messages"
    found_clean(tiny_proxy)


def test_text_of_prepared_statements_is_limited(tiny_proxy):
    """16 MB a client; what is closed makes room, and other clients are not concerned."""
    pad = "x" * (3 << 20)

    def prepare(conn, name):
        return p.codes_of(conn.run(p.parse(name, f"SELECT 1 /*{pad}*/") + p.sync()))

    conn = tiny_proxy.raw(TENANT_A)
    answers = [prepare(conn, f"s{i}") for i in range(8)]
    assert answers == [[]] * 5 + [["54000"]] * 3
    conn.run(p.close("S", "s1") + p.sync())
    assert prepare(conn, "again") == []
    assert prepare(conn, "beyond") == ["54000"]
    assert prepare(conn, "") == []
    conn.simple("DEALLOCATE ALL")
    assert [prepare(conn, f"s{i}") for i in range(5)] == [[]] * 5
    conn.terminate()
    with tiny_proxy.raw(TENANT_B) as other:
        assert prepare(other, "mine") == []


def test_named_portals_are_limited(tiny_proxy):
    """Those of a transaction; its end makes room again."""
    many = p.parse("s", "SELECT 1") + b"".join(p.bind(f"p{i}", "s") for i in range(2000))
    with tiny_proxy.raw(TENANT_A) as conn:
        for _ in range(2):
            open_transaction(conn)
            messages = conn.run(many + p.sync())
            assert p.codes_of(messages) == ["54000"]
            assert p.types_of(messages) == "1" + "2" * 1024 + "EZ"
            conn.simple("ROLLBACK")
            conn.run(p.close("S", "s") + p.sync())


def test_very_many_messages_in_one_batch_are_answered(tiny_proxy):
    """More replies owed than the proxy takes at a time, and the Sync behind them."""
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.simple("SELECT 1")
        batch = p.parse("", "SELECT 1") + p.bind("", "") + p.execute("")
        replies = conn.run(batch + p.close("S", "x") * 10000 + p.sync())
        assert [m.type for m in replies].count("3") == 10000
        assert replies[-1].type == "Z"


def test_portal_of_a_failed_query_is_not_executed(tiny_proxy, cluster):
    """PostgreSQL itself crashes on it (SIGSEGV) and takes every tenant's connection along."""
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.simple("SELECT 1/(select 0)")
        conn.run(p.parse("zz", "SELECT '" + "\x7f" * 6000 + "'") + p.sync())
        for message in (p.execute(""), p.describe("P", "")):
            assert p.codes_of(conn.run(message + p.sync())) == ["34000"]
        conn.simple("ROLLBACK")
        assert conn.scalar("SELECT 1") == "1"
    assert "terminated by signal" not in cluster.log("primary")


@pytest.mark.parametrize("again", ["COMMIT; BEGIN", "ROLLBACK; BEGIN; SELECT 1"])
def test_commit_and_begin_do_not_outlive_the_token(make_proxy, keys, again):
    proxy = make_proxy({"jwt": {"leeway": "0s"}})
    token = keys.fresh_token(TENANT_A, 2)
    with proxy.raw(TENANT_A, secret=token) as conn:
        conn.simple("BEGIN")
        conn.simple("SELECT 1")
        time.sleep(3.2)
        conn.simple(again)
        with pytest.raises((PgError, *GONE)) as caught:
            conn.rows("SELECT count(*) FROM item")
        if isinstance(caught.value, PgError):
            assert caught.value.code == "28000"


@pytest.mark.parametrize("bind", [
    p.bind("", "zz"), p.execute("nosuch") + p.bind("", "zz"), p.bind("", "zz", ["too many"]),
])
def test_bind_that_fails_does_not_bring_that_portal_back(tiny_proxy, cluster, bind):
    """The Bind is skipped or refused in the failed transaction: the portal is still the old one."""
    pid = cluster.sql("SELECT pg_backend_pid()")
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.run(p.parse("zz", "SELECT 1") + p.sync())
        for _ in range(5):
            conn.simple("BEGIN")
            conn.run(p.bind("", "zz") + p.execute() + p.sync())
            conn.simple("SELECT 1/(SELECT 0)")
            conn.run(bind + p.sync())
            conn.run(p.parse("", "SELECT '" + "x" * 3000 + "'") + p.sync())
            assert p.codes_of(conn.run(p.execute() + p.sync())) == ["34000"]
            assert p.codes_of(conn.run(p.describe("P", "") + p.sync())) == ["34000"]
            conn.simple("ROLLBACK")
    assert cluster.sql("SELECT pg_backend_pid()") == pid, "the server has crashed"


DAYS = "SELECT '01/02/2024'::date - '2024-01-01'::date"


@pytest.mark.parametrize("alter", [
    "SET LOCAL DateStyle = 'DMY'", "SELECT set_config('DateStyle', 'DMY', true)",
])
def test_statements_parsed_under_ones_settings_are_not_anothers(tiny_proxy, alter):
    """A literal is read when the statement is parsed: 1 February for one, 2 January for another."""
    with tiny_proxy.raw(TENANT_A) as a, tiny_proxy.raw(TENANT_B) as b:
        a.simple("BEGIN")
        a.simple(alter)
        assert p.rows_of(a.run(p.parse("s", DAYS) + p.bind("", "s") + p.execute() + p.sync())) == \
            [("31",)]
        a.simple("COMMIT")
        for conn in (b, a):
            conn.run(p.parse("t", DAYS) + p.sync())
            assert p.rows_of(conn.run(p.bind("", "t") + p.execute() + p.sync())) == [("1",)]


def test_statements_are_shared_by_equal_startup_settings_only(tiny_proxy):
    epoch = "SELECT extract(epoch from '2024-01-01 00:00'::timestamptz)::bigint"
    for zone, expected in (("Asia/Tokyo", "1704034800"), ("UTC", "1704067200")) * 2:
        with tiny_proxy.raw(TENANT_A, TimeZone=zone) as conn:
            messages = conn.run(p.parse("s", epoch) + p.bind("", "s") + p.execute() + p.sync())
            assert p.rows_of(messages) == [(expected,)]


def test_ones_temporary_table_is_in_nobodys_statement(tiny_proxy):
    text = "SELECT * FROM tenants"
    with tiny_proxy.raw(TENANT_A) as a:
        a.simple("BEGIN")
        a.simple("CREATE TEMP TABLE tenants (evil text) ON COMMIT DROP")
        assert p.codes_of(a.run(p.parse("s", text) + p.bind("", "s") + p.execute() + p.sync())) == []
        a.simple("COMMIT")
    with tiny_proxy.raw(TENANT_B) as b:
        messages = b.run(p.parse("s", text) + p.bind("", "s") + p.execute() + p.sync())
        assert p.codes_of(messages) == [] and len(p.rows_of(messages)) == 1


def test_now_is_not_when_somebody_else_parsed(tiny_proxy):
    for tenant in (TENANT_A, TENANT_B):
        with tiny_proxy.raw(tenant) as conn:
            conn.run(p.parse("s", "SELECT clock_timestamp() - 'now'::timestamptz < '1s'")
                     + p.sync())
            messages = conn.run(p.bind("", "s") + p.execute() + p.sync())
            assert p.rows_of(messages) == [("t",)]
        # Longer than the bound above.
        conn = tiny_proxy.raw(tenant)
        conn.simple("SELECT pg_sleep(1.1)")
        conn.terminate()


def test_dropped_columns_are_noticed(tiny_proxy, cluster):
    """A known text whose result has changed fails once on a server and is parsed anew (0A000)."""
    cluster.sql("CREATE TABLE IF NOT EXISTS grown (a int)", dbname="eav")
    cluster.sql("GRANT SELECT ON grown TO app", dbname="eav")
    ask = p.parse("s", "SELECT * FROM grown") + p.bind("", "s") + p.execute() + p.sync()
    with tiny_proxy.raw(TENANT_A) as conn:
        assert p.codes_of(conn.run(ask)) == []
    cluster.sql("ALTER TABLE grown ADD COLUMN b int", dbname="eav")
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.run(ask)
        conn.run(p.close("S", "s") + p.sync())
        assert p.codes_of(conn.run(ask)) == []
    cluster.sql("DROP TABLE grown", dbname="eav")


def test_date_style_does_not_reach_the_next_client(tiny_proxy):
    """Its value may be half of one, relative to what was there."""
    for mine, shown in (("SQL, DMY", "SQL, DMY"), ("ISO", "ISO, MDY"), ("German", "German, DMY"),
                        ("DMY", "ISO, DMY")):
        with tiny_proxy.raw(TENANT_A, DateStyle=mine) as conn:
            assert conn.scalar("SHOW DateStyle") == shown


def test_own_statements_survive_deallocate_all_in_a_batch(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.scalar("SELECT 1")
        messages = conn.run(
            p.one_shot("BEGIN")[:-5] + p.one_shot("DEALLOCATE ALL")[:-5]
            + p.one_shot("COMMIT")[:-5] + p.one_shot("SELECT count(*) FROM item"))
        assert p.codes_of(messages) == []


def test_portal_taken_for_a_copy_gives_the_turn_back(tiny_proxy):
    """The Bind of a COPY was skipped by the server: Execute ends without a CopyInResponse."""
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.run(p.parse("s", "SELECT 1") + p.bind("p", "s") + p.sync())
        conn.simple("SAVEPOINT a")
        conn.run(p.parse("c", "COPY bulk FROM STDIN") + p.sync())
        conn.run(p.execute("nosuch") + p.close("P", "p") + p.bind("p", "c") + p.sync())
        conn.simple("ROLLBACK TO a")
        replies = conn.run(p.execute("p") + p.sync())
        assert [m.type for m in replies] == ["D", "C", "Z"]
