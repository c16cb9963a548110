"""The scene of an attack: two tenants over one server connection, PgUsher's two context modes,
and what must be true after whatever the attacker did.

The attacker has a valid token of TENANT_A and sends what he likes; the victim is TENANT_B.
Attacks go out by both query protocols where both apply.
"""

import pgproto as p
from cluster import SETTING, wait_until
from conftest import TENANT_A, TENANT_B
from console import CONSOLE, Console
from proxy import Proxy, merge_ini
from signing import PROOF, Signed, proof_of
from test_probe import GRANTS, PROBE_PASSWORD

# Stands in every text of the victim's that a test could meet, and in nothing that is sent.
CANARY = f"tenant {TENANT_B}"
FINGERPRINTS = [
    f"SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t"
    f" WHERE tenant_id = {TENANT_B}"
    for table in ("item", "tenants", "entities", "entity_jsonb", "entity_values_ts",
                  "entity_values_ingest")
]
WHO = "SELECT DISTINCT tenant_id FROM item"
CONTEXT = f"SELECT current_setting('{SETTING}', true)"

# What an attacker tries once he hopes to be the victim. Each shows the canary or nothing.
LOOTS = [
    "SELECT * FROM item",
    "UPDATE item SET name = 'taken' RETURNING 'tenant ' || tenant_id",
    f"INSERT INTO item VALUES (4711, {TENANT_B}, 'planted', 1)",
    "DELETE FROM item RETURNING 'tenant ' || tenant_id",
    "COPY (SELECT * FROM item) TO STDOUT",
    "SELECT 'tenant ' || tenant_id, entity_id FROM entities",
    f"SELECT 'tenant ' || tenant_id, upsert_hot_attrs({TENANT_B}, entity_id, '{{\"stolen\": 1}}')"
    " FROM entity_jsonb",
]

# Functions that were there before, made by somebody who trusted his callers: they change the
# tenant where no rule about statements can see it.
PLANTED = f"""
ALTER POLICY item_tenant ON item RENAME TO tenant_isolation;
CREATE FUNCTION planted_run(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    RETURN sql;
END $$;
CREATE FUNCTION planted_switch(tenant bigint) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('{SETTING}', tenant::text, true);
    RETURN 1;
END $$;
CREATE FUNCTION planted_loot() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('{SETTING}', '{TENANT_B}', true);
    RETURN QUERY SELECT name FROM item WHERE tenant_id = {TENANT_B};
END $$;
CREATE FUNCTION planted_names() RETURNS SETOF text LANGUAGE sql SET {SETTING} = {TENANT_B}
    AS 'SELECT name FROM item';
"""
# The same under labels that let a replica run them.
READERS = f"""
ALTER FUNCTION planted_run(text) STABLE;
ALTER FUNCTION planted_switch(bigint) STABLE;
ALTER FUNCTION planted_loot() STABLE;
ALTER FUNCTION planted_names() STABLE;
CREATE FUNCTION planted_keep(name text, value text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN set_config(name, value, false);
END $$;
CREATE FUNCTION planted_lock(key bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN pg_try_advisory_lock(key);
END $$;
CREATE FUNCTION planted_seen(name text) RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT current_setting(name, true) $$;
"""
RESTRICT = ["-1", "-v", "policy=tenant_row", "-v",
            f"tenant=NULLIF(current_setting('{SETTING}', true), '')::bigint"]


def by_query(conn, sql):
    return conn.run(p.query(sql))


def by_extended(conn, sql):
    return conn.run(p.one_shot(sql))


WAYS = [by_query, by_extended]


def values(messages):
    return [v.decode() for m in messages if m.type == "D" for v in m.values() if v is not None]


class Stage:
    """A database as docs/ say to deploy one, and a proxy with one server connection."""

    def __init__(self, cluster, keys, folder, mode, guard="strict", dbname=None, more=None):
        """more: further sections of the ini."""
        self.cluster, self.mode = cluster, mode
        self.dbname = dbname or f"attacked_{mode}"
        cluster.deploy(self.dbname, template="pristine")
        self.sql(PLANTED)
        self.database = Signed(cluster, str(folder), self.dbname)
        self.database.run("restrict.sql", *RESTRICT)
        self.database.run("hardening.sql")
        context = {"mode": mode}
        if mode == "signed":
            self.database.run("signed.sql", "-1")
            self.database.set_key()
            context["proof_key_file"] = self.database.key_file
        ini = {"context": context, "guard": {"mode": guard},
               "pgusher": {"workers": 1, "max_server_conn": 1}}
        self.proxy = Proxy(cluster, keys, folder, merge_ini(ini, more or {}),
                           databases=(self.dbname,))

    def __enter__(self):
        self.proxy.start()
        return self

    def __exit__(self, *_):
        self.proxy.stop()
        self.cluster.close_superuser(self.dbname)

    def sql(self, text):
        return self.cluster.sql(text, dbname=self.dbname)

    def refill(self):
        """Both tenants have the same ids in item, with names that tell whose they are."""
        self.sql(
            "DELETE FROM item; DELETE FROM shared_note;"
            " INSERT INTO item SELECT i, t, 'tenant ' || t || ' item ' || i, i"
            f" FROM generate_series(1, 20) i, unnest(ARRAY[{TENANT_A}, {TENANT_B}]) t")

    def direct(self, tenant=None):
        """Role app past PgUsher, with the tenant's context, proven where that is asked for."""
        conn = self.cluster.app(self.dbname, tenant)
        if self.mode == "signed" and tenant is not None:
            proof = proof_of(self.database.key, conn.info.backend_pid, tenant)
            conn.execute("SELECT set_config(%s, %s, false)", (PROOF, proof))
        return conn

    def fingerprint(self):
        """All that is the victim's."""
        return [self.sql(sql) for sql in FINGERPRINTS]


