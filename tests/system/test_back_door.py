"""Users' code that a statement runs without naming it: by a row's column, an operator, a cast, a
view, a trigger, a default, a check, a policy. What it leaves in the session reaches nobody else."""

import time

import pgproto as p
import pytest
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from console import Console
from pgproto import rows_of
from proxy import merge_ini

PROBE_PASSWORD = "probe-secret-4712"
LEAVE = "BEGIN PERFORM set_config('my.left', 'behind', false); RETURN {}; END"

OBJECTS = f"""
CREATE TABLE kept (id int, n int);
INSERT INTO kept VALUES (1, 1);
CREATE FUNCTION leave_it() RETURNS int LANGUAGE plpgsql STABLE AS $$ {LEAVE.format(1)} $$;
CREATE FUNCTION of_row(kept) RETURNS int LANGUAGE plpgsql STABLE AS $$ {LEAVE.format(1)} $$;
CREATE FUNCTION id(int) RETURNS int LANGUAGE plpgsql AS $$ {LEAVE.format(1)} $$;
CREATE FUNCTION add_two(int, int) RETURNS int LANGUAGE plpgsql AS $$ {LEAVE.format(1)} $$;
CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS $$ {LEAVE.format('NEW')} $$;
CREATE OPERATOR %% (FUNCTION = add_two, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR <%%> (FUNCTION = add_two, LEFTARG = int, RIGHTARG = int);
CREATE VIEW "a""<b>" AS SELECT leave_it() AS x;
CREATE TYPE pair AS (x int, y int);
CREATE FUNCTION pair_sum(pair) RETURNS int LANGUAGE plpgsql AS $$ {LEAVE.format(1)} $$;
CREATE CAST (pair AS int) WITH FUNCTION pair_sum(pair);
CREATE TABLE pairs (p pair);
INSERT INTO pairs VALUES (ROW(1, 2));
CREATE DOMAIN checked AS int CHECK (VALUE >= leave_it());
CREATE VIEW seen AS SELECT leave_it() AS x;
CREATE VIEW seen_again AS SELECT x FROM seen;
CREATE VIEW own AS SELECT set_config('my.left', 'behind', false) AS x;
CREATE VIEW with_operator AS SELECT 1 %% 2 AS x;
CREATE TABLE triggered (a int);
CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION on_row();
CREATE TABLE parent (a int) PARTITION BY LIST (a);
CREATE TABLE child PARTITION OF parent FOR VALUES IN (1);
CREATE TRIGGER t BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION on_row();
CREATE TABLE defaults (a int, b int DEFAULT leave_it());
CREATE TABLE checks (a int CHECK (a >= leave_it()));
CREATE FUNCTION leave_one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ {LEAVE.format(1)} $$;
CREATE FUNCTION does_nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TABLE triggered_when (a int);
CREATE TRIGGER t BEFORE INSERT ON triggered_when FOR EACH ROW WHEN (leave_one(NEW.a) = 1)
    EXECUTE FUNCTION does_nothing();
CREATE TABLE keyed (a int) PARTITION BY LIST (leave_one(a));
CREATE TABLE keyed_rest PARTITION OF keyed DEFAULT;
CREATE DOMAIN checked_again AS checked;
CREATE TABLE of_domain (a checked);
CREATE TABLE of_domains (a checked_again[]);
CREATE TYPE holder AS (c checked, n int);
CREATE TYPE holders AS (h holder[]);
CREATE TABLE of_holder (h holder);
CREATE TYPE span AS RANGE (subtype = checked);
CREATE DOMAIN made AS int DEFAULT leave_it();
CREATE TABLE of_made (a int, b made);
CREATE TABLE of_row (r of_domain);
INSERT INTO of_row DEFAULT VALUES;
CREATE TYPE mood AS ENUM ('a', 'b', 'c');
CREATE FUNCTION mood_is(mood, mood) RETURNS boolean LANGUAGE plpgsql AS $$ {LEAVE.format('true')} $$;
CREATE OPERATOR = (FUNCTION = mood_is, LEFTARG = mood, RIGHTARG = mood);
CREATE OPERATOR > (FUNCTION = mood_is, LEFTARG = mood, RIGHTARG = mood);
CREATE OPERATOR >= (FUNCTION = mood_is, LEFTARG = mood, RIGHTARG = mood);
CREATE TABLE moods (m mood);
INSERT INTO moods VALUES ('a'), ('b');
CREATE FUNCTION to_mood(int) RETURNS mood LANGUAGE plpgsql AS $$ {LEAVE.format("'a'")} $$;
CREATE CAST (int AS mood) WITH FUNCTION to_mood(int) AS ASSIGNMENT;
CREATE TABLE policed (a int);
INSERT INTO policed VALUES (1);
ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON policed USING (a = leave_it());
CREATE TABLE plain (a int DEFAULT 1, b timestamptz DEFAULT now());
CREATE VIEW plain_view AS SELECT id, lower('X') AS x, now() AS y FROM kept;
CREATE FUNCTION changes() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
CREATE OPERATOR %%% (FUNCTION = adds, LEFTARG = int, RIGHTARG = int);
CREATE SEQUENCE numbers;
CREATE VIEW changing AS SELECT changes() AS x;
CREATE VIEW changing_again AS SELECT x FROM changing;
CREATE VIEW counting AS SELECT nextval('numbers') AS x;
CREATE VIEW by_operator AS SELECT 1 %%% 2 AS x;
CREATE VIEW of_server AS SELECT pg_backend_pid() AS x;
CREATE DOMAIN changing_domain AS int CHECK (VALUE >= changes());
CREATE TABLE policed_again (a int);
ALTER TABLE policed_again ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON policed_again USING (a = changes());
CREATE UNLOGGED TABLE unlogged (a int);
CREATE VIEW on_unlogged AS SELECT a FROM unlogged;
CREATE TABLE numbered (a serial, b int DEFAULT changes());
CREATE MATERIALIZED VIEW kept_view AS SELECT changes() AS x;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;
"""

