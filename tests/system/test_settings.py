"""What a client SETs follows it from server to server, and reaches nobody else (design.md's decision
12; isolation rows 3 and 6)."""

import functools

import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B
from console import CONSOLE, Console
from signing import Signed

pytestmark = pytest.mark.usefixtures("items")

# Setting, values, what the server's own is in a cluster of initdb's.
SETTINGS = {
    "TimeZone": ("Asia/Tokyo", "America/Caracas"),
    "search_path": ('"$user", public', "pg_catalog, public"),
    "statement_timeout": ("1min", "2min"),
    "my.who": ("ann", "bob's"),
    "work_mem": ("7MB", "9MB"),
    "application_name": ("one", "two"),
}


@pytest.fixture
def pair(tiny_proxy):
    """Two clients of two tenants on one server."""
    with tiny_proxy.raw(TENANT_A) as one, tiny_proxy.raw(TENANT_B) as two:
        yield one, two


@pytest.fixture
def direct(cluster):
    conn = p.Connection.connect(("127.0.0.1", cluster.ports["primary"]), "app", "eav",
                                cluster.password)
    yield conn
    conn.terminate()


def shown(conn, name):
    return conn.scalar(f"SHOW {name}")


def set_simple(conn, name, value):
    quoted = value.replace("'", "''")
    target = value if name == "search_path" else f"'{quoted}'"
    assert p.codes_of(conn.simple(f"SET {name} = {target}")) == []


def set_extended(conn, name, value):
    messages = conn.run(p.parse("", f"SELECT set_config('{name}', $1, false)")
                        + p.bind("", "", [value]) + p.execute() + p.sync())
    assert p.rows_of(messages) == [(value,)]


@pytest.mark.parametrize("put", [set_simple, set_extended])
def test_two_clients_take_turns_on_one_server(pair, put):
    for name, values in SETTINGS.items():
        for conn, value in zip(pair, values):
            # A search path that only the server knows pins: it may name pg_temp.
            (set_simple if name == "search_path" else put)(conn, name, value)
    for _ in range(3):
        for which, conn in enumerate(pair):
            for name, values in SETTINGS.items():
                assert shown(conn, name) == values[which]
            conn.simple("BEGIN")
            assert shown(conn, "my.who") == SETTINGS["my.who"][which]
            conn.simple("COMMIT")
    assert pair[0].scalar("SELECT pg_backend_pid()") == pair[1].scalar("SELECT pg_backend_pid()")


def test_nobody_else_sees_them(tiny_proxy, pair, direct):
    for name, values in SETTINGS.items():
        set_simple(pair[0], name, values[0])
    for name in SETTINGS:
        if name != "application_name" and "." not in name:
            assert shown(pair[1], name) == shown(direct, name)
    assert pair[1].scalar("SELECT coalesce(current_setting('my.who', true), '')") == ""
    with tiny_proxy.raw(TENANT_A) as same_tenant:
        assert shown(same_tenant, "work_mem") == shown(direct, "work_mem")


