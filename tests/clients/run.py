#!/usr/bin/python3
"""Runs a short program of each driver and ORM through PgUsher; `make check-clients` calls it.

usage: run.py [--build DIR] [--list] [CLIENT]...

A program is what a user of that client would write. It gets PGHOST, PGPORT, PGUSER, PGDATABASE and
the tenants' numbers in TENANT_A and TENANT_B, prints `ok CHECK: what it saw` for each of
catalogue.CHECKS (`none CHECK: why` where the client has no such thing), and fails by its exit
status. What only the surroundings can do it asks for with a line, and reads the answer from
standard input:

    ask token TENANT [SECONDS]    a token, good for an hour or so many seconds
    ask restart                   the proxy is restarted on its port, in the answer's time
    ask node PORT                 the name of the node whose server has that port

One cluster and one proxy serve all of them: the guard as it comes (strict), few servers for many
connections, and reads that may go to the replicas, where a tenant sees what it has written.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system")]

from catalogue import CHECKS, CLIENTS, LANGUAGES  # noqa: E402
from cluster import Cluster, REPO  # noqa: E402
from proxy import Keys, Proxy  # noqa: E402

TENANT_A, TENANT_B = 123, 456
# A program that hangs; the slowest (a JVM under a sanitizer's proxy) takes half a minute.
PROGRAM_TIMEOUT_S = 120
INSTALL_TIMEOUT_S = 1200
PROBE_PASSWORD = "for the tests only"


def sections(probe_file):
    """What differs from the ini of the other system tests."""
    return {
        "pgusher": {"max_server_conn": 4},
        # A client that asks for it is told who its tokens are from.
        "oauth": {"issuer": "https://id.example.com", "scope": "openid"},
        "guard": {"mode": None},
        "database eav": {"nodes": "primary, replica1, replica2"},
        "role probe": {"password_file": probe_file, "tenant": "none"},
        "freshness": {"probe_role": "probe", "read_your_writes": "tenant"},
    }


class Skipped(Exception):
    """The client cannot be had here; says why."""


class Failed(Exception):
    """The client, or its installation, is not right; says what is wrong."""


class Installer:
    """Brings each language's packages into a folder of its own, once."""

    def __init__(self, folder):
        self.folder = folder
        self.done = {}

    def folder_of(self, name):
        """Installs the language when it is first asked for; its folder, or raises again."""
        if name not in self.done:
            try:
                self.done[name] = self._install(name)
            except (Skipped, Failed) as error:
                self.done[name] = error
        if isinstance(self.done[name], Exception):
            raise self.done[name]
        return self.done[name]

    def _install(self, name):
        language = LANGUAGES[name]
        missing = [tool for tool in language.tools if not shutil.which(tool)]
        if missing:
            raise Skipped(f"not on this machine: {', '.join(missing)}")
        folder = os.path.join(self.folder, name)
        shutil.copytree(os.path.join(HERE, name), folder, dirs_exist_ok=True)
        for argv in language.fetch:
            self._step(argv, folder, Skipped)
        for argv in language.build:
            self._step(argv, folder, Failed)
        return folder

    @staticmethod
    def _step(argv, folder, error):
        argv = [sys.executable if word == "@python" else word for word in argv]
        try:
            done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, text=True,
                                  capture_output=True, timeout=INSTALL_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise error(f"{' '.join(argv)}: not done in {INSTALL_TIMEOUT_S} s") from None
        if done.returncode == 0:
            return
        log = os.path.join(folder, "install.log")
        with open(log, "w", encoding="utf-8") as file:
            file.write(done.stdout + done.stderr)
        raise error(f"`{' '.join(argv)}` failed: {os.path.relpath(log)}")


