"""An HTTP service that tells its callers how fresh its answer is: PgUsher reports it to the driver
with each statement. Needs psycopg 3 (Debian's python3-psycopg); the connection is named by PGHOST,
PGPORT, PGUSER, PGPASSWORD (a token) and PGDATABASE:
LISTEN_PORT=8080 python3 examples/freshness_headers.py"""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

import psycopg

HEADERS = {
    "X-Data-Source": "usher.data_source",
    "X-Data-Lag-Seconds": "usher.data_lag_seconds",
    "X-Consistency-Level": "usher.consistency_level",
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with psycopg.connect(autocommit=True) as conn:
            now = conn.execute("SELECT now()::text").fetchone()[0]
            told = {header: conn.info.parameter_status(name) for header, name in HEADERS.items()}
        self.send_response(200)
        for header, value in told.items():
            self.send_header(header, value or "unknown")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"now": now}).encode())


HTTPServer(("127.0.0.1", int(os.environ.get("LISTEN_PORT", "8080"))), Handler).serve_forever()
