"""The signed context (sql/signed.sql, [context] mode = signed): a tenant setting without its proof
sees no row and writes none, whatever SQL set it (isolation rows 1 to 5, 18, 25).

The guard is not what is tested: the attacks go to PostgreSQL directly as role app, or through
functions that the superuser has planted, which set the tenant where the guard does not see it.
"""

import os
import secrets
import signal
import subprocess

import psycopg
import pytest

import pgproto as p
from cluster import REPO, SETTING, wait_until
from conftest import TENANT_A, TENANT_B
from proxy import run_binary
from signing import PROOF, Signed, proof_of

DB = "signed"
PLANTED = """
ALTER POLICY item_tenant ON item RENAME TO tenant_isolation;
CREATE FUNCTION flip(p_tenant text) RETURNS bool LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM set_config('app.current_tenant_id', p_tenant, true);
    RETURN true;
END $$;
CREATE FUNCTION run_sql(p_text text) RETURNS SETOF text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY EXECUTE p_text;
END $$;
CREATE FUNCTION leak(p_name text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
    RAISE NOTICE 'leaked %', p_name;
    RETURN true;
END $$;
CREATE TABLE staged (id bigint, tenant_id bigint);
CREATE FUNCTION staged_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'not the tenant of this transaction';
END $$;
CREATE TRIGGER tenant_isolation BEFORE INSERT ON staged FOR EACH ROW
    WHEN (NEW.tenant_id IS DISTINCT FROM
          NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)
    EXECUTE FUNCTION staged_refuse();
GRANT INSERT ON staged TO app;
CREATE VIEW item_names WITH (security_barrier) AS SELECT tenant_id, name FROM item
 WHERE tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint;
GRANT SELECT ON item_names TO app;
"""
# Each sets the other tenant as it runs, some back again. Both shapes of plan: see `plans`.
OTHER = f"flip('{TENANT_B}')"
READS = [
    f"SELECT tenant_id FROM item WHERE {OTHER}",
    f"SELECT tenant_id, {OTHER} FROM item",
    f"WITH f AS MATERIALIZED (SELECT {OTHER} AS f) SELECT tenant_id FROM f, item WHERE f",
    f"SELECT tenant_id FROM (SELECT {OTHER} AS f OFFSET 0) x LEFT JOIN item ON f",
    "SELECT e.tenant_id FROM (SELECT flip(CASE WHEN g > 1 THEN '456' ELSE '123' END) AS f"
    " FROM generate_series(1, 3) g OFFSET 0) x, LATERAL (SELECT * FROM item OFFSET 0) e WHERE f",
    "SELECT tenant_id FROM item WHERE flip(CASE WHEN id % 2 = 0 THEN '456' ELSE '123' END)",
    "SELECT e.tenant_id, set_config('my.tenant', '456', true)"
    " FROM (VALUES (123::bigint), (456)) AS other (y)"
    " JOIN item e ON current_setting('my.tenant')::bigint = e.tenant_id"
    " WHERE current_setting('my.tenant')::bigint = other.y",
    f"SELECT tenant_id FROM item_names WHERE {OTHER}",
    "SELECT run_sql('SELECT set_config(''app.current_tenant_id'', ''456'', true)')"
    " UNION ALL SELECT tenant_id::text FROM item WHERE id > 0",
]
WRITES = [
    f"INSERT INTO item SELECT 900 + g, {TENANT_B}, 'x', 1 FROM generate_series(1, 3) g"
    f" WHERE {OTHER}",
    f"INSERT INTO item SELECT 900 + g, t, 'x', 1 FROM (VALUES (1, {TENANT_A}), (2, {TENANT_B}))"
    " v (g, t) WHERE flip(t::text)",
    f"UPDATE item SET tenant_id = {TENANT_B}, id = 901 WHERE id = 1 AND {OTHER}",
    f"UPDATE item SET name = 'x' WHERE {OTHER}",
    f"DELETE FROM item WHERE {OTHER}",
    f"SELECT upsert_hot_attrs({TENANT_B}, 2001, '{{\"a\": 1}}') WHERE {OTHER}",
    f"INSERT INTO staged SELECT g, {TENANT_B} FROM generate_series(1, 3) g WHERE {OTHER}",
    f"INSERT INTO staged SELECT g, t FROM (VALUES (1, {TENANT_B}), (2, {TENANT_A})) v (g, t)"
    " WHERE flip(t::text)",
]


