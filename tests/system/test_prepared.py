"""Prepared statements of the protocol: each client's own, on whichever server comes next, and
with PostgreSQL's own errors (protocol-traps.md 12 to 16)."""

import psycopg
import pytest

import pgproto as p
from conftest import TENANT_A, TENANT_B

pytestmark = pytest.mark.usefixtures("items")


@pytest.fixture
def two_servers(make_proxy):
    return make_proxy({"pgusher": {"max_server_conn": 2}})


@pytest.fixture
def small_lru(make_proxy):
    return make_proxy(
        {"pgusher": {"workers": 1, "max_server_conn": 1, "max_prepared_statements": 2}}
    )


def run_named(conn, name, values=()):
    return conn.run(p.bind("", name, values) + p.execute() + p.sync())


def value(messages):
    return p.rows_of(messages)[0][0]


def test_named_statement_on_another_server(two_servers):
    """Busy neighbours push the client from one server to the other."""
    conn, neighbour = two_servers.raw(TENANT_A), two_servers.raw(TENANT_B)
    conn.run(p.parse("q", "SELECT pg_backend_pid(), count(*) FROM item WHERE id < $1") + p.sync())
    pids = set()
    for _ in range(2):
        neighbour.simple("BEGIN")
        taken = neighbour.scalar("SELECT pg_backend_pid()")
        pid, count = p.rows_of(run_named(conn, "q", ["6"]))[0]
        assert count == "5" and pid != taken
        pids.add(pid)
        # The server that conn has just used is held next.
        holder = two_servers.raw(TENANT_B)
        holder.simple("BEGIN")
        holder.simple("SELECT 1")
        neighbour.simple("ROLLBACK")
        pids.add(p.rows_of(run_named(conn, "q", ["6"]))[0][0])
        holder.terminate()
    assert len(pids) == 2
    conn.terminate()
    neighbour.terminate()


def test_describe_is_answered_on_a_server_that_has_not_seen_the_parse(two_servers, cluster):
    conn = two_servers.raw(TENANT_A)
    conn.run(p.parse("q", "SELECT id, name FROM item WHERE id = $1") + p.sync())
    first = conn.run(p.describe("S", "q") + p.sync())
    assert p.types_of(first) == "tTZ"
    for backend in cluster.backends("eav", "idle"):
        cluster.kill_backend(backend["pid"])
    assert conn.run(p.describe("S", "q") + p.sync()) == first
    assert p.rows_of(run_named(conn, "q", ["3"])) == [("3", f"tenant {TENANT_A} item 3")]
    conn.terminate()


