"""The audit log: what arrives in it, what never does, its chain, rotation, full disks, readers."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess

import pytest

import pgproto as p
from cluster import wait_until
from conftest import TENANT_A, TENANT_B
from pgproto import Connection, LoginError, codes_of, errors_of, rows_of
from proxy import Proxy, run_binary

CANARY = "canary5f1e"
ALL = "auth, guard, admin, route, statements"


class Log:
    """A proxy with an audit log, and the log read."""

    def __init__(self, make_proxy, path, events=ALL, **pgusher):
        self.path = str(path)
        self.proxy = make_proxy({
            "pgusher": {"workers": 2, "admin_users": "dba", "stats_users": "monitoring", **pgusher},
            "audit": {"file": self.path, "events": events},
        })

    def text(self, path=None):
        with open(path or self.path, encoding="utf-8") as file:
            return file.read()

    def lines(self, path=None, **wanted):
        """Records that have these values."""
        whole = self.text(path).rpartition("\n")[0]
        records = [json.loads(line) for line in whole.splitlines()]
        return [r for r in records if all(r.get(k) == v for k, v in wanted.items())]

    def wait(self, n=1, **wanted):
        """The records with these values, when there are n at least."""
        wait_until(lambda: len(self.lines(**wanted)) >= n, f"{n} records {wanted}")
        return self.lines(**wanted)

    def console(self, role="dba"):
        token = self.proxy.keys.token(None, role=role)
        return Connection.connect(self.proxy.address, role, "pgusher", token)


@pytest.fixture
def log(make_proxy, tmp_path):
    return Log(make_proxy, tmp_path / "audit.jsonl")


def verify(*args):
    return run_binary("audit", "verify", *map(str, args))


def digest_of(line):
    return hashlib.sha256(line.encode() + b"\n").hexdigest()


# ---- what arrives ------------------------------------------------------------------------------


def test_a_session_from_login_to_end(log):
    conn = log.proxy.raw(TENANT_A)
    conn.rows("SELECT 1")
    conn.terminate()
    login = log.wait(event="auth", action="login")[0]
    close = log.wait(event="auth", action="close")[0]
    for record in (login, close):
        assert record["tenant"] == str(TENANT_A)
        assert (record["role"], record["database"]) == ("app", "eav")
        assert record["client"].startswith("127.0.0.1:")
        assert re.fullmatch(r"[0-9a-f]{16}", record["session"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["time"])
    assert login["session"] == close["session"]
    assert login["outcome"] == "accepted"
    assert (close["outcome"], close["reason"]) == ("done", "client_terminate")
    assert os.stat(log.path).st_mode & 0o777 == 0o640


@pytest.mark.parametrize("secret, dbname, reason", (
    ("x.y.z", "eav", "malformed"),
    (-100, "eav", "expired"),
    (100, "nowhere", "unknown_database"),
))
def test_refused_logins(log, secret, dbname, reason):
    token = secret if isinstance(secret, str) else log.proxy.keys.fresh_token(TENANT_A, secret)
    with pytest.raises(LoginError):
        log.proxy.raw(TENANT_A, dbname, secret=token)
    record = log.wait(event="auth", action="login")[0]
    assert (record["outcome"], record["reason"]) == ("refused", reason)
    assert record["database"] == dbname


def test_changes_of_the_token(log):
    conn = log.proxy.raw(TENANT_A)
    conn.simple(f"SET usher.token = '{log.proxy.keys.token(TENANT_B)}'")
    assert codes_of(conn.simple("SET usher.token = 'no.such.token'"))
    conn.simple("BEGIN")
    conn.simple("SELECT 1")
    assert codes_of(conn.simple(f"SET usher.token = '{log.proxy.keys.token(TENANT_A)}'"))
    records = log.wait(3, event="auth", action="token")
    assert [(r["tenant"], r["outcome"], r.get("reason")) for r in records] == [
        (str(TENANT_B), "accepted", None), (str(TENANT_B), "refused", "malformed"),
        (str(TENANT_B), "refused", "transaction")]


@pytest.mark.parametrize("extended", [False, True])
def test_every_try_to_be_somebody_else(log, extended):
    """Also what fails for another reason than the token: nothing of it may go unseen."""
    set_token = f"SET usher.token = '{log.proxy.keys.token(TENANT_B)}'"
    with log.proxy.raw(TENANT_A) as conn:
        def run(sql):
            return codes_of(conn.run(p.one_shot(sql)) if extended else conn.simple(sql))
        run("BEGIN")
        assert run("SELECT 1/0") == ["22012"]
        assert run(set_token) == ["25P02"]
        run("ROLLBACK")
        assert log.wait(event="auth", action="token")[0]["reason"] == "failed_transaction"
        assert run("SET usher.tenant = '456'") == ["42704"]
        assert run("SHOW usher.token") == ["42501"]
        assert run("SHOW usher.nothing") == ["42704"]
        reasons = [r["reason"] for r in log.wait(2, event="guard", outcome="refused")]
        assert reasons == ["usher_setting", "usher_token"]
        if extended:
            bad = (p.parse("", set_token) + p.bind("named", "") + p.sync(),
                   p.parse("", "SELECT 1") + p.query(set_token) + p.sync())
            for data, n in zip(bad, (1, 2)):
                assert "0A000" in codes_of(conn.run(data, n))
            records = log.wait(3, event="auth", action="token")
            assert [r["reason"] for r in records[1:]] == ["bind", "batch"]


@pytest.mark.parametrize("extended", [False, True])
def test_statements_that_meet_anothers_state(log, extended):
    with log.proxy.raw(TENANT_A) as conn:
        conn.simple("BEGIN")
        conn.simple(f"SET LOCAL usher.token = '{log.proxy.keys.token(TENANT_B)}'")
        conn.simple("PREPARE left_there AS SELECT 1")
        conn.simple("COMMIT AND CHAIN")
        look = "EXECUTE left_there"
        heard = conn.run(p.one_shot(look)) if extended else conn.simple(look)
        assert codes_of(heard) == ["55006"]
        record = log.wait(event="guard")[0]
        assert (record["reason"], record["tenant"]) == ("session_state", str(TENANT_A))
        assert len(record["fingerprint"]) == 16


@pytest.mark.parametrize("extended", [False, True])
def test_more_pinned_servers_than_allowed(make_proxy, tmp_path, extended):
    path = tmp_path / "audit.jsonl"
    proxy = make_proxy({"tenants": {"max_pinned": 1}, "audit": {"file": str(path), "events": ALL}})
    with proxy.raw(TENANT_A) as one, proxy.raw(TENANT_A) as two:
        one.simple("LISTEN a")
        heard = two.run(p.one_shot("LISTEN a")) if extended else two.simple("LISTEN a")
        assert codes_of(heard) == ["53300"]
        wait_until(lambda: '"reason":"max_pinned"' in path.read_text(), "the record")


def test_guard(log):
    conn = log.proxy.raw(TENANT_A)
    for n in (1, 2):
        assert codes_of(conn.simple(f"SELECT set_config('app.current_tenant_id', '{n}', true)"))
    records = log.wait(2, event="guard")
    assert {r["outcome"] for r in records} == {"refused"}
    assert {r["reason"] for r in records} == {"tenant_setting"}
    # These are not shared in the cache, for their class hangs on the literals; their name is.
    assert len({r["fingerprint"] for r in records}) == 1


def test_admin(log):
    console = log.console()
    console.simple("PAUSE eav")
    console.simple("RESUME eav")
    console.simple("SHOW POOLS")
    other = log.console("monitoring")
    assert errors_of(other.simple("KILL_CLIENT 7"))
    records = log.wait(5, event="admin")
    assert [(r["role"], r["action"], r["outcome"]) for r in records] == [
        ("dba", "login", "accepted"), ("dba", "PAUSE eav", "accepted"),
        ("dba", "RESUME eav", "accepted"), ("monitoring", "login", "accepted"),
        ("monitoring", "KILL_CLIENT 7", "refused")]
    assert records[0]["session"] == records[1]["session"] != records[4]["session"]


def test_signals(log):
    log.proxy.process.send_signal(signal.SIGHUP)
    assert log.wait(event="admin", action="RELOAD")[0]["client"] == "SIGHUP"
    log.proxy.stop()
    assert log.lines(event="admin", action="SHUTDOWN")[0]["client"] == "SIGTERM"
    assert [r["reason"] for r in log.lines(event="audit")] == ["started", "stopped"]
    assert verify(log.path).returncode == 0


def test_statements(log, items):
    conn = log.proxy.raw(TENANT_A)
    conn.rows("SELECT name FROM item WHERE id < 4")
    conn.rows("SELECT name FROM item WHERE id < 6")
    conn.simple("UPDATE item SET n = n + 1 WHERE id <= 3; DELETE FROM item WHERE id = 20")
    assert codes_of(conn.simple("SELECT 1 / 0"))
    records = log.wait(4, event="statements")
    assert [(r["outcome"], r.get("rows"), r.get("action"), r.get("sqlstate")) for r in records] == [
        ("done", 3, "SELECT", None), ("done", 5, "SELECT", None), ("done", 4, "DELETE", None),
        ("failed", None, None, "22012")]
    assert records[0]["fingerprint"] == records[1]["fingerprint"] != records[2]["fingerprint"]
    assert {r["node"] for r in records} == {"primary"}
    assert {r["tenant"] for r in records} == {str(TENANT_A)}
    assert all(r["duration_us"] > 0 and r["kind"] == "data" for r in records)


def test_statements_of_a_batch(log, items):
    conn = log.proxy.raw(TENANT_A)
    conn.run(p.one_shot("SELECT name FROM item WHERE id = $1", ("7",)))
    bad = (p.parse("", "SELECT 1 / $1::int") + p.bind("", "", ("0",)) + p.execute()
           + p.bind("", "", ("1",)) + p.execute() + p.sync())
    assert codes_of(conn.run(bad)) == ["22012"]
    assert codes_of(conn.run(p.one_shot("SELECT nonsense"))) == ["42703"]
    records = log.wait(4, event="statements")
    assert [(r["outcome"], r.get("rows"), r.get("sqlstate")) for r in records] == [
        ("done", 1, None), ("failed", None, "22012"), ("skipped", None, None),
        ("failed", None, "42703")]
    assert records[1]["fingerprint"] == records[2]["fingerprint"]


def test_statements_of_copy(log, cluster):
    conn = log.proxy.raw(TENANT_A)
    conn.send(p.query("COPY bulk FROM STDIN"))
    conn.read_until("G")
    conn.send(p.message("d", b"1\tx\n2\ty\n") + p.message("c"))
    conn.read_until("Z")
    record = log.wait(event="statements")[0]
    assert (record["kind"], record["action"], record["rows"]) == ("copy_in", "COPY", 2)


def test_statement_of_a_lost_server(log, cluster):
    conn = log.proxy.raw(TENANT_A)
    conn.send(p.query("SELECT pg_sleep(600)"))
    find = ("SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
            " AND pid <> pg_backend_pid()")
    pids = wait_until(lambda: cluster.sql(find, ("SELECT pg_sleep(600)%",), dbname="eav"), "it runs")
    cluster.sql("SELECT pg_terminate_backend(%s)", (pids[0][0],), dbname="eav")
    record = log.wait(event="statements")[0]
    assert (record["outcome"], record["sqlstate"]) == ("failed", "57P01")


def test_events_that_are_not_asked_for(make_proxy, tmp_path):
    log = Log(make_proxy, tmp_path / "audit.jsonl", events="admin")
    log.proxy.raw(TENANT_A).rows("SELECT 1")
    log.console()
    log.wait(event="admin", action="login")
    assert {r["event"] for r in log.lines()} == {"audit", "admin"}


def test_show_audit(log):
    log.proxy.raw(TENANT_A)
    log.wait(event="auth", action="login")
    console = log.console()
    replies = console.simple("SHOW AUDIT")
    names = next(m.columns() for m in replies if m.type == "T")
    assert names[:9] == ["time", "event", "tenant", "role", "client", "session", "outcome",
                         "reason", "fingerprint"]
    rows = [dict(zip(names, row)) for row in rows_of(replies)]
    assert rows[0]["reason"] == "started"
    login = next(row for row in rows if row["event"] == "auth")
    assert (login["tenant"], login["outcome"]) == (str(TENANT_A), "accepted")
    lists = {row[0]: int(row[1]) for row in console.rows("SHOW LISTS")}
    assert lists["audit_written"] >= 2 and lists["audit_dropped"] == 0
    assert errors_of(log.console("monitoring").simple("SHOW AUDIT"))


# ---- what never does -----------------------------------------------------------------------------


def test_no_secret_ever(log, items):
    """Literals, parameters, COPY data, tokens and passwords, in every place where one may stand."""
    token = log.proxy.keys.token(TENANT_A)
    conn = log.proxy.raw(TENANT_A)
    for sql in (f"SELECT '{CANARY}'", f"SELECT $${CANARY}$$", f"SELECT E'\\n{CANARY}'",
                f"SELECT set_config('app.current_tenant_id', '{CANARY}', true)",
                f"SET app.current_tenant_id = '{CANARY}'", f"ALTER ROLE app PASSWORD '{CANARY}'",
                f"SELECT 1 AS x /* {CANARY} */", f"SELECT 1 -- {CANARY}", f"SELEC '{CANARY}'",
                f"SET usher.token = '{CANARY}'", f"SET usher.token = '{token}'",
                f"DO $$ BEGIN RAISE EXCEPTION '{CANARY}'; END $$",
                f"SELECT '{CANARY}'::int", "SELECT 'unterminated " + CANARY):
        conn.simple(sql)
    conn.run(p.one_shot("SELECT $1::text", (CANARY,)))
    conn.run(p.one_shot(f"SELECT '{CANARY}', $1::int", (CANARY,)))
    conn.send(p.query("COPY bulk FROM STDIN"))
    conn.read_until("G")
    conn.send(p.message("d", f"1\t{CANARY}\nx\t{CANARY}\n".encode()) + p.message("c"))
    conn.read_until("Z")
    with pytest.raises(LoginError):
        log.proxy.raw(TENANT_A, secret=CANARY)
    with pytest.raises(LoginError):  # who took the wrong field for his password
        Connection.connect(log.proxy.address, token, "eav", "x")
    with pytest.raises(LoginError):
        Connection.connect(log.proxy.address, "app", token, token)
    console = log.console()
    console.simple(f"NONSENSE '{CANARY}'")
    log.proxy.stop()
    assert len(log.lines(event="statements")) >= 8
    assert len(log.lines(event="guard")) >= 3
    text = log.text()
    assert CANARY not in text
    assert not re.search(r"eyJ[\w-]{10,}", text)
    assert "(a token?)" in text


def test_names_are_escaped(log):
    names = ('quo"te\\', "line\nfeed\x01", "\u00e4\U0001f600")
    for name in names:
        with pytest.raises(LoginError):
            Connection.connect(log.proxy.address, "app", name, log.proxy.keys.token(TENANT_A))
    records = log.wait(3, event="auth", action="login")
    # Each worker has a queue of its own: between them the order is the writer's.
    assert sorted(r["database"] for r in records) == sorted(names)
    assert log.text().isascii()


# ---- the chain -----------------------------------------------------------------------------------


@pytest.fixture
def finished(log):
    """A log of a proxy that has ended: its path and lines."""
    conn = log.proxy.raw(TENANT_A)
    for n in range(10):
        conn.rows(f"SELECT {n}")
    log.proxy.stop()
    return log.path, log.text().splitlines()


def write_lines(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))


def test_a_whole_chain(finished):
    path, lines = finished
    done = verify(path)
    assert (done.returncode, done.stdout) == (
        0, f"{path}: {len(lines)} lines, chain whole, last digest {digest_of(lines[-1])}\n")
    for before, line in zip(lines, lines[1:]):
        assert json.loads(line)["prev"] == digest_of(before)
    assert json.loads(lines[0])["prev"] == "0" * 64


@pytest.mark.parametrize("tamper, line", (
    (lambda x: x[:4] + [x[4].replace(f'"{TENANT_A}"', '"999"')] + x[5:], 6),
    (lambda x: x[:4] + x[5:], 5),
    (lambda x: x[:4] + [x[3]] + x[4:], 5),
    (lambda x: x[:4] + [x[5], x[4]] + x[6:], 5),
    (lambda x: x[1:], None),  # only --after tells
    (lambda x: x[:4] + ["nonsense"] + x[4:], 5),
    (lambda x: x[:4] + [x[4][:60]] + x[5:], 5),
    (lambda x: x[:4] + [x[4] + " "] + x[5:], 5),
))
def test_tampering(finished, tamper, line):
    path, lines = finished
    write_lines(path, tamper(lines))
    done = verify(path)
    if line is None:
        assert done.returncode == 0
        done, line = verify(path, "--after", "0" * 64), 1
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}:{line}: "), done.stderr


def test_the_command(finished, tmp_path):
    path, lines = finished
    assert "usage" in run_binary("audit", "verify", "--help").stdout
    assert run_binary("audit").returncode == run_binary("audit", "forge", path).returncode == 2
    assert verify(tmp_path / "none").returncode == 1
    # An end that was cut off is a whole chain, too: only a digest kept elsewhere tells.
    write_lines(path, lines[:-2])
    assert verify(path).returncode == 0


def test_rotation(log):
    conn = log.proxy.raw(TENANT_A)
    log.wait(event="auth", action="login")
    old = log.path + ".1"
    os.rename(log.path, old)
    log.proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: os.path.exists(log.path), "the new file")
    conn.rows("SELECT 1")
    log.wait(event="statements")
    log.proxy.stop()
    assert verify(old).returncode == verify(log.path).returncode == 0
    assert verify(log.path, "--after", old).returncode == 0
    assert verify(old, "--after", log.path).returncode == 1
    assert json.loads(log.text().splitlines()[0])["prev"] == digest_of(
        log.text(old).splitlines()[-1])
    assert log.lines(old, event="auth", action="login")


def test_restarts_go_on(log):
    log.proxy.stop()
    log.proxy.start()
    log.proxy.stop()
    assert [r["reason"] for r in log.lines(event="audit")] == ["started", "stopped"] * 2
    assert verify(log.path).returncode == 0


def test_a_torn_line(log):
    log.proxy.raw(TENANT_A)
    log.wait(event="auth", action="login")
    log.proxy.stop()
    with open(log.path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.truncate(size - 30)
    n = log.text().count("\n")
    done = verify(log.path)
    assert done.returncode == 1 and f":{n + 1}: torn" in done.stderr
    log.proxy.start()
    log.proxy.stop()
    assert "was torn" in log.proxy.log()
    lines = log.text().splitlines()
    assert json.loads(lines[n + 1])["reason"] == "torn"
    assert verify(log.path).returncode == 0, verify(log.path).stderr
    # What lies in front of it and behind is held all the same.
    for gone in (n - 1, n, n + 1):
        write_lines(log.path, lines[:gone] + lines[gone + 1:])
        assert verify(log.path).returncode == 1


def test_another_process_has_the_file(log, make_proxy):
    other = Log(make_proxy, log.path)
    other.proxy.wait_log("another process writes to it")
    other.proxy.raw(TENANT_B)
    log.proxy.stop()
    log.wait(event="auth", tenant=str(TENANT_B))
    other.proxy.stop()
    assert [r["reason"] for r in log.lines(event="audit")] == [
        "started", "stopped", "started", "stopped"]
    assert verify(log.path).returncode == 0


def test_a_file_that_is_none(cluster, keys, tmp_path):
    (tmp_path / "other").write_text("x" * 100000)
    for file, why in (("none/audit.jsonl", "No such file"), ("other", "does not end like an audit log")):
        proxy = Proxy(cluster, keys, tmp_path, {"audit": {"file": tmp_path / file}})
        done = run_binary("serve", "-c", proxy.ini)
        assert done.returncode == 1
        assert f"file: {tmp_path / file}" in done.stderr and why in done.stderr


# ---- who does not take it --------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder],
                          capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk(make_proxy, small_disk):
    log = Log(make_proxy, small_disk / "audit.jsonl", workers=1)
    conn = log.proxy.raw(TENANT_A)
    for _ in range(60):  # nobody waits for the disk; the queue holds 3072 statements
        conn.run(p.one_shot("SELECT 1") * 100, 100)
    log.proxy.wait_log("No space left on device")
    done = verify(log.path)
    assert done.returncode == 0 or ": torn" in done.stderr
    # The operator moves the file away and makes room: all goes on behind the last whole line,
    # the first of it perhaps in the old file.
    old = small_disk / "moved.jsonl"
    os.rename(log.path, old)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    log.proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: os.path.exists(log.path), "the new file")
    log.proxy.wait_log("is written again")
    # A writer that had no processor for a while has dropped some before the disk was full.
    files = (old, log.path)

    def dropped():
        return sum(r["n"] for f in files for r in log.lines(f, event="audit", reason="dropped"))

    def statements():
        return sum(len(log.lines(f, event="statements")) for f in files)

    wait_until(lambda: statements() + dropped() == 6000, "each is written or counted")
    assert dropped() > 0
    assert log.proxy.log().count("No space left on device") == 1
    assert verify(log.path, "--after", old).returncode == 0
    written = {row[0]: row[1] for row in log.console().rows("SHOW LISTS")}
    assert int(written["audit_dropped"]) == dropped()


def test_a_disk_that_has_room_again(make_proxy, small_disk):
    """The same file goes on where it was torn."""
    log = Log(make_proxy, small_disk / "audit.jsonl", workers=1)
    conn = log.proxy.raw(TENANT_A)
    for _ in range(5):
        conn.run(p.one_shot("SELECT 1") * 100, 100)
    log.proxy.wait_log("No space left on device")
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    log.proxy.wait_log("is written again")
    log.wait(500, event="statements")
    log.proxy.stop()
    assert verify(log.path).returncode == 0
    assert len(log.lines(event="statements")) == 500


def test_a_reader_that_does_not_read(make_proxy, tmp_path):
    """Statements go on, what was dropped is counted, and the end does not hang on it."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = Log(make_proxy, path, workers=1)
        conn = log.proxy.raw(TENANT_A)
        for _ in range(60):
            conn.run(p.one_shot("SELECT 1") * 100, 100)
        log.proxy.stop()
        assert "could not be written" in log.proxy.log()
    finally:
        os.close(reader)


