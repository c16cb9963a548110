"""Random client scripts for test_random.py: steps of frontend messages, as a seed decides.

A step is what a client sends before it reads: its bytes, and one entry a message telling which
replies to wait for. Scripts know nothing of replies, so many a step meets an aborted
transaction, a missing statement or a portal that is gone; that is the point. Nothing here may
depend on what other clients do or when: reads are ordered and stay within the client's own ids,
which the other tenant's clients use too (with rows of their own).
"""

import pgproto as p

IDS_PER_CLIENT = 1000
NAMES = ("", "", "s1", "s2", "s3")
PORTALS = ("", "", "p1", "p2")


class Step:
    """Messages to send together; `waits` holds their expected-reply kinds, in order."""

    def __init__(self):
        self.parts = []
        self.waits = []
        self.shown = []

    def add(self, data, wait, shown):
        self.parts.append(data)
        if wait:
            self.waits.append(wait)
        self.shown.append(shown)
        return self

    @property
    def data(self):
        return b"".join(self.parts)

    def __repr__(self):
        return " | ".join(s if len(s) < 300 else s[:300] + "..." for s in self.shown)


class Grammar:
    """Makes the steps of one client; rng is its own random.Random."""

    def __init__(self, rng, tenant, number):
        self.rng = rng
        self.tenant = tenant
        # One or the other: the tenant's context, with its snapshot, goes in front of SET, so that an
        # isolation level behind it comes too late (docs/deviations.md 5).
        self.sets = number % 2 == 1
        self.first = number * IDS_PER_CLIENT
        self.last = self.first + IDS_PER_CLIENT - 1

    # ---- SQL ----

    def item_id(self):
        # Few of them, so that inserts collide and updates find something.
        return self.first + self.rng.randrange(30)

    def mine(self, column="id"):
        return f"{column} BETWEEN {self.first} AND {self.last}"

    def select(self):
        rng = self.rng
        return rng.choice([
            f"SELECT id, tenant_id, name, n FROM item WHERE {self.mine()} ORDER BY id",
            f"SELECT count(*), min(tenant_id), max(tenant_id) FROM item WHERE {self.mine()}",
            f"SELECT name FROM item WHERE id = {self.item_id()}",
            f"SELECT id, n FROM item WHERE {self.mine()} ORDER BY id LIMIT 5 FOR UPDATE",
            f"SELECT e.entity_id, e.tenant_id, j.hot_attrs FROM entities e LEFT JOIN entity_jsonb j"
            f" USING (entity_id, tenant_id) WHERE {self.mine('entity_id')} ORDER BY 1",
            "SELECT current_setting('app.current_tenant_id', true)",
            "SELECT tenant_id FROM tenants ORDER BY 1",
            "SELECT current_user, current_database() <> ''",
            f"SELECT repeat('{rng.choice('abc')}', {rng.choice([10, 5000, 70000])})",
            f"SELECT i, 'x' FROM generate_series(1, {rng.choice([0, 3, 300])}) i",
            "TABLE tenants", "VALUES (1, 'a'), (2, NULL)", "SHOW transaction_isolation",
            "SELECT /* ; */ 1 -- ;", "SELECT $$a;b$$, 'c'';d', E'e\\';f', \"n\" FROM"
            f" (SELECT n FROM item WHERE id = {self.item_id()}) x",
        ])

    def write(self):
        item, other = self.item_id(), self.item_id()
        name = self.rng.choice(["plain", "it''s", "a\\b", "żółć", "x" * 3000])
        return self.rng.choice([
            f"INSERT INTO item VALUES ({item}, {self.tenant}, '{name}', {self.rng.randrange(100)})",
            f"INSERT INTO item VALUES ({item}, {self.tenant}, '{name}', 1), "
            f"({other}, {self.tenant}, 'second', 2)",
            f"INSERT INTO item VALUES ({item}, {self.tenant}, 'up', 1)"
            " ON CONFLICT (id, tenant_id) DO UPDATE SET n = item.n + 1 RETURNING id, n",
            f"UPDATE item SET n = n + 1, name = '{name}' WHERE id = {item} RETURNING tenant_id, n",
            f"UPDATE item SET n = n * 2 WHERE {self.mine()} AND n < 1000",
            f"DELETE FROM item WHERE id = {item}",
            f"DELETE FROM item WHERE id = {item} RETURNING name",
            f"WITH d AS (DELETE FROM item WHERE id = {item} RETURNING *)"
            f" INSERT INTO item SELECT {other}, tenant_id, name, n FROM d",
            f"INSERT INTO entities (entity_id, tenant_id, entity_type) VALUES"
            f" ({item}, {self.tenant}, 'sensor') ON CONFLICT DO NOTHING",
            f"UPDATE entities SET version = version + 1 WHERE entity_id = {item} RETURNING version",
            f"INSERT INTO entity_jsonb (entity_id, tenant_id, hot_attrs) VALUES ({item},"
            f" {self.tenant}, '{{\"n\": {other}}}') ON CONFLICT (entity_id, tenant_id)"
            f" DO UPDATE SET hot_attrs = entity_jsonb.hot_attrs || excluded.hot_attrs",
            f"DELETE FROM entity_jsonb WHERE entity_id = {item}",
        ])

    def failing(self):
        item = self.item_id()
        return self.rng.choice([
            "SELECT 1/0", "SELECT nothing FROM item", "SELECT * FROM nowhere", "SELEC 1",
            f"INSERT INTO item VALUES ({item}, {self.tenant + 1}, 'forged', 1)",
            f"INSERT INTO item VALUES ({item}, {self.tenant}, 'big', 2000000)",
            f"UPDATE item SET tenant_id = {self.tenant + 1} WHERE id = {item}",
            "SELECT 'x'::int", "DROP TABLE item", "SELECT length($1, $2)", "SELECT 'unterminated",
            "SELECT i / (i - 50) FROM generate_series(1, 100) i",
            "ALTER TABLE item DISABLE ROW LEVEL SECURITY",
        ])

    def control(self):
        save = self.rng.choice(["a", "b", '"C"'])
        return self.rng.choice([
            "BEGIN", "BEGIN", "BEGIN", "START TRANSACTION", "BEGIN ISOLATION LEVEL REPEATABLE READ",
            "BEGIN READ ONLY", "COMMIT", "COMMIT", "COMMIT", "END", "ROLLBACK", "ROLLBACK", "ABORT",
            "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", f"SAVEPOINT {save}", f"SAVEPOINT {save}",
            f"ROLLBACK TO {save}", f"ROLLBACK TO {save}", f"RELEASE {save}",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SET TRANSACTION READ ONLY",
            "SET CONSTRAINTS ALL DEFERRED", "SET LOCAL work_mem = '5MB'", "SHOW work_mem",
        ])

    def cursor(self):
        return self.rng.choice([
            f"DECLARE c CURSOR FOR SELECT id, name FROM item WHERE {self.mine()} ORDER BY id",
            "FETCH 3 FROM c", "FETCH ALL FROM c", "MOVE 1 IN c", "CLOSE c",
        ])

    def setting(self):
        """Of the session, which then follows the client."""
        rng = self.rng
        name, values = rng.choice([
            ("work_mem", ["'5MB'", "'7168kB'", "DEFAULT", "'nonsense'"]),
            ("TimeZone", ["'Asia/Tokyo'", "'UTC'", "-3", "DEFAULT"]),
            ("DateStyle", ["'German'", "'ISO'", "'SQL, DMY'", "MDY"]),
            ("my.a", ["1", "'two'", "'żółć'", "DEFAULT"]), ("my.b", ["'x'", "''"]),
            ("statement_timeout", ["'2min'", "'3min'", "0"]),
            ("search_path", ["public", "public, pg_catalog", "DEFAULT", "'public'"]),
            ("extra_float_digits", ["0", "1", "3"]), ("enable_seqscan", ["on", "off"]),
        ])
        value = rng.choice(values)
        return rng.choice([
            f"SET {name} = {value}", f"SET {name} = {value}", f"SET SESSION {name} TO {value}", f"SET LOCAL {name} = {value}",
            f"SHOW {name}", f"SHOW {name}", f"RESET {name}", "RESET ALL",
            f"SELECT current_setting('{name}')",
            "SELECT to_timestamp(0)::text, 0.1::float8 / 3",
            f"SELECT set_config('{name}', 'public', {rng.choice(['true', 'false'])})"
            if name == "search_path" else
            f"SELECT set_config('my.b', current_setting('my.a'), {rng.choice(['true', 'false'])})",
        ])

    def statement(self):
        sql = self.rng.choices(
            [self.select, self.write, self.failing, self.control, self.cursor, self.setting],
            [40, 34, 4, 6, 1, 14 if self.sets else 0],
        )[0]()
        return "SHOW TimeZone" if self.sets and "ISOLATION LEVEL" in sql else sql

    def batched(self):
        """A statement of an extended batch. A Parse that is answered by PgUsher takes no snapshot, and
        a Describe that prepares its statement again takes one, so whether an isolation level can be
        set behind them differs (docs/deviations.md 13)."""
        sql = self.statement()
        if sql.startswith("SET TRANSACTION ISO"):
            return "SHOW work_mem"
        return "BEGIN" if sql.startswith("BEGIN ISO") else sql

    def script(self):
        """Several statements in one string, with transactions begun and ended inside."""
        parts = [self.statement() for _ in range(self.rng.randint(2, 6))]
        # docs/deviations.md 5 and 6
        parts = [part for part in parts
                 if not part.startswith(("SET TRANSACTION ISO", "DECLARE", "RESET ALL"))
                 ] or ["BEGIN"]
        return self.rng.choice(["; ", ";\n-- comment; with semicolon\n", ";;"]).join(parts) + ";"

    # ---- steps ----

    def simple(self):
        sql = self.rng.choices(
            [self.statement(), self.script(), "", ";", "-- nothing", "/* nothing */ ;", b"no end",
             b"two\0ends\0"],
            [60, 20, 1, 1, 1, 1, 1, 1],
        )[0]
        if isinstance(sql, bytes):
            return Step().add(p.message("Q", sql), "Q", f"broken Query {sql}")
        return Step().add(p.query(sql), "Q", f"Query {sql}")

    def pipelined(self):
        step = Step()
        for _ in range(self.rng.randint(2, 8)):
            other = self.rng.choice([self.simple, self.simple, self.batch, self.copy_in])()
            step.parts += other.parts
            step.waits += other.waits
            step.shown += other.shown
        return step

    def batch(self):
        """One to twelve extended-protocol messages and a Sync, or now and then several."""
        step = Step()
        for _ in range(self.rng.randint(1, 4)):
            self._extended(step)
        if self.rng.random() < 0.05:
            step.add(p.sync(), "S", "Sync")
        return step.add(p.sync(), "S", "Sync")

    def flushed(self):
        """Messages and a Flush, answered before anything else is sent; the Sync is a later step."""
        step = Step()
        for _ in range(self.rng.randint(1, 3)):
            self._extended(step)
        return step.add(p.flush(), None, "Flush")

    def sync_only(self):
        return Step().add(p.sync(), "S", "Sync")

    def _extended(self, step):
        rng, name, portal = self.rng, self.rng.choice(NAMES), self.rng.choice(PORTALS)
        kind = rng.choices(
            ["whole", "parse", "run", "params", "portal", "describe", "close", "broken", "large"],
            [40, 8, 20, 15, 10, 5, 8, 2, 2],
        )[0]
        if kind == "whole":
            sql = self.batched()
            self._parse(step, "", sql)
            # Some rows only of what writes nothing (docs/deviations.md 13).
            self._run(step, "", "", rows=rng.choice([0, 1, 4]) if sql.startswith("SELECT") else 0)
        elif kind == "parse":
            self._parse(step, name, self.batched())
        elif kind == "run":
            self._run(step, name, portal)
        elif kind == "params":
            self._with_parameters(step, name, portal)
        elif kind == "portal":
            self._run(step, name, portal, describe=False)
            self._execute(step, portal)
        elif kind == "describe":
            self._describe(step, name, portal)
        elif kind == "broken":
            self._broken(step)
        elif kind == "large":
            self._large(step, rng.choice(NAMES + ("never",)))
        else:
            what, which = rng.choice([("S", name), ("P", portal)])
            step.add(p.close(what, which), "C", f"Close {what} {which!r}")

    def _describe(self, step, name, portal):
        """Of a portal with a name: a failed Query may have left the unnamed one (docs/deviations.md 2).
        Of a statement that this server has just parsed: to prepare it again takes a snapshot, and
        an isolation level cannot be set any more (13)."""
        if portal and self.rng.random() < 0.5:
            step.add(p.describe("P", portal), "DP", f"Describe P {portal!r}")
            return
        step.add(p.close("S", name), "C", f"Close S {name!r}")
        self._parse(step, name, self.batched())
        step.add(p.describe("S", name), "DS", f"Describe S {name!r}")

    def _broken(self, step):
        """A message whose body is not what its type promises: an error, up to the Sync."""
        kind, wait, body = self.rng.choice([
            ("P", "P", b"n"), ("P", "P", b"n\0SELECT 1\0"), ("B", "B", b""), ("B", "B", b"\0n"),
            ("B", "B", b"\0never\0\0\0\0\1\0\0\0\x09abc"), ("D", "DS", b""), ("D", "DS", b"Xn\0"),
            ("D", "DS", b"Sn\0more"), ("E", "E", b""), ("E", "E", b"\0"),
            ("E", "E", b"\0\0\0\0\0\0"), ("C", "C", b""), ("C", "C", b"Xn\0"), ("C", "C", b"Sn"),
        ])
        step.add(p.message(kind, body), wait, f"broken {kind} {body}")

    def _large(self, step, name):
        """A value that comes in pieces, and is full of messages that nobody may read as such."""
        if name not in ("", "never"):
            step.add(p.close("S", name), "C", f"Close S {name!r}")
            self._parse(step, name, "SELECT length($1::text)")
        value = (p.query("DELETE FROM item").replace(b"\0", b"x") + b"\x01") * \
            self.rng.choice([300, 1000, 5000])
        step.add(p.bind("", name, [value]), "B", f"Bind '' {name!r} large")
        self._execute(step, "")

    def _parse(self, step, name, sql):
        step.add(p.parse(name, sql), "P", f"Parse {name!r} {sql}")

    def _run(self, step, name, portal, describe=True, values=(), rows=0):
        step.add(p.bind(portal, name, values), "B", f"Bind {portal!r} {name!r} {list(values)}")
        if describe and self.rng.random() < 0.5:
            step.add(p.describe("P", portal), "DP", f"Describe P {portal!r}")
        self._execute(step, portal, rows)

    def _execute(self, step, portal, rows=0):
        step.add(p.execute(portal, rows), "E", f"Execute {portal!r} {rows}")

    def _with_parameters(self, step, name, portal):
        item = self.item_id()
        sql, values = self.rng.choice([
            ("SELECT id, tenant_id, name FROM item WHERE id = $1", [item]),
            ("SELECT $1::text, $2::int", ["a'b;c", None]),
            ("INSERT INTO item VALUES ($1, $2, $3, $4)", [item, self.tenant, "bound", 7]),
            ("UPDATE item SET name = $2 WHERE id = $1 RETURNING tenant_id", [item, "again"]),
            ("SELECT 10 / $1::int", [self.rng.choice([0, 5])]),
            ("SELECT $1::int", ["not a number"]),
        ])
        self._parse(step, name, sql)
        if self.rng.random() < 0.3:
            step.add(p.describe("S", name), "DS", f"Describe S {name!r}")
        self._run(step, name, portal, values=values)

    def copy_in(self):
        """COPY FROM STDIN in one go: rows, or an error at any place of it."""
        rng, step = self.rng, Step()
        # RLS refuses COPY FROM; the tables without it are per tenant by their ids.
        sql = rng.choice(["COPY bulk (id, body) FROM STDIN"] * 5 + ["COPY item FROM STDIN"])
        extended = rng.random() < 0.4
        if extended:
            self._parse(step, "", sql)
            step.add(p.bind("", ""), "B", "Bind").add(p.execute(), "E", "Execute")
        else:
            step.add(p.query(sql), None, f"Query {sql}")
        ids = [self.tenant * 1000000 + self.item_id() for _ in range(rng.randint(0, 4))]
        lines = [f"{item}\tcopied" for item in ids]
        if rng.random() < 0.2:
            lines.insert(rng.randint(0, len(lines)), "not a number\tx")
        for line in lines:
            step.add(p.copy_data(line + "\n"), None, f"CopyData {line}")
        if rng.random() < 0.8:
            step.add(p.copy_done(), None, "CopyDone")
        else:
            step.add(p.copy_fail("no more"), None, "CopyFail")
        if extended:
            step.add(p.sync(), "S", "Sync")
            # No later Bind may start this COPY again: what follows then would be no CopyData, and
            # PostgreSQL gives such a connection up. Parse drops the old one even when it fails.
            self._parse(step, "", "SELECT 'instead of COPY'")
            return step.add(p.sync(), "S", "Sync")
        step.waits.append("Q")
        return step

    def copy_out(self):
        sql = (f"COPY (SELECT id, tenant_id, name FROM item WHERE {self.mine()} ORDER BY id)"
               " TO STDOUT")
        step = Step()
        if self.rng.random() < 0.5:
            return step.add(p.query(sql), "Q", f"Query {sql}")
        self._parse(step, "", sql)
        self._run(step, "", "")
        return step.add(p.sync(), "S", "Sync")

    # ---- whole scripts ----

    def as_step(self, sql):
        """One statement as a driver sends it: simple, extended, or prepared under a name."""
        how = self.rng.choices(["simple", "extended", "named"], [5, 4, 1])[0]
        if how == "simple":
            return Step().add(p.query(sql), "Q", f"Query {sql}")
        step, name = Step(), "" if how == "extended" else "tx"
        if name:
            step.add(p.close("S", name), "C", f"Close S {name!r}")
        self._parse(step, name, sql)
        step.add(p.bind("", name), "B", f"Bind '' {name!r}").add(p.execute(), "E", "Execute '' 0")
        return step.add(p.sync(), "S", "Sync")

    def transaction(self):
        """A transaction as an application writes it: savepoints, an error undone, an end."""
        rng = self.rng
        begin = rng.choice(["BEGIN", "START TRANSACTION", "BEGIN ISOLATION LEVEL REPEATABLE READ",
                            "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"])
        sqls = ["BEGIN" if self.sets else begin]
        if rng.random() < 0.2 and not self.sets:
            sqls += ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"]
        for _ in range(rng.randint(1, 4)):
            part = rng.choices(["plain", "savepoint", "undone", "cursor", "local", "setting"],
                               [10, 3, 4, 2, 1, 4 if self.sets else 0])[0]
            if part == "plain":
                sqls += [rng.choice([self.select, self.write])()]
            elif part == "savepoint":
                sqls += ["SAVEPOINT a", self.write(), "RELEASE a", self.select()]
            elif part == "undone":
                sqls += ["SAVEPOINT b", rng.choice([self.failing, self.write])(), self.select(),
                         "ROLLBACK TO b", self.select()]
            elif part == "setting":
                sqls += ["SAVEPOINT s", self.setting(), self.setting(),
                         rng.choice(["ROLLBACK TO s", "RELEASE s", self.setting()])]
            elif part == "cursor":
                sqls += [f"DECLARE c CURSOR FOR SELECT id, tenant_id, name FROM item"
                         f" WHERE {self.mine()} ORDER BY id", "FETCH 3 FROM c", self.select(),
                         "FETCH ALL FROM c", "CLOSE c"]
            else:
                sqls += ["SET LOCAL work_mem = '5MB'", "SHOW work_mem"]
        end = rng.choice(["COMMIT", "COMMIT", "END", "ROLLBACK", "COMMIT AND CHAIN",
                          "ROLLBACK AND CHAIN"])
        sqls += [end] + ([self.select(), "COMMIT"] if "CHAIN" in end else [])
        return self._packed(sqls)

    def _packed(self, sqls):
        """The statements one a step, or now and then several in one string or one packet."""
        how = self.rng.random()
        if how < 0.15:
            return [Step().add(p.query("; ".join(sqls)), "Q", f"Query {'; '.join(sqls)}")]
        steps = [self.as_step(sql) for sql in sqls]
        if how < 0.3:
            whole = Step()
            for step in steps:
                whole.parts += step.parts
                whole.waits += step.waits
                whole.shown += step.shown
            return [whole]
        return steps

    def steps(self, count):
        """About count steps; whatever went wrong is rolled back soon, so that work goes on."""
        # On a shared connection nobody can tell a setting that was never made from an empty one.
        out = [Step().add(p.query(f"SET {name} = ''"), "Q", f"Query SET {name} = ''")
               for name in ("my.a", "my.b")]
        while len(out) < count:
            make = self.rng.choices(
                [self.simple, self.batch, self.pipelined, self.flushed, self.copy_in, self.copy_out,
                 self.transaction],
                [25, 25, 8, 6, 6, 4, 12],
            )[0]
            made = make()
            out += made if isinstance(made, list) else [made]
            if make == self.flushed:
                for _ in range(self.rng.randint(0, 2)):
                    out.append(self.flushed())
                out.append(self.sync_only())
            if self.rng.random() < 0.25:
                out.append(self.as_step(self.rng.choice(["ROLLBACK", "COMMIT"])))
        return out
