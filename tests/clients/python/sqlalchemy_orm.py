"""SQLAlchemy 2 with psycopg, or with asyncpg under asyncio (the argument): events log each new
connection in and name the tenant when a transaction begins."""

import asyncio
import os
import sys
import time

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from checks import BRIEF_S, TENANT_A, TENANT_B, ask, fetch_token, none, ok, refused

DRIVER = sys.argv[1]
URL = sa.URL.create(f"postgresql+{DRIVER}", username=os.environ["PGUSER"],
                    host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]),
                    database=os.environ["PGDATABASE"])
POOL = {"pool_size": 2, "max_overflow": 0, "pool_pre_ping": True}


# docs: begin
def with_tenants(engine):
    """For an AsyncEngine it is its sync_engine that the events belong to."""
    @sa.event.listens_for(engine, "do_connect")
    def login(dialect, record, args, params):
        params["password"] = fetch_token(TENANT_A)

    return engine


@sa.event.listens_for(Session, "after_begin")
def name_tenant(session, transaction, connection):
    if not transaction.nested:
        token = fetch_token(session.info["tenant"])  # a token has no quotes in it
        connection.exec_driver_sql(f"SET LOCAL usher.token = '{token}'")
# docs: end


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    tenant_id: Mapped[int] = mapped_column(sa.BigInteger, server_default=sa.FetchedValue())
    body: Mapped[str | None]


class Plain:
    """How the checks use an engine."""

    def __init__(self):
        self.engine = with_tenants(sa.create_engine(URL, **POOL))

    def run(self, tenant, work):
        with Session(self.engine, info={"tenant": tenant}) as session, session.begin():
            return work(session)

    def connection(self, token):
        return sa.create_engine(URL.set(password=token), poolclass=sa.StaticPool)

    def execute(self, engine, text):
        with engine.connect() as conn:
            result = conn.exec_driver_sql(text)
            return result.fetchall() if result.returns_rows else []


class Async:
    """The same under asyncio: the checks are run by run_sync."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.engine = create_async_engine(URL, **POOL)
        with_tenants(self.engine.sync_engine)

    def run(self, tenant, work):
        async def task():
            async with AsyncSession(self.engine, info={"tenant": tenant}) as session:
                async with session.begin():
                    return await session.run_sync(work)
        return self.loop.run_until_complete(task())

    def connection(self, token):
        return create_async_engine(URL.set(password=token), poolclass=sa.StaticPool)

    def execute(self, engine, text):
        async def task():
            async with engine.connect() as conn:
                result = await conn.exec_driver_sql(text)
                return result.fetchall() if result.returns_rows else []
        return self.loop.run_until_complete(task())


db = Async() if DRIVER == "asyncpg" else Plain()


def bodies(session):
    return list(session.scalars(sa.select(Note.body).order_by(Note.id)))


def message(error):
    return str(error.orig).splitlines()[0]


def check_login():
    error = refused(lambda: db.execute(db.connection("no.token.this"), "SELECT 1"), Exception)
    assert "well-formed" in str(error), error
    user = db.run(TENANT_A, lambda session: session.scalar(sa.text("SELECT current_user")))
    assert user == os.environ["PGUSER"]
    # What a tool of an application asks when it starts.
    tables = db.run(TENANT_A, lambda s: sa.inspect(s.connection()).get_columns("note"))
    assert [column["name"] for column in tables] == ["id", "tenant_id", "body"]
    ok("login", "and the Inspector")


def check_tenants():
    def crud(session):
        kept = Note(body=f"{session.info['tenant']}: 0")
        gone = Note(body="gone")
        session.add_all([kept, gone])
        session.flush()
        assert kept.tenant_id == session.info["tenant"]
        kept.body += "!"
        session.delete(gone)
    for tenant in (TENANT_A, TENANT_B):
        db.run(tenant, crud)
    for tenant in (TENANT_A, TENANT_B):
        assert db.run(tenant, bodies) == [f"{tenant}: 0!"]

    def spoof(session):
        session.add(Note(tenant_id=TENANT_A, body="spoof"))
    ok("tenants", message(refused(lambda: db.run(TENANT_B, spoof), DBAPIError)))


def check_renewal():
    brief = [db.connection(fetch_token(TENANT_A, BRIEF_S)) for _ in range(2)]
    for engine in brief:
        db.execute(engine, "SELECT 1")
    time.sleep(BRIEF_S + 1)
    db.execute(brief[0], f"SET usher.token = '{fetch_token(TENANT_A)}'")
    error = refused(lambda: db.execute(brief[1], "SELECT body FROM note"), DBAPIError)
    assert "expired" in str(error), error
    ok("renewal", message(error))


def check_prepared():
    def many(session):
        for n in range(200):
            assert session.scalar(sa.text(f"SELECT {n} + cast(:n AS int)"), {"n": n}) == 2 * n
    for _ in range(2):
        db.run(TENANT_A, many)
    ok("prepared", "as the driver does")


def check_savepoint():
    def work(session):
        session.add(Note(body="kept"))
        session.flush()

        def fails():
            with session.begin_nested():
                session.execute(sa.insert(Note).values(body=None))
        refused(fails, DBAPIError)
        rows = session.execute(sa.select(Note.body), execution_options={"yield_per": 1})
        assert "kept" in [row.body for row in rows]
    db.run(TENANT_A, work)
    assert "kept" in db.run(TENANT_A, bodies)
    ok("savepoint", "begin_nested, yield_per")


def check_batch():
    def work(session):
        session.add_all([Note(body=f"many {n}") for n in range(2500)])
        session.flush()
        session.execute(sa.update(Note), [{"id": note.id, "body": "more"}
                                          for note in session.scalars(sa.select(Note))])
        return session.scalar(sa.select(sa.func.count()).where(Note.body == "more"))
    assert db.run(TENANT_B, work) == 2501
    ok("batch", "insertmanyvalues, bulk UPDATE by primary key")


def check_cancel():
    def slow(session):
        session.execute(sa.text("SET LOCAL statement_timeout = '50ms'"))
        session.execute(sa.text("SELECT pg_sleep(60)"))
    ok("cancel", message(refused(lambda: db.run(TENANT_A, slow), DBAPIError)))


def check_restart():
    before = db.run(TENANT_A, bodies)
    ask("restart")
    assert db.run(TENANT_A, bodies) == before
    ok("restart", "pool_pre_ping")


def check_source():
    def where(session):
        node = ask("node", session.scalar(sa.text("SELECT inet_server_port()")))
        assert session.scalar(sa.text("SHOW usher.data_source")) == node
        return node
    ok("source", db.run(TENANT_A, where))


if __name__ == "__main__":
    check_login()
    check_tenants()
    check_renewal()
    check_prepared()
    check_savepoint()
    check_batch()
    none("copy", "that is the driver's")
    check_cancel()
    check_restart()
    check_source()