def test_a_reader_that_is_late(make_proxy, tmp_path):
    """It gets a whole chain, with the gap told."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = Log(make_proxy, path, workers=1)
    conn = log.proxy.raw(TENANT_A)
    for _ in range(60):
        conn.run(p.one_shot("SELECT 1") * 100, 100)
    os.set_blocking(reader, True)
    told = 0
    with os.fdopen(reader, "rb") as pipe, open(tmp_path / "copy", "wb") as copy:
        while told < 6000:
            copy.write(line := pipe.readline())
            record = json.loads(line)
            told += (record["event"] == "statements") + record.get("n", 0)
    assert told == 6000
    assert log.lines(tmp_path / "copy", reason="dropped")
    assert verify(tmp_path / "copy").returncode == 0


def test_stdout(make_proxy, tmp_path):
    log = Log(make_proxy, "stdout")
    log.proxy.raw(TENANT_A)
    log.proxy.wait_log('"event":"auth"')
    log.proxy.stop()
    lines = [line for line in log.proxy.log().splitlines() if line.startswith('{"prev"')]
    write_lines(tmp_path / "copy", lines)
    assert verify(tmp_path / "copy").returncode == 0


def test_syslog(make_proxy, tmp_path):
    path = str(tmp_path / "log.socket")
    daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    daemon.bind(path)
    daemon.settimeout(30)
    log = Log(make_proxy, f"syslog:{path}")
    log.proxy.raw(TENANT_A)
    first, second = daemon.recv(65536).decode(), daemon.recv(65536).decode()
    head, _, line = first.partition(": ")
    assert re.fullmatch(r"<86>pgusher\[\d+\]", head)
    assert json.loads(line)["reason"] == "started"
    assert json.loads(second.partition(": ")[2])["prev"] == digest_of(line)
    # The daemon is restarted.
    daemon.close()
    os.unlink(path)
    again = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    again.bind(path)
    again.settimeout(30)
    log.proxy.raw(TENANT_B)
    wait_until(lambda: f'"{TENANT_B}"' in again.recv(65536).decode(), "the login in the log")
    again.close()