LEAVES = [
    "SELECT kept.of_row FROM kept",
    "SELECT (k).of_row FROM kept k",
    "SELECT (k.*).of_row FROM kept k",
    'SELECT k."of_row" FROM kept k',
    "SELECT 1 % 2 + (1 OPERATOR(public.%%) 2)",
    "SELECT 1 %% 2",
    "SELECT 1 <%%> 2",
    'SELECT * FROM "a""<b>"',
    "SELECT p::int FROM pairs",
    "SELECT CAST(ROW(1, 2)::pair AS int)",
    "SELECT 1::checked",
    "SELECT * FROM seen",
    "SELECT * FROM seen_again",
    "SELECT * FROM own",
    "SELECT * FROM with_operator",
    "COPY (TABLE seen) TO STDOUT",
    "INSERT INTO triggered VALUES (1)",
    "INSERT INTO parent VALUES (1)",
    "INSERT INTO defaults (a) VALUES (1)",
    "INSERT INTO checks VALUES (1)",
    "SELECT * FROM policed",
    "INSERT INTO triggered_when VALUES (1)",
    "INSERT INTO keyed VALUES (1)",
    "INSERT INTO of_domain VALUES (1)",
    "INSERT INTO of_domains VALUES ('{1}')",
    "SELECT 1::checked_again",
    "SELECT ARRAY[1]::checked[]",
    "SELECT '(1,2)'::holder",
    "SELECT ROW(1, 2)::holder",
    "SELECT '{\"(1,2)\"}'::holder[]",
    "SELECT '(\"{\"\"(1,2)\"\"}\")'::holders",
    "SELECT '[1,2]'::span",
    "SELECT json_populate_record(NULL::holder, '{\"c\": 1}')",
    "SELECT json_populate_record(NULL::of_domain, '{\"a\": 1}')",
    "SELECT json_populate_record(o, '{\"a\": 1}') FROM (SELECT) r LEFT JOIN of_domain o ON true",
    "SELECT '(1)'::of_domain",
    "INSERT INTO of_holder VALUES ('(1,2)')",
    "INSERT INTO of_made (a) VALUES (1)",
    "INSERT INTO of_row VALUES ('(1)')",
    "SELECT coalesce(r, '(1)') FROM of_row",
    "SELECT coalesce(h, '(1,2)') FROM of_holder",
    "SELECT m FROM moods WHERE m BETWEEN 'a' AND 'b'",
    "SELECT m FROM moods WHERE m NOT BETWEEN SYMMETRIC 'a' AND 'b'",
    "SELECT CASE m WHEN 'a' THEN 1 END FROM moods",
    "SELECT 1 FROM moods JOIN moods n USING (m)",
    "SELECT 1 FROM moods NATURAL JOIN moods n",
    "SELECT 1 FROM moods WHERE m IN (SELECT m FROM moods)",
    "INSERT INTO moods VALUES (1)",
]
LEAVES_NOTHING = [
    "SELECT id, n FROM kept",
    "SELECT k.id FROM kept k",
    "SELECT * FROM triggered",
    "SELECT * FROM defaults",
    "INSERT INTO plain DEFAULT VALUES",
    "SELECT x, y FROM plain_view",
    "SELECT 1 % 2",
    "SELECT o.a FROM of_domain o",
    "SELECT of_domain.a FROM of_domain",
    "SELECT of_made.b FROM of_made",
    "SELECT m FROM moods",
]
PARAMETERS = {"checked": "5", "checked[]": "{5}", "of_domain": "(5)", "holder": "(5,5)",
              "span": "[5,6]", "made": None, "kept": None}