class ReplicaStage(Stage):
    """The same with a replica, where all reads go; it has one server connection, too."""

    NODE = "replica1"

    def __init__(self, cluster, keys, folder, mode, **more):
        name = more.pop("dbname")
        password_file = folder / "probe.password"
        password_file.write_text(PROBE_PASSWORD)
        password_file.chmod(0o600)
        super().__init__(cluster, keys, folder, mode, dbname=name, more={
            "pgusher": CONSOLE,
            "role probe": {"password_file": password_file, "tenant": "none"},
            f"database {name}": {"nodes": f"primary, {self.NODE}", "consistency": "eventual"},
            "freshness": {"probe_role": "probe", "heartbeat_interval": "50ms",
                          "read_your_writes": "off"},
        }, **more)
        self.sql(READERS + GRANTS)

    def __enter__(self):
        self.sql(f"ALTER ROLE probe LOGIN PASSWORD '{PROBE_PASSWORD}'")
        self.follow()
        super().__enter__()
        self.proxy.wait_log("function catalogue")
        self.await_reads()
        return self

    def refill(self):
        super().refill()
        self.follow()
        self.await_reads()

    def await_reads(self):
        """Until the replica is read from: one that has lost its only server connection, by the test
        before, is left out for a moment."""
        with self.proxy.raw(TENANT_A, self.dbname) as conn:
            wait_until(lambda: conn.simple(WHO) and ran_on(conn) == self.NODE,
                       f"{self.NODE} is read from")

    def follow(self):
        """Until the replica has all that is committed now."""
        here = self.sql("SELECT pg_current_wal_lsn()")[0][0]
        replica = self.cluster.superuser(node=self.NODE)
        wait_until(lambda: replica.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn",
                                           (here,)).fetchone()[0], "the replica follows",
                   pause=0.002)

    def reads(self):
        """How many reads went to the replica so far."""
        console = Console(self.proxy)
        with console.conn:
            return next(int(row["reads"]) for row in console.show("PATHS")
                        if row["path"] == f"{self.dbname}/{self.NODE}")


def ran_on(conn):
    """The node of the client's last statement."""
    return values(conn.simple("SHOW usher.data_source"))[0]


class Scene:
    """An attacker and a victim, who meet on the stage's one server connection."""

    def __init__(self, stage):
        self.stage, self.proxy, self.cluster = stage, stage.proxy, stage.cluster
        self.dbname = stage.dbname
        self.attacker = self.login(TENANT_A)
        self.victim = self.login(TENANT_B)
        self.heard = []
        self.before = stage.fingerprint()

    def login(self, tenant, **params):
        return self.proxy.raw(tenant, self.dbname, **params)

    def try_all(self, steps, way):
        """The attacker's steps, whatever becomes of them; all that he heard. He is never thrown
        out for SQL."""
        heard = []
        for sql in steps:
            heard += way(self.attacker, sql)
        self.heard += heard
        return heard

    def end_transaction(self):
        if self.attacker.status != "I":
            self.attacker.simple("ROLLBACK")
        assert self.attacker.status == "I"

    def nothing_crossed(self):
        """Nothing of the victim's was told to the attacker or changed, and each still is who he
        was. The end of the attacker's connection, which may be pinned to the only server."""
        for message in self.heard:
            assert CANARY.encode() not in message.body, message
        assert self.stage.fingerprint() == self.before
        self.end_transaction()
        for conn, tenant in ((self.attacker, TENANT_A), (self.victim, TENANT_B)):
            assert set(values(conn.simple(WHO))) <= {str(tenant)}
            assert values(conn.simple(CONTEXT)) == [str(tenant)]
            conn.terminate()
        with self.login(TENANT_B) as later:
            assert later.scalar("SELECT count(*) FROM item WHERE name LIKE 'tenant 456%'") == "20"


def refused_by(messages):
    """The guard's rule that the first error names; None where that is not the guard's."""
    errors = p.errors_of(messages)
    if errors and errors[0]["C"] == "42501" and "(rule " in errors[0]["M"]:
        return errors[0]["M"].rsplit("(rule ", 1)[1].rstrip(")")
    return None


def is_refused(messages, rule=None):
    """42501 by the guard (by this rule) or by the database, and nothing done."""
    errors = p.errors_of(messages)
    assert errors and errors[0]["C"] == "42501", errors or messages
    assert not values(messages)
    if rule:
        assert refused_by(messages) == rule, errors[0]
