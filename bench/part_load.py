"""Parts c, d and e: what bench/load.c does to both proxies, each time to fresh processes.

(c) resident bytes of an idle logged-in client; (d) logins a second; (e) many clients that all send
at once. Where the clients do not fit into the descriptors of one process, two share a port.
"""

import collections
import contextlib
import json
import subprocess

from scene import BenchError, DATABASE, built, descriptor_limit, note
from tables import ratios, spread, table, verdict

IDLE = (1000, 10000, 20000)
# Name, TLS, and whether each client has a token of its own (PgBouncer's have one password).
IDLE_KINDS = (("plain", False, False), ("plain, own tokens", False, True), ("TLS", True, False))
MANY, SERVERS = 20000, 200
LOGIN_CLIENTS = 32
# A second, more than can be: so many tokens are made, so that none comes twice.
LOGINS_MAX = {"HS256": 40000, "RS256": 40000}
WHO = ("usher", "bouncer")
SELECT = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711"
LOGIN_KINDS = {"repeated": "the same token", "HS256": "distinct tokens, HS256",
               "RS256": "distinct tokens, RS256"}


class Load:
    """A run of the load generator against a proxy."""

    def __init__(self, proxy, mode, secrets_file=None, tls=False, **options):
        self.proxy = proxy
        self.command = [built("load"), "--mode", mode, "--port", str(proxy.port), "--database",
                        DATABASE, "--secrets", secrets_file or proxy.secrets_file]
        self.command += ["--tls"] if tls else []
        for name, value in options.items():
            self.command += [f"--{name.replace('_', '-')}", str(value)]

    def run(self, timeout=600):
        done = subprocess.run(self.command, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, start_new_session=True, check=False)
        self.proxy.must_live()
        if done.returncode:
            raise BenchError(f"{' '.join(self.command)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def held(self):
        """Mode idle: all clients stay until the block ends."""
        process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   text=True, start_new_session=True)
        try:
            yield json.loads(process.stdout.readline() or "{}")
        finally:
            process.stdin.close()
            process.wait(60)
            process.stdout.close()
        self.proxy.must_live()


def processes_for(clients):
    """Of a proxy, so that each has descriptors for its share, unevenly dealt, and its servers."""
    return 1 if clients < descriptor_limit() * 9 // 10 else 2