def follow_script(conn, other):
    """What SHOW says after each of a series of transactions, with somebody else between them."""
    script = [
        ["BEGIN", "SET work_mem = '5MB'", "ROLLBACK"],
        ["SET work_mem = '6MB'"],
        ["BEGIN", "SET work_mem = '7MB'", "COMMIT"],
        ["BEGIN", "SET work_mem = '8MB'", "SAVEPOINT a", "SET work_mem = '9MB'", "ROLLBACK TO a",
         "COMMIT"],
        ["BEGIN", "SET work_mem = '10MB'", "SAVEPOINT a", "SET work_mem = '11MB'", "RELEASE a",
         "COMMIT"],
        ["BEGIN", "SET LOCAL work_mem = '12MB'", "COMMIT"],
        ["BEGIN", "SET work_mem = '13MB'", "SET LOCAL work_mem = '14MB'", "COMMIT"],
        ["BEGIN", "SET LOCAL work_mem = '15MB'", "SET work_mem = '16MB'", "COMMIT"],
        ["SET work_mem = '17MB'; SELECT 1/0"],
        ["SET work_mem = '18MB'; COMMIT; SELECT 1/0"],
        ["BEGIN; SET work_mem = '19MB'; COMMIT; BEGIN; SET work_mem = '20MB'; ROLLBACK"],
        ["BEGIN", "SET work_mem = '21MB'", "SELECT 1/0", "COMMIT"],
        ["BEGIN", "SET work_mem = '22MB'", "COMMIT AND CHAIN", "SET work_mem = '23MB'", "ROLLBACK"],
        ["SET work_mem TO DEFAULT"],
        ["SELECT set_config('work_mem', (1024 * 24)::text, false)"],
        ["BEGIN", "RESET work_mem", "ROLLBACK"],
        ["BEGIN", "RESET ALL", "ROLLBACK"],
        ["BEGIN", "RESET ALL", "SET work_mem = '25MB'", "COMMIT"],
        ["BEGIN", "RESET ALL", "COMMIT"],
        ["SET work_mem = '26MB'"],
        ["RESET ALL"],
        ["SET work_mem = '27MB'; RESET ALL"],
        ["RESET ALL; SET work_mem = '28MB'"],
        ["DISCARD ALL"],
        ["SET work_mem = 'nonsense'"],
        ["SET DateStyle = 'German'"], ["SET DateStyle = 'YMD'"],
        ["BEGIN", "SET DateStyle = 'SQL'", "SET DateStyle = 'DMY'", "COMMIT"],
        ["SET TIME ZONE INTERVAL '+02:30' HOUR TO MINUTE"], ["SET TIME ZONE -7"],
        ["SET TIME ZONE LOCAL"], ["SET TIME ZONE 'Europe/Paris'"],
        ["SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"],
        ["RESET default_transaction_read_only"],
        ["SET search_path = public, \"$user\", \"Odd name\""], ["SET SCHEMA 'public'"],
        ["SET NAMES 'LATIN1'"], ["SET NAMES 'UTF8'"],
        ["SET my.odd = 'żółć'"], ["SET my.odd = ''"], ["RESET my.odd"],
    ]
    asked = ["work_mem", "DateStyle", "TimeZone", "default_transaction_isolation",
             "default_transaction_read_only", "search_path", "client_encoding"]
    out = []
    for transaction in script:
        for sql in transaction:
            told = [m.body for m in conn.simple(sql)
                    if m.type == "S" and not m.body.startswith(b"usher.")]
            # The order of two at once is the server's hash table's.
            out.append((sql, sorted(told)))
        other.simple("SELECT 1")
        out.append((transaction, [shown(conn, name) for name in asked]))
        if any("my.odd" in sql for sql in transaction):
            out.append(shown(conn, "my.odd"))
    return out


def test_what_a_client_is_told_is_what_a_connection_of_its_own_tells(pair, direct):
    assert follow_script(*pair) == follow_script(direct, pair[1])


@pytest.mark.parametrize(
    "setting", ["row_security = off", "ROLE app", "SESSION AUTHORIZATION app"])
def test_with_the_guard_off_they_still_stay_with_their_client(make_proxy, setting):
    proxy = make_proxy({"pgusher": {"max_server_conn": 1, "workers": 1}, "guard": {"mode": "off"}})
    with proxy.raw(TENANT_A) as conn:
        assert p.codes_of(conn.simple(f"SET {setting}")) == []
    with proxy.raw(TENANT_B) as conn:
        assert conn.rows("SELECT DISTINCT tenant_id FROM item") == [(str(TENANT_B),)]
        assert shown(conn, "role") == "none"


def test_a_refused_setting_ends_nobody(tiny_proxy):
    """What a client may not set is not replayed: that would be refused again."""
    refused = "SET log_statement = 'all'"
    with tiny_proxy.raw(TENANT_A) as conn, tiny_proxy.raw(TENANT_B) as other:
        assert p.codes_of(conn.simple(refused)) == ["42501"]
        assert p.codes_of(conn.run(p.one_shot(refused))) == ["42501"]
        for sql in ("BEGIN", "SET my.thing = 'kept'", "SAVEPOINT s", refused, "ROLLBACK TO s",
                    "COMMIT"):
            conn.simple(sql)
        for _ in range(2):
            assert other.rows("SELECT 1") == [("1",)]
            assert shown(conn, "my.thing") == "kept"
            assert shown(conn, "log_statement") == "none"


# pg_settings does not show them: what became of one is not told there.
FAILED_BEFORE = {
    "savepoint": ("BEGIN", "SET my.own = 'new'", "SAVEPOINT s", "SELECT 1/0", "ROLLBACK TO s",
                  "COMMIT"),
    "string": ("SET my.own = 'new'; COMMIT; SELECT 1/0",),
}


