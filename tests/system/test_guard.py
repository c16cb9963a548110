"""The guard in its modes, through the real proxy and server: what is refused and what passes, by
each protocol, for tenants and for a service role; the counts in SHOW GUARD;
`pgusher explain`.

The rules themselves, in all spellings and wrappings, are tests/unit/sql/test_guard.c's.
"""

import os
import subprocess

import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B
from pgproto import Connection
from proxy import BINARY, Proxy, run_binary
from console import CONSOLE, Console

pytestmark = pytest.mark.usefixtures("items")

# isolation.md's row, the rule, the statement.
STRICT = [
    (8, "session_views", "SELECT query FROM pg_stat_activity"),
    (8, "session_views", "SELECT * FROM pg_stat_get_activity(NULL)"),
    (8, "session_views", "SELECT statement FROM pg_prepared_statements"),
    (8, "session_views", "SELECT table_to_xml('pg_stat_activity', true, true, '')"),
    (8, "statistics", "EXPLAIN SELECT * FROM item WHERE n < 7"),
    (8, "statistics", "SELECT * FROM pg_stat_xact_user_tables"),
    (8, "statistics", "SET debug_print_plan = on"),
    (9, "backend_signal", "SELECT pg_cancel_backend(pg_backend_pid())"),
    (10, "advisory_lock", "SELECT pg_try_advisory_xact_lock(1)"),
    (11, "notify", "LISTEN jobs"),
    (11, "notify", "NOTIFY jobs"),
    (12, "two_phase", "PREPARE TRANSACTION 'g'"),
    (13, "large_object", "SELECT lo_create(0)"),
    (13, "server_file", "COPY item TO PROGRAM 'cat'"),
    (13, "server_file", "SELECT pg_ls_dir('.')"),
    (6, "sequence_state", "SELECT lastval()"),
    (6, "sequence_state", "SELECT setval('item_id_seq', 1)"),
    (6, "random_seed", "SELECT setseed(0.5)"),
    (6, "random_seed", "SELECT 1; SET seed = 0.5; /*" + 200_000 * "x" + "*/"),
    (24, "lock_table", "LOCK TABLE item IN EXCLUSIVE MODE"),
    (24, "lock_table", "VACUUM FULL item"),
    (24, "lock_table", "ALTER INDEX item_pkey DEPENDS ON EXTENSION plpgsql"),
    (24, "lock_table", "CREATE TEMP TABLE t (a bigint REFERENCES item)"),
    (24, "lock_table", "DO $$BEGIN CREATE TEMP TABLE t PARTITION OF item DEFAULT; END$$"),
    (5, "privileges", "GRANT SELECT ON item TO PUBLIC"),
    (14, "shared_code", "CREATE VIEW mine AS SELECT 1"),
]
STANDARD = [
    (1, "tenant_setting", f"SET app.current_tenant_id = {TENANT_B}"),
    (1, "tenant_setting", f"SELECT set_config('app.current_tenant_id', '{TENANT_B}', true)"),
    (2, "dynamic_sql", "DO $$BEGIN EXECUTE 'SELECT 1'; END$$"),
    (5, "row_security", "SET row_security = off"),
]
ALWAYS = [
    (1, "usher_setting", "SET \"usher\".nothing = 1"),
    (7, "reserved_name", "EXECUTE pgu_1"),
    (20, "string_syntax", "SET standard_conforming_strings = off"),
]


@pytest.fixture(scope="module")
def guarded(cluster, keys, tmp_path_factory):
    """A proxy for each mode, by its name."""
    cluster.superuser("eav").execute(f"CREATE ROLE svc LOGIN PASSWORD '{cluster.password}'")
    running = {}
    for mode in ("strict", "standard", "off"):
        running[mode] = Proxy(
            cluster, keys, tmp_path_factory.mktemp(mode),
            {"guard": {"mode": mode}, "pgusher": CONSOLE, "role dba": {"tenant": "none"},
             "role svc": {"tenant": "none", "password_file": cluster.password_file}},
        ).start()
    yield running
    for made in running.values():
        made.stop()
    cluster.superuser("eav").execute("DROP ROLE svc")


def refused_by(messages):
    """The rule that the error names, None where there was no refusal of PgUsher's."""
    for fields in p.errors_of(messages):
        if "R" not in fields and "(rule " in fields["M"]:
            return fields["M"].rsplit("(rule ", 1)[1].rstrip(")")
    return None


def ids(row):
    return f"row{row[0]}-{row[1]}" if isinstance(row, tuple) else None


