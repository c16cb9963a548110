"""The audit log over RELOAD: its events and its place, taken whole or not at all; pgusher check."""

import os
import signal

import pytest

from cluster import wait_until
from conftest import TENANT_A
from pgproto import codes_of
from proxy import Proxy, run_binary
from test_audit import Log, log, small_disk, verify  # noqa: F401
from console import Console


def change(log, **audit):
    """SIGHUP with other [audit] options, and until it is taken or refused."""
    said = log.proxy.log().count("configuration")
    log.proxy.sections.setdefault("audit", {}).update(audit)
    log.proxy.write_ini()
    log.proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: log.proxy.log().count("configuration") > said, "the RELOAD's end")


def test_reload_takes_the_events(make_proxy, tmp_path):
    log = Log(make_proxy, tmp_path / "audit.jsonl", "auth")
    conn = log.proxy.raw(TENANT_A)
    conn.rows("SELECT 1")
    change(log, events="statements")
    assert log.wait(reason="changed")[0]["events"] == "statements"
    for query in ("SELECT 2", "SELECT 1/0"):
        wait_until(lambda: conn.simple(query) and len(log.lines(event="statements")),
                   "statements of a session that was there")
    log.wait(event="statements", sqlstate="22012")
    change(log, events="auth")
    log.wait(reason="changed", events="auth")
    n = len(log.lines(event="statements"))
    conn.rows("SELECT 3")
    log.proxy.stop()
    assert len(log.lines(event="statements")) == n
    assert not log.lines(event="auth", action="login")[1:]
    assert log.lines(event="auth", action="close")
    assert verify(log.path).returncode == 0


def test_reload_takes_another_file(log, tmp_path):
    conn = log.proxy.raw(TENANT_A)
    log.wait(event="auth")
    first, second = log.path, str(tmp_path / "second.jsonl")
    change(log, file=second)
    wait_until(lambda: log.lines(first, reason="stopped"), "the old file's end")
    conn.rows("SELECT 1")
    wait_until(lambda: os.path.exists(second) and log.lines(second, event="statements"),
               "a statement in the new file")
    assert log.lines(second)[0]["reason"] == "started"
    assert verify(first).returncode == verify(second, "--after", first).returncode == 0
    # And back: a file that has lines goes on from them.
    change(log, file=first)
    wait_until(lambda: log.lines(first)[-1]["reason"] == "started", "the first file goes on")
    log.proxy.stop()
    assert verify(first).returncode == verify(second).returncode == 0
    assert [r["reason"] for r in log.lines(first, event="audit")] == ["started", "stopped"] * 2


def test_reload_begins_and_ends_a_log(make_proxy, tmp_path):
    log = Log(make_proxy, "")
    log.path = str(tmp_path / "audit.jsonl")
    conn = log.proxy.raw(TENANT_A)
    change(log, file=log.path)
    log.wait(reason="started")
    assert codes_of(conn.simple("RESET app.current_tenant_id")) == ["42501"]
    [refused] = log.wait(event="guard")
    clients = Console(log.proxy).show("CLIENTS")
    assert [row["session"] for row in clients if row["tenant"] == str(TENANT_A)] == [
        refused["session"]]
    change(log, file="")
    wait_until(lambda: log.lines()[-1].get("reason") == "stopped", "the log's end")
    assert codes_of(conn.simple("RESET app.current_tenant_id")) == ["42501"]
    log.proxy.stop()
    assert len(log.lines(event="guard")) == 1
    assert verify(log.path).returncode == 0


def test_reload_refuses_a_file_that_cannot_be(log, tmp_path):
    (tmp_path / "other").write_text("x" * 100000)
    conn = log.proxy.raw(TENANT_A)
    for file, why in ((tmp_path / "none" / "a.jsonl", "No such file"),
                      (tmp_path / "other", "does not end like an audit log"),
                      (f"syslog:{tmp_path}/socket", "No such file")):
        change(log, file=file, events="auth")
        assert "the old configuration stays" in log.proxy.log()
        assert why in log.proxy.log().splitlines()[-1]
        done = run_binary("check", "-c", log.proxy.ini)
        assert done.returncode == 1 and why in done.stderr and ": file: " in done.stderr
    conn.rows("SELECT 1")
    log.wait(event="statements")
    assert not log.lines(reason="changed")
    change(log, file=tmp_path / "new.jsonl")
    assert run_binary("check", "-c", log.proxy.ini).stderr == ""


def test_reload_leaves_a_full_disk(make_proxy, small_disk, tmp_path):
    log = Log(make_proxy, small_disk / "audit.jsonl")
    conn = log.proxy.raw(TENANT_A)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "rest").write_bytes(bytes(1 << 20))
    wait_until(lambda: conn.rows("SELECT 1") and "nothing can be written" in log.proxy.log(),
               "the full disk's warning")
    log.path = str(tmp_path / "elsewhere.jsonl")
    change(log, file=log.path)
    log.wait(event="statements")
    log.proxy.stop()
    assert log.lines()[0]["reason"] == "started"
    assert verify(log.path).returncode == 0


def test_the_background_has_no_stdout(cluster, keys, tmp_path):
    proxy = Proxy(cluster, keys, tmp_path, {
        "pgusher": {"logfile": tmp_path / "pgusher.log"}, "audit": {"file": "stdout"}})
    done = run_binary("serve", "-d", "-c", proxy.ini)
    assert done.returncode == 1
    assert "[audit] file = stdout" in done.stderr and "name a file" in done.stderr