@pytest.mark.parametrize("script", FAILED_BEFORE.values(), ids=FAILED_BEFORE)
def test_the_applications_settings_of_a_transaction_with_errors(pair, script):
    """They hold for who made them, and stay on the server for nobody else."""
    one, two = pair
    for sql in script:
        one.simple(sql)
    for _ in range(2):
        assert two.scalar("SELECT coalesce(current_setting('my.own', true), '')") == ""
        assert one.scalar("SELECT current_setting('my.own', true)") == "new"


def test_a_failed_transaction_takes_no_setting_of_the_applications(pair):
    one, two = pair
    one.simple("SET my.own = 'old'")
    for sql in ("BEGIN", "SET my.own = 'new'", "SELECT 1/0", "ROLLBACK"):
        one.simple(sql)
    assert two.scalar("SELECT coalesce(current_setting('my.own', true), '')") == ""
    assert one.scalar("SELECT current_setting('my.own', true)") == "old"


def test_many_clients_that_set_share_few_servers(make_proxy):
    """What drivers send when they connect holds no server any more."""
    proxy = make_proxy({"pgusher": {"max_server_conn": 2, "workers": 1, **CONSOLE}})
    clients = [proxy.raw(tenant) for _ in range(50) for tenant in (TENANT_A, TENANT_B)]
    for number, conn in enumerate(clients):
        conn.simple(f"SET statement_timeout TO '{number + 1}s'")
        conn.simple("SET client_min_messages TO 'warning'")
        conn.simple("SET standard_conforming_strings = on")
        conn.simple(f"SET SESSION timezone TO '{number % 12}'")
    for conn in clients:
        conn.send(p.query("SELECT pg_sleep(0.001); SHOW statement_timeout"))
    for number, conn in enumerate(clients):
        rows = p.rows_of(conn.read_until_ready())
        expected = number + 1
        text = f"{expected // 60}min" if expected % 60 == 0 else f"{expected}s"
        assert rows[-1] == (text,)
    assert len(Console(proxy).show("SERVERS")) <= 2
    for conn in clients:
        conn.terminate()


def test_short_timeouts_hurt_nobody_else(pair):
    """The next client's settings are made on a server that the first one would have timed out."""
    one, two = pair
    set_simple(two, "my.who", "two")
    for _ in range(30):
        set_simple(one, "statement_timeout", "1ms")
        assert shown(two, "my.who") == "two"
        assert shown(two, "statement_timeout") == "0"
        one.simple("RESET ALL")


def test_a_statement_means_what_its_client_has_set(pair, cluster):
    """One text, parsed by two clients under other settings, is two statements (row 25)."""
    one, two = pair
    sql = functools.partial(cluster.sql, dbname="eav")
    sql("DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO app;"
                " CREATE OR REPLACE VIEW other.shared_note AS SELECT 'other'::text AS body;"
                " GRANT SELECT ON other.shared_note TO app; TRUNCATE shared_note;"
                " INSERT INTO shared_note VALUES (1, 'public')")
    set_simple(two, "search_path", "other, public")
    set_simple(two, "TimeZone", "Asia/Tokyo")
    set_simple(one, "TimeZone", "UTC")
    text = "SELECT body, ('2020-01-01 00:00'::timestamptz AT TIME ZONE 'UTC')::text FROM shared_note"
    for conn in pair:
        conn.run(p.parse("q", text) + p.sync())
    for _ in range(2):
        for conn, expected in ((one, ("public", "2020-01-01 00:00:00")),
                               (two, ("other", "2019-12-31 15:00:00"))):
            assert p.rows_of(conn.run(p.bind("", "q") + p.execute() + p.sync())) == [expected]
    sql("TRUNCATE shared_note; DROP SCHEMA other CASCADE")


@pytest.mark.parametrize("sql", ["SET seed = 0.5", "SET temp_buffers = '1MB'",
                                 "SET my.long = '" + "x" * 5000 + "'"])
def test_what_cannot_follow_pins(make_proxy, sql):
    proxy = make_proxy({"pgusher": {"max_server_conn": 2, "workers": 1}})
    with proxy.raw(TENANT_A) as one, proxy.raw(TENANT_B) as two:
        one.simple(sql)
        mine = one.scalar("SELECT pg_backend_pid()")
        for _ in range(3):
            assert two.scalar("SELECT pg_backend_pid()") != mine
            assert one.scalar("SELECT pg_backend_pid()") == mine
        if "my.long" in sql:
            assert len(shown(one, "my.long")) == 5000