@pytest.mark.parametrize("row", STRICT + STANDARD + ALWAYS, ids=ids)
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_strict_refuses(guarded, row, extended):
    """With an ordinary error: the client stays, and what follows works."""
    _, rule, sql = row
    with guarded["strict"].raw(TENANT_A) as conn:
        replies = conn.run(p.one_shot(sql)) if extended else conn.simple(sql)
        assert refused_by(replies) == rule, replies
        assert conn.scalar("SELECT DISTINCT tenant_id FROM item") == str(TENANT_A)
        assert conn.simple("BEGIN")[-1].body == b"T"
        conn.scalar("SELECT 1")
        replies = conn.run(p.one_shot(sql) if extended else p.query(sql))
        assert refused_by(replies) == rule and replies[-1].body == b"E", replies
        assert p.codes_of(conn.simple("SELECT 1")) == ["25P02"]
        conn.simple("ROLLBACK")


def test_batch_is_skipped_to_sync(guarded):
    with guarded["strict"].raw(TENANT_A) as conn:
        one = p.parse("", "SELECT 1") + p.bind("", "") + p.execute()
        bad = p.parse("", "SELECT lastval()") + p.bind("", "") + p.execute()
        replies = conn.run(one + bad + one + p.sync())
        assert p.types_of(replies).count("D") == 1 and refused_by(replies) == "sequence_state"


@pytest.mark.parametrize("mode, rows", [("standard", STRICT), ("off", STRICT + STANDARD)])
def test_weaker_modes_let_pass(guarded, mode, rows):
    """Whatever PostgreSQL says to it: not PgUsher."""
    for _, _, sql in rows:
        with guarded[mode].raw(TENANT_A) as conn:
            assert refused_by(conn.simple(sql)) is None, sql


@pytest.mark.parametrize("mode, rows", [("standard", STANDARD), ("off", ALWAYS)])
def test_weaker_modes_refuse(guarded, mode, rows):
    for _, rule, sql in rows:
        with guarded[mode].raw(TENANT_A) as conn:
            assert refused_by(conn.simple(sql)) == rule, sql


@pytest.mark.parametrize("mode", ["strict", "standard", "off"])
def test_function_call_message(guarded, mode):
    """Row 4: set_config by its number."""
    with guarded[mode].raw(TENANT_A) as conn:
        assert refused_by(conn.run(p.function_call(2078, [b"a.b", b"1", b"t"]))) == "function_call"
        assert conn.scalar("SELECT DISTINCT tenant_id FROM item") == str(TENANT_A)


def test_service_role_is_free(guarded, keys):
    """Of the rules about tenants, not of those that PgUsher needs itself."""
    proxy = guarded["strict"]
    token = keys.token(None, role="svc")
    with Connection.connect(proxy.address, "svc", "eav", token) as conn:
        assert conn.rows("SELECT count(*) > 0 FROM pg_stat_activity") == [("t",)]
        assert p.codes_of(conn.simple("SET row_security = off")) == []
        for _, rule, sql in ALWAYS:
            assert refused_by(conn.simple(sql)) == rule, sql


def test_show_guard(guarded):
    proxy = guarded["strict"]
    console = Console(proxy)
    before = {row["rule"]: int(row["hits"]) for row in console.show("GUARD")}
    for _ in range(3):  # on whichever worker
        with proxy.raw(TENANT_A) as conn:
            conn.simple("SELECT lastval()")
            conn.simple("SELECT lastval()")
            conn.simple("SELECT 1")
    rows = {row["rule"]: row for row in console.show("GUARD")}
    assert int(rows["sequence_state"]["hits"]) == before["sequence_state"] + 6
    assert rows["two_phase"]["action"] == "refuse"
    rows = {row["rule"]: row for row in Console(guarded["standard"]).show("GUARD")}
    assert rows["two_phase"]["action"] == "allow"
    assert rows["tenant_setting"]["action"] == "refuse"


def test_lists(make_proxy):
    proxy = make_proxy({"guard": {"mode": "strict", "allow_functions": "lastval, pg_notify",
                                  "deny_functions": "pg_catalog.repeat"}})
    with proxy.raw(TENANT_A) as conn:
        assert p.codes_of(conn.simple("SELECT lastval()")) in ([], ["55000"])
        assert refused_by(conn.simple("SELECT pg_notify('a', 'b')")) is None
        assert refused_by(conn.simple("SELECT repeat('a', 3)")) == "deny_functions"


@pytest.mark.parametrize("key, value, says", [
    ("allow_functions", "set_config", "cannot be allowed"),
    ("deny_functions", "f(int)", "is no name of a function"),
    ("mode", "lax", "strict"),
])
def test_bad_options(make_proxy, keys, cluster, tmp_path, key, value, says):
    proxy = Proxy(cluster, keys, tmp_path, {"guard": {key: value}})
    done = run_binary("check", "-c", proxy.ini)
    assert done.returncode == 1 and says in done.stderr and key in done.stderr