def others(signed):
    """All that is not tenant A's, for comparison before and after."""
    sql = "SELECT * FROM {} WHERE tenant_id <> %s ORDER BY 1, 2"
    return [signed.cluster.sql(sql.format(table), (TENANT_A,), dbname=DB)
            for table in ("item", "entities", "entity_jsonb", "staged")]


@pytest.fixture(scope="module")
def database(cluster, tmp_path_factory):
    cluster.deploy(DB, template="pristine")
    cluster.sql(PLANTED, dbname=DB)
    made = Signed(cluster, tmp_path_factory.mktemp("signed"), DB)
    made.run("signed.sql", "-1")
    made.run("signed.sql", "-1")  # safe to repeat
    made.set_key()
    yield made
    cluster.close_superuser(DB)


@pytest.fixture
def signed(database, cluster):
    """Both tenants have the same ids in item; only database.key is valid."""
    database.new_key()
    with open(database.key_file, encoding="utf-8") as file:
        database.key = file.read().strip()
    database.set_key("-v", "only=1")
    cluster.sql("DELETE FROM item; DELETE FROM staged", dbname=DB)
    cluster.sql("INSERT INTO item SELECT i, t, 'tenant ' || t, i FROM generate_series(1, 20) i,"
                " unnest(ARRAY[%s, %s]) t", (TENANT_A, TENANT_B), dbname=DB)
    yield database
    while database.opened:
        database.opened.pop().close()


@pytest.fixture
def start(make_proxy, signed):
    def make(**context):
        return make_proxy(
            {"context": {"mode": "signed", "proof_key_file": signed.key_file, **context},
             "pgusher": {"workers": 1, "max_server_conn": 4}}, databases=(DB,))
    return make


@pytest.fixture
def proxy(start):
    return start()


def count(conn, sql="SELECT count(*) FROM item"):
    return conn.execute(sql).fetchone()[0]


# ---- who is let in ------------------------------------------------------------------------


def test_each_tenant_sees_its_own_rows(proxy):
    for tenant in (TENANT_A, TENANT_B, TENANT_A):
        with proxy.raw(tenant, DB) as conn:
            for values in (None, ()):
                assert conn.rows("SELECT DISTINCT tenant_id FROM item", values) == [(str(tenant),)]
            assert p.codes_of(conn.simple(f"INSERT INTO item VALUES (77, {tenant})")) == []
            assert conn.rows("DELETE FROM item WHERE id = 77 RETURNING tenant_id") == \
                [(str(tenant),)]
            own, other = (2001, 1001) if tenant == TENANT_B else (1001, 2001)
            upsert = "SELECT upsert_hot_attrs({}, {}, '{{\"a\": 1}}')"
            assert p.codes_of(conn.simple(upsert.format(tenant, own))) == []
            wrong = TENANT_A + TENANT_B - tenant
            assert p.codes_of(conn.simple(upsert.format(wrong, other))) == ["42501"]


def test_the_proof_is_there_wherever_the_context_is(proxy):
    seen = "SELECT count(*) FROM item"
    with proxy.raw(TENANT_A, DB) as conn:
        script = [f"BEGIN; SAVEPOINT a; {seen}; ROLLBACK TO a; {seen}; COMMIT AND CHAIN; {seen};"
                  f" COMMIT; {seen}", f"BEGIN ISOLATION LEVEL SERIALIZABLE; {seen}; ROLLBACK",
                  f"{seen}; RESET ALL; {seen}"]
        for text in script:
            assert {row[0] for row in p.rows_of(conn.simple(text))} == {"20"}, text