@pytest.fixture(scope="module")
def objects(cluster):
    """Database hidden: the objects above; and role probe with its password."""
    if not cluster.sql("SELECT 1 FROM pg_roles WHERE rolname = 'probe'"):
        cluster.sql("CREATE ROLE probe")
    cluster.sql(f"ALTER ROLE probe LOGIN PASSWORD '{PROBE_PASSWORD}'")
    cluster.sql("CREATE DATABASE hidden")
    cluster.superuser("hidden").execute(OBJECTS)


@pytest.fixture
def make_hidden(objects, make_proxy, tmp_path):
    """A proxy with one server connection and the catalogue of database hidden."""
    password = tmp_path / "probe.password"
    password.write_text(PROBE_PASSWORD)
    password.chmod(0o600)

    def make(sections=None):
        proxy = make_proxy(merge_ini({
            "pgusher": {"workers": 1, "max_server_conn": 1},
            "role probe": {"password_file": str(password), "tenant": "none"},
            "freshness": {"probe_role": "probe", "heartbeat_interval": "50ms"},
            "guard": {"trusted_functions": "does_nothing"},
        }, sections or {}), databases=("hidden",))
        proxy.wait_log("function catalogue")
        return proxy

    return make


@pytest.fixture
def console(make_hidden):
    return Console(make_hidden({"pgusher": {"admin_users": "dba"}}))


def route_of(console, sql):
    rows = rows_of(console.run(f"EXPLAIN ROUTE {sql}"))
    (detail,) = [detail for kind, _, detail in rows if kind == "route"]
    return detail


def scrubs(client, sql):
    """Whether the server is cleaned behind it: the statement that sets the context has another
    name then."""
    look = "SELECT string_agg(name, ' ' ORDER BY name) FROM pg_prepared_statements"
    before = client.scalar(look)
    client.rows(sql)
    return client.scalar(look) != before


def test_nothing_is_left_for_another_client(make_hidden):
    proxy = make_hidden()
    a, b = proxy.raw(TENANT_A, "hidden"), proxy.raw(TENANT_B, "hidden")
    left = []
    for sql in LEAVES:
        a.simple(sql)
        if b.scalar("SELECT coalesce(current_setting('my.left', true), '')") != "":
            left.append(sql)
            b.simple("DISCARD ALL")
            a.simple("CREATE TEMP TABLE t (x int); DROP TABLE t; DO $$BEGIN END$$")
    assert left == []


@pytest.mark.parametrize("name", ["", "n"])
def test_a_parse_alone_leaves_nothing_either(make_hidden, name):
    """The literal of a composite type is read when the statement is parsed."""
    proxy = make_hidden()
    a, b = proxy.raw(TENANT_A, "hidden"), proxy.raw(TENANT_B, "hidden")
    assert p.errors_of(a.run(p.parse(name, "SELECT '(1,2)'::holder") + p.sync())) == []
    assert b.scalar("SELECT coalesce(current_setting('my.left', true), '')") == ""
    a.run(p.describe("S", name) + p.sync())
    assert b.scalar("SELECT coalesce(current_setting('my.left', true), '')") == ""


@pytest.mark.parametrize("name", ["", "n"])
def test_a_parameter_of_such_a_type_leaves_nothing(cluster, make_hidden, name):
    proxy = make_hidden()
    a, b = proxy.raw(TENANT_A, "hidden"), proxy.raw(TENANT_B, "hidden")
    look = "SELECT string_agg(name, ' ' ORDER BY name) FROM pg_prepared_statements"
    for kind, value in PARAMETERS.items():
        oid = cluster.superuser("hidden").execute("SELECT %s::regtype::oid", [kind]).fetchone()[0]
        parse = p.parse(name, "SELECT $1", [int(oid)])
        a.run(parse + p.sync())
        before = b.scalar(look)
        assert p.errors_of(a.run(p.bind("", name, [value]) + p.execute() + p.sync())) == [], kind
        assert b.scalar("SELECT coalesce(current_setting('my.left', true), '')") == "", kind
        assert value or b.scalar(look) == before, kind
        a.run(p.close("S", name) + p.sync())


