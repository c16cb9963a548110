"""An admin client of the tests', and the options that let it in."""

from pgproto import Connection, errors_of, rows_of, tags_of

CONSOLE = {"admin_users": "dba, other_dba", "stats_users": "monitoring"}


class Console:
    """An admin client by hand: rows as dicts, whatever the worker."""

    def __init__(self, proxy, role="dba", dbname="pgusher", token=None, address=None):
        token = token if token is not None else proxy.keys.token(None, role=role)
        self.conn = Connection.connect(address or proxy.address, role, dbname, token)

    def run(self, sql):
        return self.conn.simple(sql)

    def show(self, what):
        """SHOW's rows as dicts."""
        replies = self.run(f"SHOW {what}")
        names = next(m.columns() for m in replies if m.type == "T")
        return [dict(zip(names, row)) for row in rows_of(replies)]

    def do(self, sql):
        """The command's tag; an error raises PgError."""
        replies = self.run(sql)
        rows_of(replies)
        return tags_of(replies)[0]

    def pool(self, database="eav"):
        rows = [row for row in self.show("POOLS") if row["database"] == database]
        return rows[0] if rows else {}


def error_of(run, sql):
    fields = errors_of(run(sql))
    assert len(fields) == 1, fields
    return fields[0]