# ---- pgusher explain ---------------------------------------------------------------------


def explained(guarded, *args, mode="strict", stdin=None):
    done = subprocess.run(
        [BINARY, "explain", "-c", guarded[mode].ini, *args], input=stdin, capture_output=True,
        text=True, timeout=60, check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_explain_what_passes(guarded):
    status, out = explained(guarded, "BEGIN; SELECT n FROM item WHERE id = 42; COMMIT")
    assert status == 0
    assert out.count("\nstatement ") == 2 and "begins a transaction" in out
    assert "SELECT n FROM item WHERE id = ?" in out and "guard       passes" in out
    assert "primary" in out


@pytest.mark.parametrize("mode, status", [("strict", 1), ("standard", 0)])
def test_explain_what_is_refused(guarded, mode, status):
    got, out = explained(guarded, "SELECT 1; SELECT lastval()", mode=mode)
    assert got == status
    assert ("rule sequence_state" in out) == (status == 1)
    assert ("isolation row 6" in out) == (status == 1)
    assert "guard       passes" in out


def test_explain_knows_postgresqls_own_functions(guarded):
    unseen = "runs code that PgUsher does not see into"
    assert unseen not in explained(guarded, "SELECT lower('A'), count(*) FROM item")[1]
    assert unseen in explained(guarded, "SELECT lowest('A') FROM item")[1]


def test_explain_as_service_role(guarded):
    assert explained(guarded, "--role", "svc", "SELECT lastval()")[0] == 0
    assert explained(guarded, "--role", "app", "SELECT lastval()")[0] == 1


def test_explain_reads_standard_input_and_shows_no_token(guarded):
    status, out = explained(guarded, "-", stdin="SET usher.token = 'secret'")
    assert status == 0 and "answered by PgUsher" in out and "secret" not in out


def test_explain_syntax_error_and_usage(guarded):
    status, out = explained(guarded, "SELEC 1")
    assert status == 1 and "syntax error" in out
    assert run_binary("explain", "SELECT 1").returncode == 2
    assert "Exits 0" in run_binary("explain", "--help").stdout


# ---- ordinary clients --------------------------------------------------------------------

PSQL = [
    r"\d", r"\d item", r"\d+ entities", r"\dt", r"\dt+", r"\di+", r"\dv", r"\dm", r"\ds", r"\dE",
    r"\dS pg_class", r"\dn+", r"\du", r"\du+", r"\dg", r"\df", r"\df+ upsert*", r"\dfS+ lower",
    r"\dp", r"\z item", r"\l", r"\l+", r"\dx", r"\dx+", r"\dT+", r"\dD", r"\dC", r"\do", r"\da",
    r"\db", r"\dc", r"\dconfig", r"\dd", r"\ddp", r"\des", r"\det", r"\dew", r"\deu", r"\dF",
    r"\dFd", r"\dFp", r"\dFt", r"\dl", r"\dL", r"\dO", r"\drds", r"\dRp", r"\dRs", r"\dy", r"\dX",
    r"\dP+", r"\dAc", r"\dAf", r"\dAo", r"\dAp", r"\conninfo", r"\encoding", r"\sf note_context",
    r"\sv pg_tables", r"\lo_list",
]

# An older psql looks for columns that the server has no more.
NEEDS_NEW_PSQL = (r"\l", r"\l+", r"\dO")


def test_psql_commands(guarded, cluster):
    """All of them in strict."""
    skipped = NEEDS_NEW_PSQL if cluster.major("psql") < cluster.major() else ()
    args = [arg for command in PSQL if command not in skipped for arg in ("-c", command)]
    done = subprocess.run(
        [os.path.join(cluster.bin, "psql"), "-X", "-v", "ON_ERROR_STOP=1", *args],
        env=guarded["strict"].psql_env(TENANT_A), capture_output=True, text=True, timeout=120,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("Did not find any")]
    assert (done.returncode, said) == (0, [])


def test_psycopg(guarded):
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(**guarded["strict"].dsn(TENANT_A)) as conn:
        with conn.transaction(), conn.cursor() as cur:
            cur.execute("SELECT DISTINCT tenant_id FROM item WHERE id < %s", (100,))
            assert cur.fetchone() == (TENANT_A,)
            cur.execute("CREATE TEMP TABLE t (a int) ON COMMIT DROP")
            with cur.copy("COPY t FROM STDIN") as copy:
                copy.write_row((1,))
            cur.execute("SELECT count(*) FROM t")
            assert cur.fetchone() == (1,)