def test_what_was_prepared_before_leaves_nothing_either(cluster, make_hidden):
    """A trigger is new, and the catalogue has been read since."""
    cluster.superuser("hidden").execute(
        "CREATE TABLE watched (a int); GRANT INSERT ON watched TO app")
    proxy = make_hidden({"freshness": {"catalog_refresh": "1s"}})
    a, b, c = (proxy.raw(tenant, "hidden") for tenant in (TENANT_A, TENANT_B, TENANT_A))
    run = p.bind("", "s") + p.execute() + p.sync()
    assert p.errors_of(a.run(p.parse("s", "INSERT INTO watched VALUES (1)") + run)) == []
    before = proxy.log().count("function catalogue")
    cluster.superuser("hidden").execute(
        "CREATE TRIGGER t BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION on_row()")
    wait_until(lambda: proxy.log().count("function catalogue") > before, "the catalogue")
    time.sleep(0.1)
    for conn, messages in ((c, p.parse("s", "INSERT INTO watched VALUES (1)") + run), (a, run)):
        assert p.errors_of(conn.run(messages)) == []
        assert b.scalar("SELECT coalesce(current_setting('my.left', true), '')") == ""


def test_only_what_runs_such_code_costs_a_clean_server(make_hidden):
    a = make_hidden().raw(TENANT_A, "hidden")
    assert [sql for sql in LEAVES_NOTHING if scrubs(a, sql)] == []


def test_what_one_session_has_in_pg_temp_is_nobody_elses(cluster, make_hidden):
    """Names count in any schema, but nobody else can mean these."""
    cluster.superuser("hidden").execute(f"""
        CREATE FUNCTION pg_temp.upper(text) RETURNS text LANGUAGE plpgsql AS $$ {LEAVE.format(1)} $$;
        CREATE DOMAIN pg_temp.numeric AS int CHECK (VALUE >= leave_it());
        CREATE FUNCTION pg_temp.add(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN END';
        CREATE OPERATOR pg_temp.# (FUNCTION = add_two, LEFTARG = int, RIGHTARG = int);
        CREATE OPERATOR pg_temp.- (FUNCTION = pg_temp.add, LEFTARG = int, RIGHTARG = int)""")
    proxy = make_hidden({"pgusher": {"admin_users": "dba"}})
    sql = "SELECT upper('x'), 5 # 1, 2 - 1, 1::numeric, id FROM kept"
    assert not route_of(Console(proxy), sql).startswith("the primary: it ")
    assert not scrubs(proxy.raw(TENANT_A, "hidden"), sql)
    cluster.close_superuser("hidden")


@pytest.mark.parametrize("sql, why", [
    ("SELECT * FROM changing", "has a volatile function behind: changing"),
    ("SELECT * FROM changing_again", "has a volatile function behind: changing_again"),
    ("SELECT * FROM counting", "has a volatile function behind: counting"),
    ("SELECT * FROM by_operator", "has a volatile function behind: by_operator"),
    ("SELECT 1 %%% 2", "has a volatile function behind: %%%"),
    ("SELECT * FROM of_server", "has a volatile function behind: of_server"),
    ("SELECT 1::changing_domain", "has a volatile function behind: changing_domain"),
    ("SELECT * FROM policed_again", "has a volatile function behind: policed_again"),
    ("SELECT * FROM unlogged", "reads what a replica cannot read: unlogged"),
    ("SELECT * FROM on_unlogged", "reads what a replica cannot read: on_unlogged"),
    ("SELECT last_value FROM numbers", "reads what a replica cannot read: numbers"),
])
def test_such_code_is_not_for_a_replica(console, sql, why):
    assert route_of(console, sql) == f"the primary: it {why}"


@pytest.mark.parametrize("sql", ["SELECT * FROM numbered", "SELECT * FROM kept_view",
                                 "SELECT * FROM plain_view", "SELECT * FROM triggered",
                                 "SELECT 1 % 2", "SELECT * FROM seen"])
def test_what_only_writing_runs_does_not_keep_reads_away(console, sql):
    assert not route_of(console, sql).startswith("the primary: it ")


def test_trusted_functions_are_trusted_behind_others_too(make_hidden):
    proxy = make_hidden({"guard": {"trusted_functions": "does_nothing, leave_it, leave_one, "
                                                         "public.on_row, of_row, mood_is, to_mood"}})
    a = proxy.raw(TENANT_A, "hidden")
    trusted = [sql for sql in LEAVES if "%%" not in sql and "pair" not in sql
               and "with_operator" not in sql and "own" not in sql]
    assert len(trusted) > 10
    assert [sql for sql in trusted if scrubs(a, sql)] == []
