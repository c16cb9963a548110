"""sql/ by itself: tests/sql/test_schema.sql in a cluster of its own, for it makes and drops roles."""

import os
import subprocess

from cluster import REPO, Cluster


def test_schema(tmp_path):
    own = Cluster(tmp_path / "cluster")
    own.start()
    try:
        own.sql("CREATE DATABASE schema_test")
        done = subprocess.run(
            [os.path.join(own.bin, "psql"), "-X", "-h", own.socket_dir,
             "-p", str(own.ports["primary"]), "-U", "postgres", "-d", "schema_test",
             "-f", os.path.join(REPO, "tests", "sql", "test_schema.sql")],
            capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "all passed" in done.stdout
    finally:
        own.stop()