@pytest.mark.parametrize("context", [{"mode": "plain"}, {"proof_key_file": "WRONG"}])
def test_another_pgusher_sees_nothing(start, tmp_path, context):
    if "proof_key_file" in context:
        wrong = tmp_path / "wrong.key"
        wrong.write_text(secrets.token_hex(32))
        wrong.chmod(0o600)
        context = {"proof_key_file": wrong}
    with start(**context).raw(TENANT_A, DB) as conn:
        assert conn.scalar("SELECT count(*) FROM item") == "0"
        assert conn.scalar(f"SELECT current_setting('{SETTING}')") == str(TENANT_A)
        assert p.codes_of(conn.simple(f"INSERT INTO item VALUES (77, {TENANT_A})")) == ["42501"]


@pytest.mark.parametrize("proof", [
    None, "", "x", "0" * 64, "\\", "\\x00", "\\134", "ä", "'", "%s%n", "0" * 100000])
def test_no_proof_no_rows_no_error(signed, proof):
    conn = signed.direct(TENANT_B)
    if proof is not None:
        conn.execute("SELECT set_config(%s, %s, false)", (PROOF, proof))
    for table in ("item", "entities", "entity_jsonb", "tenants", "item_names"):
        assert count(conn, f"SELECT count(*) FROM {table}") == 0
    before = others(signed)
    assert conn.execute("UPDATE item SET name = 'x'").rowcount == 0
    assert conn.execute("DELETE FROM item").rowcount == 0
    for write in (f"INSERT INTO item VALUES (901, {TENANT_B})",
                  f"INSERT INTO staged VALUES (1, {TENANT_B})",
                  f"SELECT upsert_hot_attrs({TENANT_B}, 2001, '{{}}')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(write)
    assert others(signed) == before


def test_a_proof_is_for_one_tenant_one_role_and_one_server(signed):
    assert count(signed.direct(TENANT_A, proven=TENANT_A)) == 20
    assert count(signed.direct(TENANT_B, proven=TENANT_A)) == 0
    first = signed.direct(TENANT_A)
    assert count(signed.direct(TENANT_A, proven=TENANT_A, pid=first.info.backend_pid)) == 0
    assert count(signed.direct(TENANT_A, proven=TENANT_A, key=secrets.token_hex(32))) == 0
    conn = signed.direct(TENANT_A)
    other = proof_of(signed.key, conn.info.backend_pid, TENANT_A, "postgres")
    conn.execute("SELECT set_config(%s, %s, false)", (PROOF, other))
    assert count(conn) == 0
    # A tenant spelled in another way is another text.
    for spelling in (f" {TENANT_A}", f"0{TENANT_A}", f"+{TENANT_A}"):
        conn.execute("SELECT set_config(%s, %s, false)", (SETTING, spelling))
        assert count(conn) == 0


def test_the_guard_keeps_the_proof_setting(proxy):
    with proxy.raw(TENANT_A, DB) as conn:
        for text in (f"SET {PROOF} = 'x'", f"SET LOCAL {PROOF} = 'x'", f"RESET {PROOF}",
                     f"SELECT set_config('{PROOF}', 'x', true)"):
            assert p.codes_of(conn.simple(text)) == ["42501"], text


# ---- attacks ------------------------------------------------------------------------------


def plans():
    """Once as the planner likes it, once with each row compared by itself."""
    return ["", "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off;"
            " SET LOCAL enable_indexonlyscan = off"]


@pytest.mark.parametrize("plan", plans())
@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("attack", READS)
def test_a_tenant_set_at_run_time_reads_nothing(proxy, attack, extended, plan):
    with proxy.raw(TENANT_A, DB) as conn:
        for setup in ("BEGIN", plan, f"SET LOCAL my.tenant = {TENANT_A}"):
            assert p.codes_of(conn.simple(setup)) == []
        replies = conn.run(p.one_shot(attack)) if extended else conn.simple(attack)
        assert p.codes_of(replies) == []
        tenants = {row[0] for row in p.rows_of(replies)} - {None}
        # What it has just set shows in the last attack's first row.
        assert len(p.rows_of(replies)) == 1 or tenants <= {str(TENANT_A)}, attack
        assert p.codes_of(conn.simple("ROLLBACK")) == []


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("attack", WRITES)
def test_a_tenant_set_at_run_time_writes_nothing(proxy, signed, attack, extended):
    before = others(signed)
    with proxy.raw(TENANT_A, DB) as conn:
        conn.run(p.one_shot(attack)) if extended else conn.simple(attack)
    assert others(signed) == before


def test_run_time_sql_in_the_same_transaction(proxy):
    """The attacker knows his own proof, too: it proves nobody else."""
    with proxy.raw(TENANT_A, DB) as conn:
        conn.simple("BEGIN")
        proof = conn.scalar(f"SELECT current_setting('{PROOF}')")
        for text in (f"set_config('{SETTING}', '{TENANT_B}', true)",
                     f"set_config('{PROOF}', '{proof}', true)"):
            assert p.codes_of(conn.simple(f"SELECT run_sql($x$SELECT {text}$x$)")) == []
            assert conn.scalar("SELECT count(*) FROM item") == "0"
        back = f"SELECT run_sql($x$SELECT set_config('{SETTING}', '{TENANT_A}', true)$x$)"
        conn.simple(back)
        assert conn.rows("SELECT DISTINCT tenant_id FROM item") == [(str(TENANT_A),)]


def test_leaky_functions_see_own_rows_only(signed):
    for proven, want in ((TENANT_A, 20), (None, 0)):
        said = []
        conn = signed.direct(TENANT_A, proven=proven)
        conn.add_notice_handler(lambda note, said=said: said.append(note.message_primary))
        count(conn, "SELECT count(*) FROM item WHERE leak(name)")
        assert said == [f"leaked tenant {TENANT_A}"] * want


def test_generic_plans_do_not_carry_a_tenant_over(signed):
    conn = signed.direct(TENANT_A, proven=TENANT_A)
    conn.execute("SET plan_cache_mode = force_generic_plan")
    conn.execute("PREPARE q AS SELECT coalesce(min(tenant_id), 0) FROM item WHERE id > 0")
    for tenant, proven in ((TENANT_A, TENANT_A), (TENANT_B, TENANT_B), (TENANT_B, TENANT_A),
                           (TENANT_A, TENANT_A)):
        conn.execute("SELECT set_config(%s, %s, false), set_config(%s, %s, false)",
                     (SETTING, str(tenant), PROOF,
                      proof_of(signed.key, conn.info.backend_pid, proven)))
        assert count(conn, "EXECUTE q") == (tenant if tenant == proven else 0)


def test_parallel_workers_take_the_leaders_proof(signed):
    conn = signed.direct(TENANT_A, proven=TENANT_A)
    name = "debug_parallel_query" if conn.info.server_version >= 160000 else "force_parallel_mode"
    for setting in (f"{name} = on", "parallel_setup_cost = 0", "parallel_tuple_cost = 0",
                    "min_parallel_table_scan_size = 0", "max_parallel_workers_per_gather = 2",
                    "enable_indexscan = off", "enable_bitmapscan = off"):
        conn.execute(f"SET {setting}")
    sql = "SELECT count(*) FROM item WHERE n > 0"
    plan = "\n".join(row[0] for row in conn.execute(f"EXPLAIN ANALYZE {sql}"))
    assert "Gather" in plan and "Workers Launched" in plan, plan
    assert count(conn, sql) == 20
    conn.execute("SELECT set_config(%s, %s, false)", (SETTING, str(TENANT_B)))
    assert count(conn, sql) == 0


def test_the_proof_is_checked_once_a_query(signed):
    conn = signed.direct(TENANT_A, proven=TENANT_A)
    plan = [row[0] for row in conn.execute("EXPLAIN ANALYZE SELECT * FROM item")]
    at = next(i for i, line in enumerate(plan) if line.strip().startswith("InitPlan"))
    assert "loops=1)" in plan[at + 1], plan


def test_names_in_the_way_change_nothing(signed):
    conn = signed.direct(TENANT_B)
    conn.execute("CREATE TEMP TABLE proof_keys (inner_pad bytea, outer_pad bytea,"
                 " valid_until timestamptz)")
    conn.execute("CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql"
                 " AS $$SELECT 'x'::bytea$$")
    conn.execute("CREATE FUNCTION pg_temp.bytea_eq(bytea, bytea) RETURNS bool LANGUAGE sql"
                 " AS $$SELECT true$$")
    conn.execute("CREATE OPERATOR pg_temp.= (LEFTARG = bytea, RIGHTARG = bytea,"
                 " FUNCTION = pg_temp.bytea_eq)")
    for path in ("pg_temp", "pg_temp, pg_catalog"):
        conn.execute(f"SET search_path = {path}")
        assert count(conn, "SELECT pg_catalog.count(*) FROM public.item") == 0


# ---- keys ---------------------------------------------------------------------------------


def test_keys_stay_secret(signed, cluster, proxy):
    conn = signed.direct(TENANT_A, proven=TENANT_A)
    for text in ("SELECT * FROM pgusher.proof_keys", "SELECT pgusher.proof_key_add('x')",
                 "SELECT pgusher.proven_tenant_id()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(text)
    cluster.sql(f"ALTER DATABASE {DB} SET log_statement = 'all'")
    try:
        said = signed.set_key() + signed.psql(
            "-v", "key_file=/dev/null", "-f", os.path.join(REPO, "sql", "signed_key.sql")).stderr
        with proxy.raw(TENANT_A, DB) as client:
            proof = client.scalar(f"SELECT current_setting('{PROOF}')")
    finally:
        cluster.sql(f"ALTER DATABASE {DB} RESET log_statement")
    assert "not hex or base64" in said and "key_id" in said
    for text in (said, cluster.log(), proxy.log()):
        assert signed.key not in text
    assert proof not in proxy.log()


def test_rotation_under_load(signed, cluster, proxy, tmp_path):
    """docs/operations.md's steps. Each transaction divides by its rows: none seen is an error."""
    script = tmp_path / "rotate.sql"
    script.write_text("SELECT 1 / count(*) FROM item;\n")
    with subprocess.Popen(
        [os.path.join(cluster.bin, "pgbench"), "-n", "-c", "4", "-T", "600", "-P", "1",
         "-f", str(script)], env=proxy.psql_env(TENANT_A, DB), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as load:
        try:
            wait_until(lambda: cluster.backends(DB), "pgbench works")
            old = signed.key
            signed.key = signed.new_key()
            assert signed.set_key().count(" t\n") == 2
            proxy.process.send_signal(signal.SIGHUP)
            proxy.wait_log("proof key read from")

            def is_new():
                with proxy.raw(TENANT_A, DB) as conn:
                    pid, proof = conn.rows(f"SELECT pg_backend_pid(),current_setting('{PROOF}')")[0]
                return proof == proof_of(signed.key, pid, TENANT_A)
            wait_until(is_new, "proofs are made with the new key")
            done = cluster.sql("SELECT xact_commit FROM pg_stat_database WHERE datname = %s", (DB,))
            signed.set_key("-v", "only=1")
            wait_until(lambda: cluster.sql("SELECT xact_commit FROM pg_stat_database"
                                           " WHERE datname = %s", (DB,)) > done, "it goes on")
            assert load.poll() is None, load.stderr.read()
        finally:
            load.send_signal(signal.SIGINT)
            said = load.communicate(timeout=30)[1]
    assert "ERROR" not in said and "aborted" not in said, said
    assert count(signed.direct(TENANT_A, proven=TENANT_A)) == 20
    assert count(signed.direct(TENANT_A, proven=TENANT_A, key=old)) == 0


def test_two_keys_at_most(signed):
    signed.new_key()
    signed.set_key()
    signed.new_key()
    refused = signed.psql("-v", f"key_file={signed.key_file}", "-f",
                          os.path.join(REPO, "sql", "signed_key.sql"))
    assert refused.returncode != 0 and "two other proof keys are valid" in refused.stderr


def test_a_bad_key_file_changes_nothing(signed, start):
    proxy = start()
    os.chmod(signed.key_file, 0o644)
    try:
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_log("the old configuration stays")
        with proxy.raw(TENANT_A, DB) as conn:
            assert conn.scalar("SELECT count(*) FROM item") == "20"
        checked = run_binary("check", "-c", proxy.ini)
        assert checked.returncode == 1
        assert "proof_key_file: cannot use" in checked.stderr
        assert "open to other users" in checked.stderr
    finally:
        os.chmod(signed.key_file, 0o600)
    assert run_binary("check", "-c", proxy.ini).returncode == 0


def test_with_roles_of_ones_own(cluster, tmp_path):
    """The keys are whose one says; without a word from then on."""
    for sql in ("CREATE DATABASE own TEMPLATE template0", "CREATE ROLE \"Key keeper\""):
        cluster.sql(sql)
    for sql in ("CREATE TABLE thing (tenant_id bigint)", "INSERT INTO thing VALUES (%s)",
                "ALTER TABLE thing ENABLE ROW LEVEL SECURITY",
                "GRANT SELECT ON thing TO app", "CREATE POLICY tenant_isolation ON thing USING"
                " (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint)"):
        cluster.sql(sql, (TENANT_A,) if "%s" in sql else None, dbname="own")
    made = Signed(cluster, tmp_path, "own")
    files = {name: os.path.join(REPO, "sql", name) for name in ("signed.sql", "signed_key.sql")}
    early = made.psql("-v", f"key_file={made.key_file}", "-f", files["signed_key.sql"])
    assert early.returncode != 0 and "run signed.sql in this database before" in early.stderr
    for option, says in (("owner=nobody", 'there is no role "nobody"'),
                         ("app_role=nobody", "-v app_role=ROLE"),
                         ("owner=app", "cannot own the keys")):
        refused = made.psql("-1", "-v", option, "-f", files["signed.sql"])
        assert refused.returncode != 0 and says in refused.stderr, refused.stderr
        assert not cluster.sql("SELECT to_regnamespace('pgusher')::text", dbname="own")[0][0]
    made.run("signed.sql", "-1", "-v", "owner=Key keeper")
    made.run("signed.sql", "-1")
    made.set_key()
    assert cluster.sql("SELECT DISTINCT relowner::regrole::text FROM pg_class"
                       " WHERE relnamespace = 'pgusher'::regnamespace", dbname="own") == \
        [('"Key keeper"',)]
    assert count(made.direct(TENANT_A), "SELECT count(*) FROM thing") == 0
    assert count(made.direct(TENANT_A, proven=TENANT_A), "SELECT count(*) FROM thing") == 1
    while made.opened:
        made.opened.pop().close()
    cluster.close_superuser("own")
    cluster.sql("DROP DATABASE own")
    cluster.sql("DROP ROLE \"Key keeper\"")


def test_unsigned_takes_it_back(cluster, tmp_path):
    cluster.deploy("unsigned", template="pristine")
    made = Signed(cluster, tmp_path, "unsigned")
    files = [os.path.join(REPO, "sql", name) for name in ("signed.sql", "unsigned.sql")]
    for file, want in zip(files, (0, 5)):
        done = subprocess.run(
            [os.path.join(cluster.bin, "psql"), "-X", "-q", "-1", "-h", cluster.socket_dir, "-p",
             str(cluster.ports["primary"]), "-U", "postgres", "-d", "unsigned", "-f", file],
            capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        conn = cluster.app("unsigned", TENANT_A)
        made.opened.append(conn)
        assert count(conn, "SELECT count(*) FROM entities") == want
        conn.close()
