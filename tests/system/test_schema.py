"""sql/ by itself: tests/sql/*.sql in a cluster of their own, for they make and drop roles."""

import os
import re
import subprocess

import pytest

from cluster import REPO, Cluster


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("schema") / "cluster")
    try:
        made.start()
        yield made
    finally:
        made.stop()


def psql(own, dbname, *args, script=None):
    done = subprocess.run(
        [os.path.join(own.bin, "psql"), "-X", "-At", "-h", own.socket_dir,
         "-p", str(own.ports["primary"]), "-U", "postgres", "-d", dbname,
         "-v", "ON_ERROR_STOP=1", *args],
        input=script, capture_output=True, text=True, timeout=120, cwd=REPO)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_schema(own):
    own.sql("CREATE DATABASE schema_test")
    assert "all passed" in psql(own, "schema_test", "-f", "tests/sql/test_schema.sql")


def test_values(own):
    """pgTAP: its last lines say how many tests there were."""
    own.sql("CREATE DATABASE values_test")
    tap = psql(own, "values_test", "-f", "tests/sql/test_values.sql")
    failed = re.findall(r"^not ok.*(?:\n#.*)*", tap, re.M)
    assert not failed, "\n".join(failed)
    plan = re.search(r"^1\.\.(\d+)$", tap, re.M)
    assert plan and int(plan[1]) == len(re.findall(r"^ok ", tap, re.M)) > 100


