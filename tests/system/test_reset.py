"""RESET of settings that came with the startup packet goes back to them, as PostgreSQL's does
(docs/deviations.md 18); seen beside a direct connection with the same startup packet."""

import pgproto as p
import pytest

from conftest import TENANT_A, TENANT_B

STARTUP = {"application_name": "mine", "TimeZone": "asia/tokyo", "DateStyle": "German",
           "options": "-c work_mem=7MB -c statement_timeout=1min -c my.who=ann"}
NAMES = ["application_name", "TimeZone", "DateStyle", "work_mem", "statement_timeout", "my.who",
         "IntervalStyle"]
# What the next client finds on the server: none of them. A parameter of one's own that another had is
# empty (docs/deviations.md 16).
NEXT = "SELECT " + ", ".join(f"coalesce(current_setting('{n}', true), '')" for n in NAMES[1:])
OTHERS = ("SET application_name = 'x'; SET TimeZone = 'UTC'; SET DateStyle = 'SQL';"
          " SET work_mem = '9MB'; SET my.who = 'bob'; SET IntervalStyle = 'iso_8601'")

# Transactions, each behind OTHERS.
SCRIPTS = [
    ["RESET TimeZone"], ["reset TIMEZONE"], ["RESET TIME ZONE"], ["SET TIME ZONE DEFAULT"],
    ["SET TIME ZONE LOCAL"], ["SET TimeZone TO DEFAULT"], ["SET SESSION work_mem = DEFAULT"],
    ["/* why */ RESET \"DateStyle\" ;"], ["RESET my.who"], ["RESET application_name"],
    ["RESET statement_timeout"], ["RESET IntervalStyle"], ["RESET nothing"],
    ["RESET ALL"], ["DISCARD ALL"],
    ["SET LOCAL TimeZone TO DEFAULT"],
    ["BEGIN", "RESET work_mem", "SHOW work_mem", "COMMIT"],
    ["BEGIN", "RESET work_mem", "SHOW work_mem", "ROLLBACK"],
    ["BEGIN", "SET LOCAL work_mem TO DEFAULT", "SHOW work_mem", "COMMIT"],
    ["BEGIN", "SET LOCAL TimeZone TO DEFAULT", "SELECT to_timestamp(0)", "ROLLBACK"],
    ["BEGIN", "SAVEPOINT a", "RESET TimeZone", "SHOW TimeZone", "ROLLBACK TO a", "SHOW TimeZone",
     "COMMIT"],
    ["BEGIN", "RESET ALL", "SHOW work_mem", "SHOW my.who", "ROLLBACK"],
    ["BEGIN", "RESET ALL", "SET work_mem = '11MB'", "COMMIT"],
    ["BEGIN", "RESET TimeZone", "SELECT 1/0", "RESET TimeZone", "COMMIT"],
    ["BEGIN", "DISCARD ALL", "COMMIT"],
    ["RESET DateStyle", "SET DateStyle = 'MDY'"],
]
STRINGS = [
    "RESET work_mem; SHOW work_mem", "SHOW work_mem; RESET work_mem",
    "SELECT 1; RESET work_mem; RESET my.who; SELECT 2",
    "RESET work_mem; SELECT 1/0", "SELECT 1/0; RESET work_mem",
    "BEGIN; RESET work_mem; SHOW work_mem; ROLLBACK", "RESET work_mem; COMMIT; SELECT 1/0",
    "SELECT 1; DISCARD ALL", "DISCARD ALL; SELECT 1", "RESET work_mem; ROLLBACK",
    "RESET ALL; SHOW work_mem",
    "SET LOCAL work_mem TO DEFAULT; SHOW work_mem",
    "RESET work_mem; SET work_mem = '12MB'; SHOW work_mem",
]


def simple(conn, sql):
    return conn.simple(sql)


def extended(conn, sql):
    return conn.run(p.one_shot(sql, []))


def named(conn, sql):
    return conn.run(p.close("P", "c") + p.close("S", "s") + p.parse("s", sql) + p.bind("c", "s")
                    + p.describe("P", "c") + p.execute("c") + p.sync())


def seen(messages):
    """Parameters that one message reports together come in the order of a hash table."""
    out = [(m.type, m.body) for m in messages if not m.body.startswith(b"usher.")]
    told = sorted(m for m in out if m[0] == "S")
    return [m for m in out if m[0] != "S"], told


def follow(conn, other, send, scripts):
    out = []
    for script in scripts:
        conn.simple(OTHERS)
        for sql in script:
            out.append((sql, seen(send(conn, sql))))
        out.append(("the next client", other.rows(NEXT)))
        out.append((script, [conn.scalar(f"SHOW {name}") for name in NAMES]))
    return out


@pytest.fixture
def pair(tiny_proxy, cluster):
    """A client and its neighbour on one server; the same on connections of their own."""
    address = ("127.0.0.1", cluster.ports["primary"])
    direct = [p.Connection.connect(address, "app", "eav", cluster.password, **params)
              for params in (STARTUP, {})]
    with tiny_proxy.raw(TENANT_A, **STARTUP) as one, tiny_proxy.raw(TENANT_B) as two:
        yield (one, two), direct
    for conn in direct:
        conn.terminate()


def draws_a_warning(script):
    return script[0].startswith("SET LOCAL")


