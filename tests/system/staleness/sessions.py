"""The clients of the checker: writers that never stop, and readers of every kind that judge.

All of them run on one event loop in a thread of its own, so that the test itself can block while
it harms the cluster. A session that loses its connection logs in again; errors are counted, never
judged: the promise is about answers.
"""

import asyncio
import collections
import itertools
import random
import threading
import time

from pgproto import query
from staleness.journal import STRONG
from staleness.wire import Client, Gone, Refused, extended

DBNAME = "eav"
BUSY, QUIET = (123, 456), 789
TENANTS = (*BUSY, QUIET)
# Rows of a tenant: the one that is written all the time, and the one of the session that reads it.
SHARED, OWN = 1, 2
# And one for each session of the mix.
MIXED, ROWS = 3, 100
# The last one given out for each row; they rise on through all tests.
NUMBERS = collections.Counter()
PAUSE = 0.002
DEFAULT_MAX_LAG = 5.0
RETRY = 0.05

TABLE = """
CREATE TABLE staleness_mark (
    tenant_id bigint NOT NULL,
    id bigint NOT NULL,
    n bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, id)
);
ALTER TABLE staleness_mark ENABLE ROW LEVEL SECURITY;
ALTER TABLE staleness_mark FORCE ROW LEVEL SECURITY;
CREATE POLICY staleness_tenant ON staleness_mark
    USING (tenant_id = NULLIF(current_setting('app.current_tenant_id', true), '')::bigint);
GRANT SELECT, UPDATE ON staleness_mark TO app;
-- Where a row was read, by the node's own word. A user's STABLE function may run on a replica.
CREATE FUNCTION staleness_node() RETURNS text STABLE LANGUAGE sql
    AS $$ SELECT current_setting('cluster_name') $$;
-- Writes that do not look like any.
CREATE FUNCTION staleness_put(p_id bigint, p_n bigint) RETURNS bigint VOLATILE LANGUAGE sql AS $$
    UPDATE staleness_mark SET n = p_n, at = clock_timestamp()
        WHERE id = p_id AND n < p_n RETURNING n $$;
CREATE PROCEDURE staleness_call(p_id bigint, p_n bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE staleness_mark SET n = p_n, at = clock_timestamp() WHERE id = p_id AND n < p_n;
    COMMIT;
END $$;
INSERT INTO staleness_mark SELECT t, i, 0
    FROM unnest(ARRAY[{tenants}]) t, generate_series(1, {rows}) i;
""".format(tenants=",".join(map(str, TENANTS)), rows=ROWS)


def select(row_id, hint=""):
    return f"{hint}SELECT n, at, staleness_node() FROM staleness_mark WHERE id = {row_id}"


def update(row_id, number):
    return (f"UPDATE staleness_mark SET n = {number}, at = clock_timestamp()"
            f" WHERE id = {row_id} AND n < {number}")


# From the UPDATE, its row and its number to the messages that are sent one after the other.
WAYS_TO_WRITE = (
    lambda sql, *_: [query(sql)],
    lambda sql, *_: [extended(sql)],
    lambda sql, *_: [query("BEGIN"), query(sql), query("COMMIT")],
    lambda sql, *_: [query("BEGIN"), extended(sql), query("SELECT 1"), query("COMMIT")],
    lambda sql, *_: [query(f"BEGIN; {sql}; COMMIT; SELECT 1")],
    lambda sql, *_: [query(f"WITH written AS ({sql} RETURNING n) SELECT n FROM written")],
    lambda _, row_id, number: [query(f"SELECT staleness_put({row_id}, {number})")],
    lambda _, row_id, number: [query(f"CALL staleness_call({row_id}, {number})")],
)


