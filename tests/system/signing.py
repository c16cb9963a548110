"""The signed context's database side: a database with a proof key, and what goes past PgUsher."""

import hashlib
import hmac
import os
import secrets
import subprocess

from cluster import REPO

PROOF = "app.tenant_proof"


def proof_of(key, pid, tenant, role="app"):
    text = f"pgusher proof 1|{role}|{pid}|{tenant}"
    return hmac.digest(bytes.fromhex(key), text.encode(), hashlib.sha256).hex()


class Signed:
    """The database, its key, and connections to it that go past PgUsher."""

    def __init__(self, cluster, folder, dbname):
        self.cluster = cluster
        self.dbname = dbname
        self.key_file = os.path.join(folder, "proof.key")
        self.opened = []
        self.key = self.new_key()

    def new_key(self):
        key = secrets.token_hex(32)
        with open(self.key_file, "w", encoding="utf-8",
                  opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(key + "\n")
        return key

    def psql(self, *args):
        return subprocess.run(
            [os.path.join(self.cluster.bin, "psql"), "-X", "-q", "-h", self.cluster.socket_dir,
             "-p", str(self.cluster.ports["primary"]), "-U", "postgres", "-d", self.dbname,
             *args],
            capture_output=True, text=True, timeout=60, check=False)

    def run(self, name, *args):
        done = self.psql(*args, "-f", os.path.join(REPO, "sql", name))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def set_key(self, *args):
        return self.run("signed_key.sql", "-v", f"key_file={self.key_file}", *args)

    def direct(self, tenant=None, key=None, pid=None, proven=None):
        """Role app with the context set for the session; proven: whom the proof is for."""
        conn = self.cluster.app(self.dbname, tenant)
        self.opened.append(conn)
        if proven is not None:
            proof = proof_of(key or self.key, pid or conn.info.backend_pid, proven)
            conn.execute("SELECT set_config(%s, %s, false)", (PROOF, proof))
        return conn