# What breaks a rule, and what the report must then begin with: "rule|object", exactly once each.
BREAKS = [
    ("ALTER ROLE app BYPASSRLS", "5|role app"),
    ("ALTER ROLE app SUPERUSER", "5|role app"),
    ("GRANT eav_owner TO app", "5|role app"),
    ("ALTER TABLE tenants OWNER TO app", "5|table tenants"),
    ("ALTER ROLE app SET app.current_tenant_id = '1'", "1|role app"),
    ("ALTER ROLE app SET row_security = off", "1|role app"),
    ("ALTER ROLE ALL IN DATABASE check_test SET app.current_tenant_id = '1'", "1|role ALL"),
    ("GRANT CREATE ON SCHEMA public TO app", "5|schema public"),
    ("GRANT CREATE ON DATABASE check_test TO app", "5|database check_test"),
    ("GRANT TEMP ON DATABASE check_test TO PUBLIC", "6|database check_test"),
    ("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC", "2|language plpgsql"),
    ("GRANT SELECT ON entities_p000 TO app", "15|partition entities_p000"),
    ("GRANT SELECT (tenant_id) ON entities_p000 TO app", "15|partition entities_p000"),
    ("ALTER TABLE entities DISABLE ROW LEVEL SECURITY", "15|table entities"),
    ("ALTER TABLE entities NO FORCE ROW LEVEL SECURITY", "5|table entities"),
    ("GRANT SELECT ON entity_values_ingest TO app", "15|table entity_values_ingest"),
    ("DROP TRIGGER tenant_isolation ON entity_values_ingest", "15|table entity_values_ingest"),
    ("ALTER TABLE entity_values_ingest DISABLE TRIGGER tenant_isolation",
     "15|table entity_values_ingest"),
    ("GRANT UPDATE (attribute_name) ON attributes TO app", "15|table attributes"),
    ("GRANT TRUNCATE ON entities TO app", "15|table entities"),
    ("GRANT SELECT ON mv_entity_attribute_stats TO app",
     "15|materialized view mv_entity_attribute_stats"),
    ("DROP POLICY tenant_row ON entities", "18|table entities"),
    ("\\i sql/signed.sql\nDROP POLICY tenant_proof ON public.entities", "2|table public.entities|is not signed"),
    ("\\i sql/signed.sql\nALTER POLICY tenant_isolation ON public.tenants RENAME TO mine;\n"
     "DROP POLICY tenant_proof ON public.tenants;\n\\i sql/signed.sql", "2|table public.tenants|is not signed"),
    ("ALTER FUNCTION jsonb_contains(jsonb, jsonb) LEAKPROOF", "15|function jsonb_contains"),
    ("CREATE VIEW v WITH (security_barrier) AS SELECT * FROM mv_entity_attribute_stats WHERE"
     " tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint;"
     "GRANT SELECT ON v TO app", "18|view v"),
    ("ALTER VIEW entity_attribute_stats RESET (security_barrier)",
     "15|view entity_attribute_stats"),
    ("CREATE VIEW v AS SELECT * FROM entities; GRANT SELECT ON v TO app", "15|view v"),
    ("CREATE VIEW w AS SELECT * FROM mv_entity_attribute_stats;"
     "CREATE VIEW v AS SELECT * FROM w; GRANT SELECT ON v TO app", "15|view v"),
    ("CREATE VIEW v WITH (security_barrier) AS SELECT * FROM entities; GRANT SELECT ON v TO app",
     "15|view v"),
    ("CREATE EXTENSION file_fdw; CREATE SERVER s FOREIGN DATA WRAPPER file_fdw;"
     "CREATE FOREIGN TABLE f (x text) SERVER s OPTIONS (filename '/etc/passwd');"
     "GRANT SELECT ON f TO app", "15|foreign table f"),
    ("ALTER DEFAULT PRIVILEGES FOR ROLE eav_owner GRANT SELECT ON TABLES TO app",
     "15|default privileges of eav_owner"),
    ("CREATE POLICY p ON entities FOR SELECT USING (true)", "15|policy entities: p"),
    ("CREATE POLICY p ON entities FOR INSERT TO app WITH CHECK (true)", "15|policy entities: p"),
    ("CREATE POLICY p ON entities USING (tenant_id ="
     " NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)",
     "15|policy entities: p"),
    ("CREATE POLICY p ON entities FOR SELECT USING (tenant_id ="
     " current_setting('app.current_tenant_id', true)::bigint)", "16|policy entities: p"),
    ("CREATE POLICY p ON entities FOR SELECT USING (tenant_id::text ="
     " current_setting('app.current_tenant_id'))", "16|policy entities: p"),
    ("CREATE FUNCTION f() RETURNS bigint LANGUAGE sql STABLE AS"
     " $$SELECT CAST(current_setting('app.current_tenant_id', true) AS bigint)$$",
     "16|function f()"),
    ("CREATE FUNCTION f() RETURNS bigint LANGUAGE sql IMMUTABLE AS"
     " $$SELECT NULLIF(current_setting('app.current_tenant_id', true), '')::bigint$$;"
     "CREATE POLICY p ON entities FOR SELECT USING (tenant_id = f())",
     "17|function f()", "17|policy entities: p"),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
     "14|function f()"),
    ("ALTER FUNCTION upsert_hot_attrs RESET search_path",
     "14|function upsert_hot_attrs(bigint,bigint,jsonb)"),
    ("CREATE FUNCTION f(p_tenant_id bigint) RETURNS bigint LANGUAGE sql SECURITY DEFINER"
     " SET search_path = pg_catalog, pg_temp AS"
     " 'SELECT count(*) FROM public.entities WHERE tenant_id = p_tenant_id';"
     "ALTER FUNCTION f OWNER TO eav_owner", "14|function f(bigint)"),
    ("CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
     " SET search_path = pg_catalog, pg_temp AS 'SELECT count(*) FROM public.entities'",
     "14|function f()"),
    ("GRANT EXECUTE ON FUNCTION stage_flush TO app", "14|function stage_flush(integer)"),
    ("CREATE FUNCTION f(t text) RETURNS text LANGUAGE sql AS"
     " $$SELECT set_config('app.current_tenant_id', t, true)$$", "1|function f(text)"),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET app.current_tenant_id = '1' AS 'SELECT 1'",
     "1|function f()"),
    ("CREATE FUNCTION f(n text, v text) RETURNS text LANGUAGE sql AS"
     " $$SELECT set_config(n, v, true)$$", "1|function f(text,text)"),
    ("CREATE FUNCTION f(v text) RETURNS text LANGUAGE plpgsql AS"
     " $$BEGIN RETURN pg_catalog.set_config ( 'app.' || 'x', v, true); END$$", "1|function f(text)"),
    ("CREATE FUNCTION f(n text) RETURNS void LANGUAGE sql AS"
     " $$UPDATE pg_settings SET setting = '1' WHERE name = n$$", "1|function f(text)"),
    ("CREATE SEQUENCE s; GRANT ALL ON SEQUENCE s TO app", "15|sequence s"),
    ("CREATE TABLE lines (id int, e bigint, t bigint, FOREIGN KEY (e, t) REFERENCES entities);"
     "GRANT SELECT ON lines TO app", "15|table lines"),
    ("CREATE TABLE lines (id int, t bigint REFERENCES tenants);"
     "ALTER TABLE lines ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
     "CREATE POLICY p ON lines USING (true); GRANT SELECT ON lines TO app", "15|table lines"),
    ("CREATE TABLE notes (id bigint PRIMARY KEY, tenant_id bigint, parent bigint REFERENCES notes);"
     "GRANT INSERT ON notes TO app", "15|foreign key notes_parent_fkey of notes"),
    ("CREATE FUNCTION f(t text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE t; END'",
     "2|function f(text)"),
    ("GRANT EXECUTE ON FUNCTION query_to_xml TO PUBLIC",
     "2|function query_to_xml(text,boolean,boolean,text)"),
    ("GRANT EXECUTE ON FUNCTION ts_rewrite(tsquery, text) TO app",
     "2|function ts_rewrite(tsquery,text)"),
    ("CREATE EXTENSION tablefunc", "2|function crosstab(text)", "2|function connectby("),
    ("CREATE EXTENSION dblink", "2|function dblink(text)", "2|function dblink_exec("),
    ("GRANT SELECT ON pg_stat_activity TO app", "8|view pg_stat_activity"),
    ("GRANT EXECUTE ON FUNCTION currtid2 TO app", "8|function currtid2(text,tid)"),
    ("GRANT EXECUTE ON FUNCTION pg_stat_get_xact_tuples_fetched TO PUBLIC",
     "8|function pg_stat_get_xact_tuples_fetched(oid)"),
    ("GRANT EXECUTE ON FUNCTION pg_stat_get_activity TO app",
     "8|function pg_stat_get_activity(integer)"),
    ("GRANT EXECUTE ON FUNCTION pg_cancel_backend TO app",
     "9|function pg_cancel_backend(integer)"),
    ("GRANT EXECUTE ON FUNCTION lo_get(oid) TO app", "13|function lo_get(oid)"),
    ("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO app", "13|function pg_read_file(text)"),
    ("GRANT SELECT ON pg_largeobject TO app", "13|view pg_largeobject"),
]