class Session:
    """A client that logs in again when it must. `settings` are sent behind each login, `hint`
    stands in front of each SELECT."""

    def __init__(self, load, tenant, settings=(), hint=""):
        self.load, self.tenant, self.settings, self.hint = load, tenant, settings, hint
        self.client = None
        self.judged = 0

    def __repr__(self):
        return f"{type(self).__name__} of tenant {self.tenant} ({', '.join(self.settings)}{self.hint})"

    async def live(self):
        while True:
            try:
                if self.client is None:
                    self.client = await self.load.login(self.tenant)
                    for setting in self.settings:
                        await self.client.simple(setting)
                await self.turn()
            except (Gone, Refused) as error:
                self.load.judge.error(getattr(error, "code", None) or "gone")
                self.drop()
                await asyncio.sleep(RETRY)

    def drop(self):
        if self.client:
            self.client.close()
        self.client = None

    async def turn(self):
        raise NotImplementedError

    async def write(self, row_id):
        """Puts the next number and the primary's clock into the row, in one of the ways that there
        are to write."""
        number = self.load.next_number((self.tenant, row_id))
        for message in random.choice(WAYS_TO_WRITE)(update(row_id, number), row_id, number):
            await self.client.run(message)
        self.wrote(row_id, number)

    def wrote(self, row_id, number):
        self.load.judge.journal.acknowledge((self.tenant, row_id), number, time.monotonic())

    async def read(self, kind, budget, row_id, message):
        sent = time.monotonic()
        self.verdict(kind, budget, row_id, await self.client.run(message), sent)

    def verdict(self, kind, budget, row_id, rows, sent):
        shown, node = (int(rows[0][0]), rows[0][2].decode()) if rows else (-1, "unknown")
        self.judged += 1
        told = self.client.parameters
        self.load.judge.told((self.tenant, row_id), shown, sent, node,
                             told.get("usher.data_source"),
                             float(told.get("usher.data_lag_seconds", "inf")))
        self.load.judge.read(kind, budget, (self.tenant, row_id), shown, sent, node,
                             node != self.load.primary)


class Writer(Session):
    def __init__(self, load, tenant, pause):
        super().__init__(load, tenant)
        self.pause = pause

    async def turn(self):
        await self.write(SHARED)
        await asyncio.sleep(random.uniform(0, 2 * self.pause))


class BySetting(Session):
    """SET usher.max_lag, then statements as they are."""

    def __init__(self, load, tenant, budget):
        super().__init__(load, tenant, ["SET usher.consistency = 'bounded'",
                                        f"SET usher.max_lag = '{budget * 1000:.0f}ms'"])
        self.budget = budget

    async def turn(self):
        await self.read("max_lag by SET", self.budget, SHARED, query(select(SHARED)))
        await asyncio.sleep(PAUSE)


class Strong(Session):
    def __init__(self, load, tenant):
        super().__init__(load, tenant, hint="/*consistency='strong'*/ ")

    async def turn(self):
        await self.read("strong", STRONG, SHARED, query(select(SHARED, self.hint)))
        await asyncio.sleep(PAUSE)


class ByHint(Session):
    """Another budget with each statement, by both protocols."""

    async def turn(self):
        budget = random.choice(self.load.budgets)
        sql = select(SHARED, f"/*max_lag='{budget * 1000:.0f}ms'*/ ")
        message = random.choice((query, extended))(sql)
        await self.read("max_lag by comment", budget, SHARED, message)
        await asyncio.sleep(PAUSE)


class InTransaction(BySetting):
    """BEGIN READ ONLY: all of it on one node, judged by when it began."""

    async def turn(self):
        sent = time.monotonic()
        isolation = random.choice(("", "ISOLATION LEVEL REPEATABLE READ "))
        await self.client.simple(f"BEGIN {isolation}READ ONLY")
        for _ in range(2):
            rows = await self.client.simple(select(SHARED))
            self.verdict("read-only transaction", self.budget, SHARED, rows, sent)
        await self.client.simple("COMMIT")
        await asyncio.sleep(PAUSE)