class LoadParts:
    def __init__(self, scene, seconds, rounds, parts):
        self.scene, self.seconds, self.rounds, self.parts = scene, seconds, rounds, parts
        self.idle = {}
        self.logins = collections.defaultdict(list)
        self.many = collections.defaultdict(list)

    @contextlib.contextmanager
    def fresh(self, who, servers, processes=1, auth="trust"):
        """A proxy of the measurement's own, and PostgreSQL free again behind it."""
        with contextlib.ExitStack() as stack:
            yield self.scene.start(who, stack, servers, processes, auth)
        self.scene.cluster.wait_unused()

    # ---- c ----

    def idle_bytes(self, who, clients, tls, secrets_file):
        """The first clients pay for what all share (pools, caches), so they are not counted."""
        with self.fresh(who, 20, processes_for(clients)) as proxy:
            Load(proxy, "send", clients=40, count=1, sql=SELECT, tls=tls).run()
            before = proxy.rss_bytes()
            load = Load(proxy, "idle", secrets_file, tls, clients=clients, sources=4)
            with load.held() as line:
                if line.get("logged_in") != clients:
                    raise BenchError(f"{proxy.name}: not all clients are logged in: {line}")
                return (proxy.rss_bytes() - before) / clients

    def part_c(self):
        tokens = self.scene.keys.mint("HS256", max(IDLE), f"{self.scene.folder}/idle.txt")
        for word, tls, own in IDLE_KINDS:
            for clients in IDLE:
                note(f"c: {clients} idle clients, {word}")
                mine = self.idle_bytes("usher", clients, tls, tokens if own else None)
                theirs = self.idle["plain", clients][1] if own else self.idle_bytes(
                    "bouncer", clients, tls, None)
                self.idle[word, clients] = mine, theirs

    def report_c(self):
        rows = []
        for (word, clients), (mine, theirs) in self.idle.items():
            rows.append([word, f"{clients:,}", f"{mine:,.0f}", f"{theirs:,.0f}",
                         f"{mine / theirs:.2f}", verdict(f"c {word}", [mine])])
        print("\n(c) Resident bytes of an idle logged-in client\n")
        print(table(["client side", "clients", "PgUsher", "PgBouncer", "ratio", "target"], rows))

    # ---- d ----

    def secrets(self, kind):
        if kind == "repeated":
            return None
        path = f"{self.scene.folder}/{kind}.txt"
        with contextlib.suppress(FileExistsError):
            open(path, "x", encoding="utf-8").close()
            note(f"d: making tokens, {kind}")
            self.scene.keys.mint(kind, LOGINS_MAX[kind] * self.seconds, path)
        return path

    def login_rate(self, who, kind, tls):
        with self.fresh(who, 20, auth="scram-sha-256") as proxy:
            Load(proxy, "send", clients=4, count=1, sql=SELECT, tls=tls).run()
            line = Load(proxy, "logins", self.secrets(kind), tls, clients=LOGIN_CLIENTS,
                        seconds=self.seconds, sources=16, processes=1).run()
        if line["login_errors"]:
            raise BenchError(f"{proxy.name}: logins failed: {line}")
        if kind != "repeated" and line["answers"] > LOGINS_MAX[kind] * self.seconds:
            raise BenchError(f"{proxy.name}: {line['answers']} logins, tokens came twice")
        return line["per_second"]

    def part_d(self):
        for number in range(self.rounds):
            note(f"d: logins, round {number + 1} of {self.rounds}")
            for tls in (False, True):
                for kind in LOGIN_KINDS:
                    self.logins["usher", kind, tls].append(self.login_rate("usher", kind, tls))
                self.logins["bouncer", tls].append(self.login_rate("bouncer", "repeated", tls))

    def report_d(self):
        rows = []
        for tls in (False, True):
            theirs = self.logins["bouncer", tls]
            for kind, words in LOGIN_KINDS.items():
                mine = self.logins["usher", kind, tls]
                quotients = ratios(mine, theirs)
                word = "TLS" if tls else "plain"
                rows.append([word, words, spread(mine, "{:,.0f}"), spread(theirs, "{:,.0f}"),
                             spread(quotients, "{:.2f}"), verdict(f"d {word} {kind}", quotients)])
        print(f"\n(d) Logins a second, {LOGIN_CLIENTS} at once, PgBouncer with SCRAM-SHA-256\n")
        print(table(["client side", "PgUsher's login", "PgUsher", "PgBouncer", "ratio", "target"],
                    rows))

    # ---- e ----

    def part_e(self):
        for number in range(self.rounds):
            note(f"e: {MANY} clients that all send, round {number + 1} of {self.rounds}")
            for who in WHO:
                with self.fresh(who, SERVERS, processes_for(MANY)) as proxy:
                    line = Load(proxy, "send", clients=MANY, sources=4, seconds=self.seconds,
                                processes=2, sql=SELECT).run()
                self.many[who].append(line)

    def report_e(self):
        fields = (("logins failed", "login_errors", "{:,.0f}"), ("errors", "errors", "{:,.0f}"),
                  ("unanswered", "unanswered", "{:,.0f}"), ("tps", "per_second", "{:,.0f}"),
                  ("p50 µs", "p50_us", "{:,.0f}"), ("p95 µs", "p95_us", "{:,.0f}"),
                  ("p99 µs", "p99_us", "{:,.0f}"), ("max µs", "max_us", "{:,.0f}"))
        rows = []
        for word, field, form in fields:
            mine, theirs = ([line[field] for line in self.many[who]] for who in WHO)
            key = "e errors" if field in ("login_errors", "errors", "unanswered") else f"e {field}"
            judged = mine if key == "e errors" else ratios(mine, theirs)
            rows.append([word, spread(mine, form), spread(theirs, form),
                         spread(ratios(mine, theirs), "{:.2f}"), verdict(key, judged)])
        print(f"\n(e) {MANY:,} clients that all send a SELECT in a loop, over {SERVERS} servers, "
              f"{processes_for(MANY)} processes of each\nproxy; PgUsher with tenant context\n")
        print(table(["", "PgUsher", "PgBouncer", "ratio", "target"], rows))

    # ---- all ----

    def run(self):
        for part in "cde":
            if part in self.parts:
                getattr(self, f"part_{part}")()

    def report(self):
        for part in "cde":
            if part in self.parts:
                getattr(self, f"report_{part}")()