@pytest.fixture(scope="module")
def checked(own):
    """The schema, hardened: nothing to report."""
    own.sql("CREATE DATABASE check_test")
    psql(own, "check_test", "-q", "-v", "entity_partitions=2", "-v", "jsonb_partitions=2",
         "-f", "sql/deploy.sql", "-f", "sql/hardening.sql")
    return own


def test_check_isolation_is_content(checked):
    assert psql(checked, "check_test", "-f", "sql/check_isolation.sql") == ""


@pytest.mark.parametrize("grant", ["", "GRANT SELECT ON attributes TO nobody_yet",
                                   "GRANT SELECT ON entities TO app"])
def test_check_isolation_says_that_there_was_nothing_to_check(checked, grant):
    """Another role, or its rights are still to come: that is not the same as a clean database."""
    report = psql(checked, "check_test", "-q", script=f"""
        BEGIN;
        CREATE ROLE nobody_yet LOGIN;
        {grant};
        \\set app_role nobody_yet
        \\i sql/check_isolation.sql
        ROLLBACK;
        """)
    assert report.startswith("0|role nobody_yet|may use nothing with a column tenant_id")


# What looks like a break of a rule, and is none.
FINE = """
    CREATE FUNCTION f(v text) RETURNS text LANGUAGE sql AS
        $$SELECT set_config('my.a', v, true), pg_catalog.set_config( 'my.b' , v, true); SELECT v$$;
    CREATE FUNCTION g(v text) RETURNS text LANGUAGE sql RETURN set_config('my.a', v, true);
    CREATE SEQUENCE s; GRANT USAGE, SELECT ON SEQUENCE s TO app;
    CREATE TABLE lines (e bigint, tenant_id bigint, FOREIGN KEY (e, tenant_id) REFERENCES entities,
                        FOREIGN KEY (tenant_id) REFERENCES tenants);
    ALTER TABLE lines ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant_isolation ON lines USING (tenant_id =
        NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)
        WITH CHECK (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint);
    GRANT INSERT, SELECT ON lines TO app;
    CREATE TABLE words (id int, e bigint, t bigint, FOREIGN KEY (e, t) REFERENCES entities);
    CREATE TABLE more (id int, t bigint REFERENCES tenants);
    ALTER TABLE more ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY p ON more USING (EXISTS (SELECT FROM tenants WHERE tenant_id = t));
    GRANT SELECT ON more TO app;
"""


def test_check_isolation_takes_no_offence(checked):
    assert psql(checked, "check_test", "-q", script=(
        f"BEGIN;\n{FINE}\n\\i sql/restrict.sql\n\\i sql/check_isolation.sql\nROLLBACK;\n")) == ""


def test_check_isolation_has_something_to_do(checked):
    """What hardening.sql closes, check_isolation.sql names where it has not run."""
    checked.sql("CREATE DATABASE soft_test")
    psql(checked, "soft_test", "-q", "-v", "entity_partitions=2", "-v", "jsonb_partitions=2",
         "-f", "sql/deploy.sql")
    report = psql(checked, "soft_test", "-f", "sql/check_isolation.sql")
    assert {line.split("|")[0] for line in report.splitlines()} == {"2", "6", "8", "9", "11", "13"}