# What makes it, what takes it away, what SHOW CLIENTS calls it.
PINS = [
    ("CREATE TEMP TABLE t (a int)", "DROP TABLE t", "temp table"),
    ("LISTEN a; LISTEN b", "UNLISTEN a; UNLISTEN b", "listen"),
    ("SELECT pg_advisory_lock(77)", "SELECT pg_advisory_unlock(77)", "advisory lock"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c", "cursor with hold"),
    ("PREPARE q AS SELECT 1", "DEALLOCATE q", "prepare"),
    ("CREATE TEMP TABLE t (a int)", "DISCARD TEMP", "temp table"),
    ("LISTEN a", "DISCARD ALL", "listen"),
]


def pinned(proxy, tenant):
    token = proxy.keys.token(None, role="dba")
    with p.Connection.connect(proxy.address, "dba", "pgusher", token) as console:
        replies = console.simple("SHOW CLIENTS")
    names = next(m.columns() for m in replies if m.type == "T")
    rows = [dict(zip(names, row)) for row in p.rows_of(replies)]
    return [row["pinned"] for row in rows if row["tenant"] == str(tenant)]


@pytest.fixture
def watched(make_proxy):
    return make_proxy({"pgusher": {"workers": 1, "max_server_conn": 1, "admin_users": "dba"}})


@pytest.mark.parametrize("make, end, name", PINS)
def test_a_pin_ends_with_what_it_was_for(watched, make, end, name):
    with watched.raw(TENANT_A) as one, watched.raw(TENANT_B) as two:
        assert p.codes_of(one.simple(make)) == []
        assert pinned(watched, TENANT_A) == [name]
        two.send(p.query("SELECT 1"))
        assert one.scalar("SELECT 1") == "1"
        assert two.is_silent()
        assert p.codes_of(one.simple(end)) == []
        assert p.rows_of(two.read_until_ready()) == [("1",)]
        assert pinned(watched, TENANT_A) == [""]


@pytest.fixture
def hardened(cluster, keys, tmp_path_factory):
    """As sql/ hardens it, but for TEMP, of which a pin is tested."""
    cluster.deploy("hardened")
    made = Signed(cluster, tmp_path_factory.mktemp("hardened"), "hardened")
    made.run("hardening.sql")
    cluster.sql("GRANT TEMP ON DATABASE hardened TO app", dbname="hardened")
    yield "hardened"
    cluster.close_superuser("hardened")
    cluster.sql("DROP DATABASE hardened WITH (FORCE)")


def test_a_pin_ends_in_a_hardened_database(make_proxy, hardened):
    """There the role may not look at what lives in its session."""
    proxy = make_proxy({"pgusher": {"workers": 1, "max_server_conn": 1, "admin_users": "dba"}},
                       databases=(hardened,))
    with proxy.raw(TENANT_A, hardened) as one, proxy.raw(TENANT_B, hardened) as two:
        for make, end, name in PINS[:-1]:
            assert p.codes_of(one.simple(make)) == []
            assert pinned(proxy, TENANT_A) == [name]
            assert p.codes_of(one.simple(end)) == []
            assert two.scalar("SELECT 1") == "1"
        one.simple("LISTEN a; LISTEN b")
        one.simple("UNLISTEN a")
        one.simple("SELECT 1")
        assert pinned(proxy, TENANT_A) == ["listen"]


@pytest.mark.parametrize("made", [
    ["CREATE TEMP TABLE t (a nosuch)"], ["BEGIN", "CREATE TEMP TABLE t (a int)", "ROLLBACK"],
    ["BEGIN; LISTEN a; SELECT 1/0", "COMMIT"], ["SELECT pg_advisory_lock(79 / 0)"]])
def test_what_was_never_made_does_not_pin(watched, made):
    with watched.raw(TENANT_A) as one, watched.raw(TENANT_B) as two:
        for sql in made:
            one.simple(sql)
        assert two.scalar("SELECT 1") == "1"
        assert pinned(watched, TENANT_A) == [""]


def test_what_was_made_before_it_failed_pins(watched):
    with watched.raw(TENANT_A) as one:
        for made in (["SELECT CASE WHEN pg_try_advisory_lock(79) THEN 1 / (random() * 0)::int END"], ["BEGIN", "LISTEN a", "COMMIT"]):
            for sql in made:
                one.simple(sql)
            one.simple("SELECT 1")
            assert pinned(watched, TENANT_A) != [""]
            one.simple("DISCARD ALL")


def test_a_pin_lasts_while_something_is_left(watched):
    with watched.raw(TENANT_A) as one:
        one.simple("LISTEN a; LISTEN b; SELECT pg_advisory_lock(78)")
        for end in ("UNLISTEN a", "UNLISTEN b", "BEGIN; SELECT pg_advisory_unlock(78); ROLLBACK;"
                    " LISTEN a"):
            one.simple(end)
            assert pinned(watched, TENANT_A) == ["listen, advisory lock"]
        one.simple("UNLISTEN *")
        one.simple("SELECT 1")  # waits for what the server says of the pin
        assert pinned(watched, TENANT_A) == [""]


def together(*statements):
    """One batch of the extended protocol."""
    return b"".join(p.one_shot(sql, [])[:-len(p.sync())] for sql in statements) + p.sync()


@pytest.mark.parametrize("reset", ["RESET ALL", "DISCARD ALL"])
def test_what_is_set_behind_a_reset_reaches_nobody_else(pair, direct, reset):
    one, two = pair
    for name, value in (("default_transaction_read_only", "on"), ("statement_timeout", "5ms"),
                        ("search_path", "pg_catalog"), ("work_mem", "7MB")):
        assert p.codes_of(one.run(together(reset, f"SET {name} = '{value}'"))) == []
        assert shown(two, name) == shown(direct, name)
        assert shown(one, name) == value
        assert p.codes_of(one.simple(reset)) == []


def test_state_made_behind_discard_all_pins(watched):
    with watched.raw(TENANT_A) as one, watched.raw(TENANT_B) as two:
        assert p.codes_of(one.run(together("DISCARD ALL", "CREATE TEMP TABLE t (a int)"))) == []
        two.send(p.query("SELECT to_regclass('t')"))
        assert p.codes_of(one.simple("TABLE t")) == []
        assert pinned(watched, TENANT_A) == ["temp table"]
        assert p.codes_of(one.simple("DROP TABLE t")) == []
        assert p.rows_of(two.read_until_ready()) == [(None,)]


def statuses(messages):
    """What ParameterStatus says among the messages, but for PgUsher's own."""
    pairs = (tuple(m.body.decode().split("\0")[:2]) for m in messages if m.type == "S")
    return [pair for pair in pairs if not pair[0].startswith("usher.")]


def test_another_servers_parameters_are_told(tiny_proxy, cluster):
    """As PostgreSQL does when a value changes: before ReadyForQuery, and once."""
    def kill_idle():
        for backend in cluster.backends("eav", "idle"):
            cluster.kill_backend(backend["pid"])

    try:
        with tiny_proxy.raw(TENANT_A) as conn:
            assert statuses(conn.simple("SELECT 1")) == []
            cluster.sql("ALTER ROLE app IN DATABASE eav SET DateStyle = 'SQL, DMY'")
            kill_idle()
            messages = conn.simple("SELECT date '2026-11-23'")
            assert p.rows_of(messages) == [("23/11/2026",)]
            assert statuses(messages) == [("DateStyle", "SQL, DMY")]
            assert messages[-1].type == "Z"
            assert statuses(conn.run(p.one_shot("SELECT 1"))) == []
            # What the server tells by itself is not told twice, nor what the client has set.
            assert statuses(conn.simple("SET TimeZone = 'Asia/Tokyo'")) == [("TimeZone", "Asia/Tokyo")]
            cluster.sql("ALTER ROLE app IN DATABASE eav RESET DateStyle")
            kill_idle()
            assert statuses(conn.simple("SELECT 1")) == [("DateStyle", "ISO, MDY")]
            assert statuses(conn.simple("SELECT 1")) == []
    finally:
        cluster.sql("ALTER ROLE app IN DATABASE eav RESET DateStyle")


def test_parameters_that_a_neighbour_left_are_told_to_nobody(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn, tiny_proxy.raw(TENANT_B) as other:
        for _ in range(2):
            other.simple("SET DateStyle = 'German'")
            messages = conn.simple("SELECT date '2026-11-23'")
            assert p.rows_of(messages) == [("2026-11-23",)] and statuses(messages) == []
            other.simple("RESET DateStyle")
            assert statuses(conn.simple("SELECT 1")) == []