def test_unnamed_statement_in_a_later_batch(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn, tiny_proxy.raw(TENANT_B) as other:
        conn.run(p.parse("", "SELECT name FROM item WHERE id = $1") + p.sync())
        # The other client's unnamed statement comes between, on the same server.
        other.run(p.one_shot("SELECT 'other'"))
        assert value(run_named(conn, "", ["4"])) == f"tenant {TENANT_A} item 4"
        assert value(run_named(conn, "", ["5"])) == f"tenant {TENANT_A} item 5"


def test_simple_query_drops_the_unnamed_statement(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.run(p.parse("", "SELECT 1") + p.sync())
        conn.simple("SELECT 2")
        assert p.codes_of(run_named(conn, "")) == ["26000"]


def test_name_that_exists(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.run(p.parse("q", "SELECT 1") + p.sync())
        messages = conn.run(p.parse("q", "SELECT 2") + p.bind("", "q") + p.execute() + p.sync())
        assert p.types_of(messages) == "EZ" and p.codes_of(messages) == ["42P05"]
        assert p.errors_of(messages)[0]["M"] == 'prepared statement "q" already exists'
        assert value(run_named(conn, "q")) == "1"


def test_name_that_does_not_exist(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        for data in (p.bind("", "nope") + p.execute(), p.describe("S", "nope")):
            messages = conn.run(data + p.sync())
            assert p.types_of(messages) == "EZ" and p.codes_of(messages) == ["26000"]
            assert p.errors_of(messages)[0]["M"] == 'prepared statement "nope" does not exist'
        assert conn.scalar("SELECT 1") == "1"


def test_other_clients_statement_does_not_exist(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn, tiny_proxy.raw(TENANT_B) as other:
        conn.run(p.parse("mine", "SELECT 1") + p.sync())
        assert p.codes_of(run_named(other, "mine")) == ["26000"]
        other.run(p.parse("mine", "SELECT 2") + p.sync())
        assert value(run_named(conn, "mine")) == "1"
        assert value(run_named(other, "mine")) == "2"


def test_failed_parse_leaves_the_name_free(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        for wrong in ("SELEC 1", "SELECT nothing FROM item"):
            assert len(p.codes_of(conn.run(p.parse("q", wrong) + p.sync()))) == 1
        messages = conn.run(p.parse("q", "SELECT 5") + p.sync())
        assert p.types_of(messages) == "1Z"
        assert value(run_named(conn, "q")) == "5"


def test_parse_after_an_error_in_the_batch_is_not_made(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        messages = conn.run(p.bind("", "nope") + p.parse("q", "SELECT 5") + p.sync())
        assert p.codes_of(messages) == ["26000"]
        assert p.codes_of(run_named(conn, "q")) == ["26000"]


def test_parse_survives_a_rollback(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.run(p.parse("q", "SELECT 6") + p.sync())
        conn.simple("ROLLBACK")
        assert value(run_named(conn, "q")) == "6"


def test_close_frees_the_name(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.run(p.parse("q", "SELECT 1") + p.sync())
        assert p.types_of(conn.run(p.close("S", "q") + p.sync())) == "3Z"
        assert p.codes_of(run_named(conn, "q")) == ["26000"]
        conn.run(p.parse("q", "SELECT 2") + p.sync())
        assert value(run_named(conn, "q")) == "2"


def test_close_of_an_unknown_name_is_no_error(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        data = p.close("S", "never") + p.close("P", "never") + p.sync()
        assert p.types_of(conn.run(data)) == "33Z"


def test_reuse_of_a_name_within_one_batch(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        data = b""
        for number in range(3):
            data += p.parse("q", f"SELECT {number}") + p.bind("", "q") + p.execute()
            data += p.close("S", "q")
        messages = conn.run(data + p.sync())
        assert p.types_of(messages) == "12DC3" * 3 + "Z"
        assert p.rows_of(messages) == [("0",), ("1",), ("2",)]


@pytest.mark.parametrize("sql", ["DEALLOCATE q", "DEALLOCATE ALL", "DISCARD ALL", 'DEALLOCATE "q"'])
def test_deallocate_by_sql(tiny_proxy, sql):
    with tiny_proxy.raw(TENANT_A) as conn, tiny_proxy.raw(TENANT_B) as other:
        for client in (conn, other):
            client.run(p.parse("q", "SELECT 1") + p.sync())
        assert p.codes_of(conn.simple(sql)) == []
        assert p.codes_of(run_named(conn, "q")) == ["26000"]
        assert value(run_named(other, "q")) == "1"
        assert conn.scalar("SELECT DISTINCT tenant_id FROM item") == str(TENANT_A)


def test_more_statements_than_a_server_keeps(small_lru, cluster):
    """max_prepared_statements = 2: the least recently used goes, and its client never knows."""
    with small_lru.raw(TENANT_A) as conn:
        for number in range(10):
            conn.run(p.parse(f"q{number}", f"SELECT {number}, $1::text") + p.sync())
        for _ in range(3):
            for number in range(10):
                messages = run_named(conn, f"q{number}", ["x"])
                assert p.rows_of(messages) == [(str(number), "x")]
        # All ten in one batch: none may be thrown out before its Execute.
        data = b"".join(p.bind("", f"q{n}", ["y"]) + p.execute() for n in range(10))
        assert p.rows_of(conn.run(data + p.sync())) == [(str(n), "y") for n in range(10)]


def test_lru_bounds_what_a_server_holds(small_lru):
    with small_lru.raw(TENANT_A) as conn:
        for number in range(20):
            conn.run(p.parse(f"q{number}", f"SELECT {number}") + p.sync())
            run_named(conn, f"q{number}")
        held = int(conn.scalar("SELECT count(*) FROM pg_prepared_statements"))
        # The context's own statement is there besides.
        assert held <= 2 + 2


def test_result_type_changed_by_ddl(tiny_proxy, cluster):
    """A client that prepares anew must not meet the old plan (protocol-traps.md 16)."""
    cluster.sql("DROP TABLE IF EXISTS grows; CREATE TABLE grows (a int);"
                "GRANT SELECT ON grows TO app", dbname="eav")
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.run(p.one_shot("SELECT * FROM grows"))
        cluster.sql("ALTER TABLE grows ADD b text", dbname="eav")
        messages = conn.run(p.one_shot("SELECT * FROM grows"))
        assert p.codes_of(messages) == []
    with tiny_proxy.raw(TENANT_B) as other:
        assert p.codes_of(other.run(p.one_shot("SELECT * FROM grows"))) == []


def test_describe_after_ddl(tiny_proxy, cluster):
    """A client that prepares and describes, as drivers do, without a Bind that fails first."""
    cluster.sql("CREATE TABLE described (a int, b int); GRANT SELECT ON described TO app",
                dbname="eav")
    ask = p.parse("q", "SELECT * FROM described") + p.describe("S", "q") + p.sync()
    with tiny_proxy.raw(TENANT_A) as conn:
        assert p.codes_of(conn.run(ask)) == []
        cluster.sql("ALTER TABLE described DROP COLUMN b", dbname="eav")
        codes = []
        for _ in range(2):
            conn.run(p.close("S", "q") + p.sync())
            codes.append(p.codes_of(conn.run(ask)))
        assert codes == [["0A000"], []]
    cluster.sql("DROP TABLE described", dbname="eav")


def test_one_error_tells_all_of_ddl(make_proxy, cluster):
    """DDL past PgUsher: the first server that says 0A000 speaks for all servers and clients."""
    cluster.sql("CREATE TABLE told (a int); GRANT SELECT ON told TO app", dbname="eav")
    ask = p.parse("q", "SELECT * FROM told") + p.describe("S", "q") + p.sync()
    proxy = make_proxy({"pgusher": {"max_server_conn": 2, "workers": 1}})
    with proxy.raw(TENANT_A) as conn, proxy.raw(TENANT_B) as other:
        conn.run(ask)
        other.simple("BEGIN")
        other.simple("SELECT 1")  # holds the one, so conn's statement is on the other one too
        run_named(conn, "q")
        other.simple("COMMIT")
        cluster.sql("ALTER TABLE told ALTER a TYPE text", dbname="eav")
        assert p.codes_of(run_named(conn, "q")) == ["0A000"]
        conn.simple("BEGIN")
        conn.simple("SELECT 1")  # holds that server
        assert p.codes_of(other.run(ask)) == []
        assert p.codes_of(conn.run(p.close("S", "q") + ask)) == []
        conn.simple("COMMIT")
    cluster.sql("DROP TABLE told", dbname="eav")


def test_changed_statement_on_a_server_that_never_had_it(two_servers, cluster):
    """Who was told other columns gets PostgreSQL's error there, not rows of other types."""
    cluster.sql("CREATE TABLE moved (a int); GRANT SELECT ON moved TO app;"
                "CREATE SCHEMA lab; GRANT CREATE, USAGE ON SCHEMA lab TO app", dbname="eav")
    with two_servers.raw(TENANT_A) as conn, two_servers.raw(TENANT_B) as other:
        conn.run(p.parse("q", "SELECT * FROM moved") + p.describe("S", "q") + p.sync())
        conn.run(p.parse("blind", "SELECT * FROM moved") + p.sync())
        conn.run(p.parse("same", "SELECT count(*) FROM moved") + p.describe("S", "same") + p.sync())
        cluster.sql("ALTER TABLE moved ALTER a TYPE text", dbname="eav")
        # Some DDL by whomever, through PgUsher; then a server that has none of these statements.
        assert p.codes_of(other.simple("CREATE TABLE lab.news ()")) == []
        for backend in cluster.backends("eav", "idle"):
            cluster.kill_backend(backend["pid"])
        for _ in range(2):
            messages = run_named(conn, "q")
            assert p.types_of(messages) == "EZ" and p.codes_of(messages) == ["0A000"]
            assert p.errors_of(messages)[0]["M"] == "cached plan must not change result type"
        assert p.types_of(run_named(conn, "same")) == "2DCZ"
        assert p.types_of(run_named(conn, "blind")) == "2CZ"
        conn.run(p.close("S", "q") + p.parse("q", "SELECT * FROM moved") + p.sync())
        assert p.types_of(run_named(conn, "q")) == "2CZ"
    cluster.sql("DROP TABLE moved; DROP SCHEMA lab CASCADE", dbname="eav")


def test_ddl_that_is_not_allowed_costs_nobody_a_parse(tiny_proxy):
    text = "SELECT 'a statement that all share'"
    with tiny_proxy.raw(TENANT_A) as conn, tiny_proxy.raw(TENANT_B) as other:
        count = f"SELECT count(*) FROM pg_prepared_statements WHERE statement = $${text}$$"
        for client in (conn, other):
            client.run(p.parse("q", text) + p.sync())
            assert value(run_named(client, "q")) == "a statement that all share"
            assert p.codes_of(other.simple("CREATE TABLE mine ()")) == ["42501"]
        assert conn.scalar(count) == "1"


def test_suspended_portal_goes_on_within_the_transaction(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        start = p.parse("", "SELECT id FROM item ORDER BY id") + p.bind("c", "") + p.execute("c", 5)
        assert p.types_of(conn.run(start + p.sync())) == "12DDDDDsZ"
        conn.simple("SELECT 1")
        messages = conn.run(p.execute("c", 3) + p.sync())
        assert p.rows_of(messages) == [("6",), ("7",), ("8",)]
        conn.simple("COMMIT")
        assert p.codes_of(conn.run(p.execute("c", 3) + p.sync())) == ["34000"]


def test_flush_is_answered_before_sync(tiny_proxy):
    with tiny_proxy.raw(TENANT_A) as conn:
        conn.send(p.parse("q", "SELECT 1") + p.describe("S", "q") + p.flush())
        assert p.types_of(conn.read_until("T")) == "1tT"
        assert conn.is_silent()
        conn.send(p.bind("", "q") + p.execute() + p.flush())
        assert p.types_of(conn.read_until("C")) == "2DC"
        assert conn.is_silent()
        assert p.types_of(conn.run(p.sync())) == "Z"


def test_a_date_is_of_its_parse(two_servers):
    """Prepared once more under the same name, 'now' is another."""
    with two_servers.raw(TENANT_A) as conn:
        seen = set()
        for _ in range(3):
            seen.update(p.rows_of(conn.run(p.parse("s", "SELECT 'now'::timestamptz")
                                           + p.bind("", "s") + p.execute() + p.sync())))
            conn.run(p.close("S", "s") + p.sync())
        assert len(seen) == 3


def test_driver_that_prepares_by_itself(two_servers):
    connections = [psycopg.connect(**two_servers.dsn(t), autocommit=True)
                   for t in (TENANT_A, TENANT_B) * 2]
    for conn in connections:
        conn.prepare_threshold = 0
    for number in range(30):
        for conn in connections:
            rows = conn.execute("SELECT DISTINCT tenant_id FROM item WHERE id > %s", (number % 5,))
            assert len(rows.fetchall()) == 1
    for conn in connections:
        conn.close()


def test_driver_that_drops_statements_in_a_pipeline(two_servers):
    """psycopg 3 says DEALLOCATE by the extended protocol there (with a libpq before 17)."""
    with psycopg.connect(**two_servers.dsn(TENANT_A), autocommit=True) as conn:
        conn.prepared_max = 2
        with conn.pipeline():
            cursors = [conn.execute(f"SELECT count(*) + {n} FROM item WHERE id > %s", (0,),
                                    prepare=True) for n in range(6) for _ in range(2)]
            assert [c.fetchone()[0] for c in cursors] == [20 + n for n in range(6) for _ in "xx"]
