"""psql as people use it: from scripts, and typed into a terminal (Ctrl-C, tab completion)."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from conftest import TENANT_A, TENANT_B

pytestmark = pytest.mark.usefixtures("items")

WHO = "SELECT DISTINCT tenant_id FROM item"


@pytest.fixture
def psql(proxy, cluster):
    """psql(tenant, arguments...) -> (exit status, standard output, standard error)."""
    def run(tenant, *args, stdin=None):
        done = subprocess.run(
            [os.path.join(cluster.bin, "psql"), "-X", *args], env=proxy.psql_env(tenant),
            input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )
        return done.returncode, done.stdout, done.stderr
    return run


@pytest.mark.parametrize("tenant", [TENANT_A, TENANT_B])
def test_command(psql, tenant):
    assert psql(tenant, "-Atc", WHO) == (0, f"{tenant}\n", "")


def test_wrong_token_says_why(proxy, cluster):
    env = {**proxy.psql_env(TENANT_A), "PGPASSWORD": "no-token"}
    done = subprocess.run(
        [os.path.join(cluster.bin, "psql"), "-Xc", "SELECT 1"], env=env, capture_output=True,
        text=True, timeout=60, check=False,
    )
    assert done.returncode == 2
    assert "JWT" in done.stderr and "no-token" not in done.stderr


@pytest.mark.parametrize(
    "command, shows",
    [
        (r"\d", "entities"), (r"\d item", "Policies"), (r"\d+ entities", "Partition key"),
        (r"\dt", "tenants"), (r"\di", "item_pkey"), (r"\l", "eav"), (r"\du", "app"),
        (r"\df upsert*", "upsert_hot_attrs"), (r"\dp item", "app="),
        (r"\conninfo", "database \"eav\""),
        (r"\dn", "public"), (r"\sf note_context", "PROCEDURE"), (r"\encoding", "UTF8"),
    ],
)
def test_describing_commands(cluster, psql, command, shows):
    if command == r"\l" and cluster.major("psql") < cluster.major():
        pytest.skip("psql is older than the server, and looks for columns that it has no more")
    status, out, err = psql(TENANT_A, "-c", command)
    assert (status, err) == (0, "")
    assert shows in out


def test_error_is_shown_at_its_place(psql):
    """Nothing put in front of the statement may move the caret."""
    status, _, err = psql(TENANT_A, "-c", "SELECT id, wrong FROM item")
    assert status == 1
    assert "LINE 1: SELECT id, wrong FROM item\n                   ^" in err


def test_copy_out_and_in(psql, tmp_path, cluster):
    out = tmp_path / "items.csv"
    status, said, err = psql(TENANT_A, "-c", rf"\copy item TO '{out}' CSV")
    assert (status, said, err) == (0, "COPY 20\n", "")
    lines = out.read_text().splitlines()
    assert len(lines) == 20 and all(f",{TENANT_A}," in line for line in lines)

    cluster.sql("TRUNCATE bulk", dbname="eav")
    rows = tmp_path / "rows.csv"
    rows.write_text("".join(f"{n},row {n}\n" for n in range(50000)))
    status, said, err = psql(TENANT_A, "-c", rf"\copy bulk FROM '{rows}' CSV")
    assert (status, said, err) == (0, "COPY 50000\n", "")
    assert cluster.sql("SELECT count(*) FROM bulk", dbname="eav") == [(50000,)]
    rows.write_text("1,good\nbad,line\n")
    status, _, err = psql(TENANT_A, "-c", rf"\copy bulk FROM '{rows}' CSV")
    assert status == 1 and "bulk, line 2" in err
    assert psql(TENANT_A, "-Atc", WHO)[1] == f"{TENANT_A}\n"


def test_copy_from_standard_input(psql, cluster):
    cluster.sql("TRUNCATE bulk", dbname="eav")
    script = "COPY bulk FROM STDIN;\n1\tone\n2\ttwo\n\\.\nSELECT count(*) FROM bulk;\n"
    assert psql(TENANT_A, "-At", stdin=script) == (0, "COPY 2\n2\n", "")


def test_script_in_one_transaction(psql, tmp_path, cluster):
    script = tmp_path / "script.sql"
    script.write_text(f"""
        INSERT INTO item VALUES (300, {TENANT_A}, 'by script', 1);
        SAVEPOINT s;
        DELETE FROM item WHERE id < 300;
        ROLLBACK TO s;
        {WHO};
        UPDATE item SET n = 2 WHERE id = 300;
    """)
    status, out, err = psql(TENANT_A, "-1", "-At", "-v", "ON_ERROR_STOP=1", "-f", str(script))
    assert (status, err) == (0, "") and f"\n{TENANT_A}\n" in out
    query = "SELECT tenant_id, n FROM item WHERE id = 300"
    assert cluster.sql(query, dbname="eav") == [(TENANT_A, 2)]

    script.write_text("DELETE FROM item WHERE id = 300; SELECT 1/0; SELECT 2;")
    status, _, err = psql(TENANT_A, "-1", "-v", "ON_ERROR_STOP=1", "-f", str(script))
    assert status == 3 and "division by zero" in err
    assert cluster.sql(query, dbname="eav") == [(TENANT_A, 2)]


def test_on_error_rollback(psql):
    """psql puts a savepoint before every statement of a transaction."""
    script = rf"""
        \set ON_ERROR_ROLLBACK on
        BEGIN;
        INSERT INTO item VALUES (301, {TENANT_A}, 'stays', 1);
        SELECT 1/0;
        {WHO};
        COMMIT;
        SELECT name FROM item WHERE id = 301;
    """
    status, out, err = psql(TENANT_A, "-At", stdin=script)
    assert status == 0 and "division by zero" in err
    assert f"\n{TENANT_A}\n" in out and out.endswith("COMMIT\nstays\n")


def test_gexec_gset_and_fetch_count(psql):
    script = rf"""
        SELECT format('SELECT %L, tenant_id FROM item WHERE id = %s', i, i)
        FROM generate_series(1, 3) i \gexec
        SELECT count(*) AS c FROM item \gset
        \echo :c
        \set FETCH_COUNT 7
        SELECT tenant_id FROM item ORDER BY id;
    """
    status, out, err = psql(TENANT_A, "-At", stdin=script)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:4] == [f"1|{TENANT_A}", f"2|{TENANT_A}", f"3|{TENANT_A}", "20"]
    assert lines[4:] == [str(TENANT_A)] * 20


# ---- in a terminal -----------------------------------------------------------------------


class Terminal:
    """psql on a pseudo terminal: type, and wait for what appears."""

    def __init__(self, program, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(program, [program, "-X"], {**env, "TERM": "vt100", "INPUTRC": "/dev/null"})
        self.seen = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, timeout=30):
        """Waits for the pattern, and forgets all up to its end."""
        deadline = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.fd], [], [], left)[0]
            assert ready, f"{pattern!r} did not appear; seen: {self.seen!r}"
            self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")

    def end(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(proxy, cluster):
    made = Terminal(os.path.join(cluster.bin, "psql"), proxy.psql_env(TENANT_A))
    made.expect("eav=>")
    yield made
    made.end()


def test_ctrl_c_cancels_the_query(terminal, cluster):
    terminal.type("SELECT pg_sleep(60) /* typed */;\r")
    cluster.backend_running("typed", "eav")
    terminal.type("\x03")
    terminal.expect("canceling statement due to user request")
    terminal.expect("eav=>")
    terminal.type("SELECT 'still ' || 'here';\r")
    terminal.expect("still here")


def test_watch_until_ctrl_c(terminal):
    terminal.type("SELECT 'tenant ' || min(tenant_id) FROM item \\watch 0.1\r")
    for _ in range(4):
        terminal.expect(f"tenant {TENANT_A}\r")
    terminal.type("\x03")
    terminal.expect("eav=>")
    terminal.type("SELECT 'after ' || 'watch';\r")
    terminal.expect("after watch")


def test_tab_completion(terminal):
    terminal.type("SELECT count(*) FROM shared_n\t")
    terminal.expect("shared_note")
    terminal.type(";\r")
    terminal.expect(r"\(1 row\)")


def test_prompt_shows_the_transaction(terminal):
    prompts = (("BEGIN;", r"eav=\*>"), ("SELECT 1/0;", "eav=!>"), ("ROLLBACK;", "eav=>"))
    for command, prompt in prompts:
        terminal.type(f"{command}\r")
        terminal.expect(prompt)
