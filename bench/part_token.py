"""Part f: what a change of token costs in a connection. Twenty connections, as an ORM's pool has,
serve a thousand tenants by SET usher.token; beside it a query that PgUsher answers by itself as
well, an empty one, for what a round trip alone costs."""

import itertools
import selectors
import socket
import struct

from scene import BenchError, DATABASE, note
from tables import spread, table, verdict

CONNECTIONS, TENANTS = 20, 1000
RUNS = 10000  # statements a connection


def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def query(text):
    return message(b"Q", text.encode() + b"\0")


class Pool:
    """Logged-in connections, each with one statement under way at a time."""

    def __init__(self, port, token):
        self.sockets = [self._login(port, token) for _ in range(CONNECTIONS)]

    @staticmethod
    def _login(port, token):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = struct.pack("!i", 196608)
        for word in ("user", "app", "database", DATABASE, ""):
            body += word.encode() + b"\0"
        sock.sendall(struct.pack("!i", len(body) + 4) + body
                     + message(b"p", token.encode() + b"\0"))
        Pool._until_ready(sock, b"")
        return sock

    @staticmethod
    def _until_ready(sock, seen):
        while not seen.endswith(b"Z\0\0\0\5I"):
            got = sock.recv(65536)
            if not got or (seen + got)[:1] == b"E":
                raise BenchError(f"part f: {(seen + got)[:200]!r}")
            seen += got
        return seen

    def run(self, statements, count):
        """count statements on each connection, all connections busy."""
        left = dict.fromkeys(self.sockets, count)
        with selectors.DefaultSelector() as selector:
            for sock in self.sockets:
                selector.register(sock, selectors.EVENT_READ)
                sock.sendall(next(statements))
            while left:
                for key, _ in selector.select():
                    self._until_ready(key.fileobj, b"")
                    left[key.fileobj] -= 1
                    if left[key.fileobj] > 0:
                        key.fileobj.sendall(next(statements))
                    else:
                        del left[key.fileobj]
                        selector.unregister(key.fileobj)

    def close(self):
        for sock in self.sockets:
            sock.close()


class TokenPart:
    def __init__(self, scene, load, rounds):
        self.scene, self.load, self.rounds = scene, load, rounds
        self.costs = {"SET usher.token": [], "empty query": []}

    def run(self):
        path = self.scene.keys.mint("HS256", TENANTS, f"{self.scene.folder}/tenants.txt",
                                    tenants=True)
        with open(path, encoding="utf-8") as file:
            tokens = file.read().split()
        sets = itertools.cycle([query(f"SET usher.token = '{token}'") for token in tokens])
        with self.load.fresh("usher", 20) as proxy:
            pool = Pool(proxy.port, tokens[0])
            pool.run(sets, 2 * TENANTS // CONNECTIONS)  # every worker has seen every token
            for number in range(self.rounds):
                note(f"f: round {number + 1} of {self.rounds}")
                for what, statements in (("SET usher.token", sets),
                                         ("empty query", itertools.repeat(query("")))):
                    before = proxy.cpu_s()
                    pool.run(statements, RUNS)
                    spent = proxy.cpu_s() - before
                    self.costs[what].append(spent * 1e6 / (RUNS * CONNECTIONS))
            pool.close()

    def report(self):
        change = [a - b for a, b in zip(*self.costs.values())]
        rows = [[what, spread(values, "{:.1f}"), ""] for what, values in self.costs.items()]
        rows.append(["the change itself", spread(change, "{:.1f}"), verdict("f", change)])
        print(f"\n(f) Processor time of a statement, {CONNECTIONS} connections, {TENANTS:,} tenants\n")
        print(table(["statement", "PgUsher µs", "target"], rows))