class Program:
    """One program's run: its output, its questions and what it checked."""

    def __init__(self, proxy, argv, folder):
        self.proxy = proxy
        self.said = {}
        self.lines = []
        self.process = subprocess.Popen(
            argv, cwd=folder, env=self._environment(), text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def _environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        return {
            **env, "PGHOST": "127.0.0.1", "PGPORT": str(self.proxy.port), "PGUSER": "app",
            "PGDATABASE": "eav", "TENANT_A": str(TENANT_A), "TENANT_B": str(TENANT_B),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self):
        """To its end; raises Failed unless every check was said."""
        watchdog = threading.Timer(PROGRAM_TIMEOUT_S, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                self._hear(line.rstrip("\n"))
            status = self.process.wait()
        finally:
            watchdog.cancel()
            self.process.kill()
            self.process.wait()
        if status:
            raise Failed(f"exit status {status}:\n" + "\n".join(self.lines[-40:]))
        silent = [check for check in CHECKS if check not in self.said]
        if silent:
            raise Failed(f"said nothing of: {', '.join(silent)}")

    def _hear(self, line):
        self.lines.append(line)
        word, _, rest = line.partition(" ")
        if word in ("ok", "none"):
            check, _, detail = rest.partition(": ")
            if check not in CHECKS:
                raise Failed(f"no such check: {line}")
            self.said[check] = (word, detail)
        elif word == "ask":
            self.process.stdin.write(self._answer(rest.split()) + "\n")
            self.process.stdin.flush()

    def _answer(self, words):
        if words[0] == "token":
            if len(words) == 3:
                return self.proxy.keys.fresh_token(int(words[1]), int(words[2]))
            return self.proxy.keys.token(int(words[1]))
        if words == ["restart"]:
            self.proxy.stop()
            self.proxy.start()
            return "restarted"
        if words[0] == "node":
            ports = {str(port): name for name, port in self.proxy.cluster.ports.items()}
            return ports[words[1]]
        raise Failed(f"cannot be asked: {' '.join(words)}")


def run_client(proxy, installer, name):
    """One client's line of the report: (status, text)."""
    language, argv = CLIENTS[name]
    started = time.monotonic()
    try:
        folder = installer.folder_of(language)
        started = time.monotonic()
        proxy.cluster.sql("TRUNCATE note, import RESTART IDENTITY", dbname="eav")
        program = Program(proxy, argv, folder)
        program.run()
    except Skipped as error:
        return "skipped", str(error)
    except Failed as error:
        return "failed", str(error)
    done = [check for check in CHECKS if program.said[check][0] == "ok"]
    text = f"{', '.join(done)} ({time.monotonic() - started:.0f} s)"
    if "source" in done:
        text += f"; told: {program.said['source'][1]}"
    for check in CHECKS:
        word, why = program.said[check]
        if word == "none":
            text += f"; no {check}: {why}"
    return "passed", text


def prepare(cluster, folder):
    """The database and what the probe needs in it; the file with the probe's password."""
    cluster.deploy("eav")
    with open(os.path.join(HERE, "schema.sql"), encoding="utf-8") as file:
        cluster.superuser("eav").execute(file.read())
    if not cluster.sql("SELECT 1 FROM pg_roles WHERE rolname = 'probe'"):
        cluster.sql("CREATE ROLE probe")
    cluster.sql(f"ALTER ROLE probe LOGIN PASSWORD '{PROBE_PASSWORD}'")
    cluster.superuser("eav").execute(
        "GRANT SELECT, INSERT, UPDATE ON public.replication_heartbeat TO probe;"
        "GRANT USAGE ON SEQUENCE public.replication_heartbeat_id_seq TO probe")
    path = os.path.join(folder, "probe.password")
    with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
        file.write(PROBE_PASSWORD)
    cluster.wait_caught_up()
    return path


def run_all(names, installer):
    """Each client in its turn; how many passed, failed and were skipped."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    # Short: PostgreSQL's socket is in it.
    folder = tempfile.mkdtemp(prefix="pgusher-clients-")
    cluster = Cluster(os.path.join(folder, "pg"))
    try:
        cluster.start()
        probe_file = prepare(cluster, folder)
        with Proxy(cluster, Keys(folder), folder, sections(probe_file)) as proxy:
            for name in names:
                status, text = run_client(proxy, installer, name)
                counts[status] += 1
                print(f"client {name}: {status}: {text}", flush=True)
    finally:
        cluster.stop()
        shutil.rmtree(folder)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=os.path.join(REPO, "build", "clients"),
                        help="where the clients are installed (build/clients)")
    parser.add_argument("--list", action="store_true", help="name the clients, run nothing")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="all when none is named")
    args = parser.parse_args()
    for name in args.clients:
        if name not in CLIENTS:
            parser.error(f"no client {name}; there are: {' '.join(CLIENTS)}")
    if args.list:
        print("\n".join(CLIENTS))
        return 0
    os.makedirs(args.build, exist_ok=True)
    counts = run_all(args.clients or CLIENTS, Installer(os.path.abspath(args.build)))
    print(f"clients: {counts['passed']} passed, {counts['failed']} failed,"
          f" {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
