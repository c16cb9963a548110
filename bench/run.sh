#!/bin/sh
# `make bench`: PgUsher against PgBouncer over one throw-away PostgreSQL; see compare.py.
set -eu
cd "$(dirname "$0")/.."
# This python3, because it is Debian's; nothing outside its standard library is used.
exec "${PYTHON:-/usr/bin/python3}" bench/compare.py "$@"