@pytest.mark.parametrize("sql,expected", [(b[0], b[1:]) for b in BREAKS], ids=[b[0] for b in BREAKS])
def test_check_isolation_reports(checked, sql, expected):
    report = psql(checked, "check_test", "-q", script=(
        f"BEGIN;\n{sql};\n\\i sql/check_isolation.sql\nROLLBACK;\n")).splitlines()
    for wanted in expected:
        assert any(line.startswith(wanted) for line in report), report
    for line in report:
        assert line.count("|") >= 3 and line.split("|")[3], "says how to fix it"


def test_check_isolation_of_another_role_and_setting(checked):
    """A schema that is not ours: the bare documented policy."""
    checked.sql("CREATE DATABASE other_test")
    report = psql(checked, "other_test", "-q", script="""
        BEGIN;
        CREATE ROLE web LOGIN;
        CREATE TABLE orders (id bigint, org_id bigint);
        ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
        CREATE POLICY p ON orders USING (org_id = current_setting('my.org', true)::bigint);
        GRANT SELECT, INSERT ON orders TO web;
        \\i sql/hardening.sql
        \\set app_role web
        \\set setting my.org
        \\set tenant_column org_id
        \\i sql/check_isolation.sql
        DROP OWNED BY web; DROP ROLE web;
        """.replace("BEGIN;", "")).splitlines()
    assert [line.split("|")[:2] for line in report] == [
        ["5", "table orders"], ["15", "policy orders: p"], ["16", "policy orders: p"],
        ["18", "table orders"]]


def test_check_isolation_takes_the_role_as_it_is_written(checked):
    """Folded to lower case, it would look at app, and find nothing."""
    report = psql(checked, "check_test", "-q", script="""
        BEGIN;
        CREATE ROLE "App" LOGIN BYPASSRLS;
        \\set app_role App
        \\i sql/check_isolation.sql
        ROLLBACK;
        """)
    assert "5|role App|" in report


def test_a_signed_schema_stays_signed(checked):
    """A deploy makes the view plain, and must leave it signed; unsigned.sql takes it back."""
    checked.sql("CREATE DATABASE stays_test")
    seen = "SELECT pg_get_viewdef('entity_attribute_stats') LIKE '%proven_tenant_id%'"
    small = ["-q", "-v", "entity_partitions=2", "-v", "jsonb_partitions=2"]
    psql(checked, "stays_test", *small, "-v", "signed=1", "-f", "sql/deploy.sql",
         "-f", "sql/hardening.sql")
    psql(checked, "stays_test", *small, "-f", "sql/deploy.sql")
    assert psql(checked, "stays_test", "-c", seen) == "t\n"
    assert psql(checked, "stays_test", "-f", "sql/check_isolation.sql") == ""
    psql(checked, "stays_test", "-q", "-1", "-f", "sql/unsigned.sql")
    assert psql(checked, "stays_test", "-c", seen) == "f\n"


def as_tenant(own, dbname, tenant, sql):
    return psql(own, dbname, "-q", script=(
        f"BEGIN; SET LOCAL ROLE app; SET LOCAL app.current_tenant_id = '{tenant}';\n{sql};\nCOMMIT;\n"))


@pytest.fixture(scope="module")
def filled(own):
    """bench/generate.sql's data, small: 20 tenants with 100 entities each."""
    own.sql("CREATE DATABASE filled_test")
    psql(own, "filled_test", "-q", "-v", "entity_partitions=1", "-v", "jsonb_partitions=2",
         "-f", "sql/deploy.sql")
    psql(own, "filled_test", "-q", "-v", "tenants=20", "-v", "entities=2000", "-v", "values=200000",
         "-f", "bench/generate.sql")
    return own


@pytest.mark.parametrize("table", ["entities", "entity_jsonb", "entity_values_ts"])
def test_the_second_policy_leaves_the_planner_its_estimates(filled, table):
    """Counted as a filter of its own, it makes a tenant's rows 20 times too few, and joins slow."""
    plan = as_tenant(filled, "filled_test", 7, f"EXPLAIN SELECT * FROM {table}")
    guess = int(re.search(r"rows=(\d+)", plan)[1])
    rows = int(as_tenant(filled, "filled_test", 7, f"SELECT count(*) FROM {table}"))
    assert rows / 2 < guess < rows * 2, plan


def test_both_forms_of_the_mixed_query_find_the_same(filled):
    """sql/queries.sql 3 and 3b; not the time, which may be either of two with one value."""
    with open(os.path.join(REPO, "sql/queries.sql"), encoding="utf-8") as queries:
        text = dict(re.findall(r"^\\echo (\w+)\. .*\n((?:(?!\\echo).*\n)*)", queries.read(), re.M))
    found = [[line.split("|")[:3] for line in
              as_tenant(filled, "filled_test", 7, text[name].rstrip().rstrip(";")).splitlines()]
             for name in ("3", "3b")]
    assert found[0] and sorted(found[0]) == sorted(found[1])