@pytest.mark.parametrize("send", [simple, extended, named])
def test_reset_goes_back_to_the_startup(cluster, pair, send):
    proxied, direct = pair
    for script in SCRIPTS:
        if cluster.major() >= 18 and draws_a_warning(script):
            continue  # not through us: docs/deviations.md 29
        assert follow(*proxied, send, [script]) == follow(*direct, send, [script])


@pytest.mark.parametrize("sql", STRINGS)
def test_reset_in_a_string_goes_back_too(pair, sql):
    proxied, direct = pair
    replies = [follow(*side, simple, [[sql]]) for side in (proxied, direct)]
    # A string that is cut reports at each cut, and its block is no surprise to COMMIT and ROLLBACK
    # (docs/deviations.md 6).
    for reply in replies:
        messages, told = reply[0][1]
        reply[0] = sql, [m for m in messages if b"C25P01" not in m[1]]
    assert replies[0] == replies[1]


def test_reset_in_a_pipeline(pair):
    """What is around it stays what it was: the unnamed portal too."""
    batch = (p.parse("", "SELECT 7") + p.bind("", "") + p.parse("r", "RESET work_mem")
             + p.bind("r", "r") + p.execute("r") + p.execute("")
             + p.bind("r2", "r") + p.execute("r2") + p.close("S", "r") + p.sync())
    replies = []
    for conn, _ in pair:
        conn.simple("SET work_mem = '9MB'")
        replies.append((seen(conn.run(batch)), conn.scalar("SHOW work_mem")))
    assert replies[0] == replies[1]
    assert replies[0][1] == "7MB"


@pytest.mark.parametrize("reset", ["RESET ALL", "RESET work_mem"])
def test_set_behind_a_reset_in_a_block_stays(pair, reset):
    batch = b"".join(p.parse("", sql) + p.bind("", "") + p.execute()
                     for sql in ("BEGIN", reset, "SET work_mem = '9MB'")) + p.sync()
    replies = []
    for conn, other in pair:
        replies.append([seen(conn.run(batch)), conn.scalar("SHOW work_mem"), conn.scalar("SHOW my.who"),
                        seen(conn.simple("COMMIT")), conn.scalar("SHOW work_mem"), other.rows(NEXT)])
    assert replies[0] == replies[1]
    assert replies[0][1] == "9MB"


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_reset_in_both_pool_modes(make_proxy, mode):
    proxy = make_proxy({"pgusher": {"pool_mode": mode}})
    with proxy.raw(TENANT_A, **STARTUP) as conn:
        for reset in ("RESET work_mem", "RESET ALL", "DISCARD ALL"):
            conn.simple("SET work_mem = '9MB'")
            conn.simple(reset)
            assert conn.scalar("SHOW work_mem") == "7MB"


LIMITS = {"search_path": "pg_catalog", "default_transaction_read_only": "on",
          "options": "-c statement_timeout=7s -c lock_timeout=3"}
BEHIND_RESET_ALL = {
    "query": [p.query("RESET ALL")],
    "batch": [p.one_shot("RESET ALL")],
    "batch-and-set": [p.parse("", "RESET ALL") + p.bind("", "") + p.execute()
                      + p.one_shot("SET work_mem = '64kB'")],
    "batch-and-reset": [p.parse("", "RESET ALL") + p.bind("", "") + p.execute()
                        + p.one_shot("RESET search_path")],
    "query-in-a-batch": [p.parse("", "RESET ALL") + p.bind("", "") + p.execute()
                         + p.query("SELECT 1")],
    "twice-in-a-batch": [p.parse("", "RESET ALL") + p.bind("", "") + p.execute()
                         + p.query("RESET ALL")],
    "bound-only": [p.parse("", "RESET ALL") + p.bind("", "") + p.sync()],
    "bound-only-and-set": [p.parse("r", "RESET ALL") + p.bind("r", "r")
                           + p.one_shot("SET work_mem = '64kB'")],
    "bound-only-behind-a-set": [p.query("SET work_mem = '64kB'"),
                                p.parse("", "RESET ALL") + p.bind("", "") + p.sync()],
    "behind-a-set": [p.query("SET work_mem = '64kB'"), p.query("RESET ALL")],
}


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("way", BEHIND_RESET_ALL)
def test_the_startup_behind_reset_all_is_not_the_next_clients(tiny_proxy, way, leaves):
    show = "SELECT " + ", ".join(f"pg_catalog.current_setting('{name}')" for name in (
        "search_path", "default_transaction_read_only", "statement_timeout", "lock_timeout",
        "work_mem"))
    with tiny_proxy.raw(TENANT_A, **LIMITS) as one, tiny_proxy.raw(TENANT_B) as two:
        for message in BEHIND_RESET_ALL[way]:
            one.send(message)
            one.read_until_ready()
        if leaves:
            one.close()
        assert two.rows(show) == [('"$user", public', "off", "0", "0", "4MB")]
        assert p.codes_of(two.simple(f"DELETE FROM item WHERE tenant_id = {TENANT_B}")) == []
        if not leaves:
            work_mem = {"batch-and-set": "64kB", "bound-only-and-set": "64kB",
                        "bound-only-behind-a-set": "64kB"}.get(way, "4MB")
            assert one.rows(show) == [("pg_catalog", "on", "7s", "3ms", work_mem)]