class OwnWrites(Session):
    """Writes, then reads until replicas may serve it again; whatever their lag, never less."""

    def __init__(self, load, tenant):
        super().__init__(load, tenant,
                         hint="/*consistency='eventual',read_your_writes='session'*/ ")

    async def write_and_read(self):
        """Both in one go: the read is behind the write for whoever sent them."""
        number = self.load.next_number((self.tenant, OWN))
        message = extended(update(OWN, number)) + extended(select(OWN, self.hint))
        rows = await self.client.run(message, ready=2)
        self.wrote(OWN, number)
        self.verdict("own write, pipelined", STRONG, OWN, rows, time.monotonic())

    async def turn(self):
        if random.randrange(3):
            await self.write(OWN)
        else:
            await self.write_and_read()
        until = time.monotonic() + random.uniform(0, 0.6)
        while time.monotonic() < until:
            await self.read("own write, session", STRONG, OWN,
                            query(select(OWN, self.hint)))
            await asyncio.sleep(PAUSE)


class TenantWrites(Session):
    """Reads what another session of its tenant writes now and then."""

    def __init__(self, load, tenant):
        super().__init__(load, tenant,
                         hint="/*consistency='eventual',read_your_writes='tenant'*/ ")

    async def turn(self):
        await self.read("own write, tenant", STRONG, SHARED,
                        query(select(SHARED, self.hint)))
        await asyncio.sleep(PAUSE)


class QuietWriter(Writer):
    def __init__(self, load, tenant):
        super().__init__(load, tenant, 0.25)


class Mixed(Session):
    """An application's session with all defaults: one statement in twenty writes."""

    def __init__(self, load, tenant, row_id):
        super().__init__(load, tenant)
        self.row_id = row_id

    async def turn(self):
        if random.randrange(20) == 0:
            await self.write(self.row_id)
        else:
            await self.read("read-mostly mix", DEFAULT_MAX_LAG, self.row_id,
                            query(select(self.row_id)))
        await asyncio.sleep(random.uniform(0, 0.2))


class Load:
    """All sessions against one proxy, from `with` to its end."""

    def __init__(self, proxy, judge, budgets, primary="primary"):
        self.proxy, self.judge, self.budgets, self.primary = proxy, judge, budgets, primary
        self.tokens = {t: proxy.keys.token(t) for t in TENANTS}
        self.sessions = self.make_sessions()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.loop = self.failure = self.stopping = None

    def make_sessions(self):
        budgets, (first, second) = self.budgets, BUSY
        return [
            Writer(self, first, 0.003), Writer(self, second, 0.003), QuietWriter(self, QUIET),
            *(BySetting(self, first, budget) for budget in budgets),
            ByHint(self, second), ByHint(self, first), Strong(self, second),
            InTransaction(self, second, budgets[-2]), InTransaction(self, first, budgets[0]),
            OwnWrites(self, first), OwnWrites(self, second),
            TenantWrites(self, QUIET), TenantWrites(self, QUIET),
        ]

    @property
    def readers(self):
        return [s for s in self.sessions if not isinstance(s, Writer)]

    @staticmethod
    def next_number(row):
        NUMBERS[row] += 1
        return NUMBERS[row]

    async def login(self, tenant):
        return await Client.login(self.proxy.address, "app", DBNAME, self.tokens[tenant])

    def must_live(self):
        if self.failure:
            raise self.failure

    def _run(self):
        try:
            asyncio.run(self._live())
        except BaseException as error:  # pylint: disable=broad-except
            self.failure = error

    async def _live(self):
        self.loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        tasks = [asyncio.create_task(s.live()) for s in self.sessions]
        stop = asyncio.create_task(self.stopping.wait())
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for session in self.sessions:
            session.drop()
        for task in done:
            task.result()

    def __enter__(self):
        now = time.monotonic()
        for tenant, row_id in itertools.product(TENANTS, range(1, ROWS + 1)):
            self.judge.journal.acknowledge((tenant, row_id), 0, now)
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        if self.loop and self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join(30)
        if kind is None:
            self.must_live()


class MixLoad(Load):
    def make_sessions(self):
        return [Mixed(self, BUSY[i % 2], i) for i in range(MIXED, MIXED + 40)]
