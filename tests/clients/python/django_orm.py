"""Django 5: a backend of one method logs in with a token (usher_backend), and each request's
transaction names its tenant."""

import contextlib
import os
import time

import django
from django.conf import settings

from checks import BRIEF_S, TENANT_A, TENANT_B, ask, fetch_token, none, ok, refused

# docs: begin
DATABASES = {
    "default": {
        "ENGINE": "usher_backend",
        "NAME": os.environ["PGDATABASE"],
        "USER": os.environ["PGUSER"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"server_side_binding": True},
    },
}


@contextlib.contextmanager
def tenant_atomic(tenant):
    """In a middleware, around the request."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            # A token has no quotes in it, so none are escaped.
            cursor.execute(f"SET LOCAL usher.token = '{fetch_token(tenant)}'")
        yield
# docs: end

settings.configure(DATABASES=DATABASES, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
django.setup()

from django.db import DatabaseError, connection, models, reset_queries, transaction  # noqa: E402


class Note(models.Model):
    # Any db_default does: Django then writes DEFAULT, which is the table's own.
    tenant_id = models.BigIntegerField(db_default=0)
    body = models.TextField(null=True)

    class Meta:
        app_label = "notes"
        db_table = "note"
        managed = False


def bodies():
    return list(Note.objects.order_by("id").values_list("body", flat=True))


def check_login():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == (os.environ["PGUSER"],)
        names = [c.name for c in connection.introspection.get_table_description(cursor, "note")]
    assert names == ["id", "tenant_id", "body"], names
    assert "note" in connection.introspection.table_names()
    ok("login", "and the introspection of inspectdb")


def check_tenants():
    for tenant in (TENANT_A, TENANT_B):
        with tenant_atomic(tenant):
            kept = Note.objects.create(body=f"{tenant}: 0")
            Note.objects.create(body="gone").delete()
            kept.body += "!"
            kept.save(update_fields=["body"])
    for tenant in (TENANT_A, TENANT_B):
        with tenant_atomic(tenant):
            assert bodies() == [f"{tenant}: 0!"]

    def spoof():
        with tenant_atomic(TENANT_B):
            Note.objects.create(tenant_id=TENANT_A, body="spoof")
    ok("tenants", str(refused(spoof, DatabaseError)).splitlines()[0])


def check_renewal():
    with connection.cursor() as cursor:
        cursor.execute(f"SET usher.token = '{fetch_token(TENANT_A, BRIEF_S)}'")
    time.sleep(BRIEF_S + 1)
    with tenant_atomic(TENANT_A):
        assert len(bodies()) == 1
    ok("renewal", "refused: " + str(refused(bodies, DatabaseError)).splitlines()[0])
    connection.close()


def check_savepoint():
    with tenant_atomic(TENANT_A):
        Note.objects.create(body="kept")

        def fails():
            with transaction.atomic():
                Note.objects.create(body=None)
        refused(fails, DatabaseError)
        assert "kept" in bodies()
        assert len(list(Note.objects.iterator(chunk_size=1))) == 2
        assert Note.objects.select_for_update().filter(body="kept").count() == 1
    ok("savepoint", "nested atomic(), iterator(), select_for_update()")


def check_batch():
    with tenant_atomic(TENANT_B):
        made = Note.objects.bulk_create([Note(body=f"many {n}") for n in range(1000)])
        for note in made:
            note.body = "more"
        assert Note.objects.bulk_update(made, ["body"], batch_size=200) == 1000
        assert Note.objects.filter(body="more").count() == 1000
    # Outside of a transaction it is a cursor WITH HOLD, which keeps the server.
    with connection.cursor() as cursor:
        cursor.execute(f"SET usher.token = '{fetch_token(TENANT_B)}'")
    assert len(list(Note.objects.iterator(chunk_size=100))) == 1001
    ok("batch", "bulk_create, bulk_update, iterator() outside of a transaction")


def check_cancel():
    def slow():
        with tenant_atomic(TENANT_A), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '50ms'")
            cursor.execute("SELECT pg_sleep(60)")
    ok("cancel", str(refused(slow, DatabaseError)).splitlines()[0])


def check_restart():
    with tenant_atomic(TENANT_A):
        before = bodies()
    ask("restart")
    connection.close_if_unusable_or_obsolete()  # Django does it when a request begins
    with tenant_atomic(TENANT_A):
        assert bodies() == before
    ok("restart", "CONN_HEALTH_CHECKS")


def check_source():
    with tenant_atomic(TENANT_A), connection.cursor() as cursor:
        cursor.execute("SELECT inet_server_port()")
        node = ask("node", cursor.fetchone()[0])
        cursor.execute("SHOW usher.data_source")
        assert cursor.fetchone() == (node,)
    ok("source", node)


if __name__ == "__main__":
    reset_queries()
    check_login()
    check_tenants()
    check_renewal()
    none("prepared", "Django keeps no prepared statements")
    check_savepoint()
    check_batch()
    none("copy", "that is the driver's")
    check_cancel()
    check_restart()
    check_source()
