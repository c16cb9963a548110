#!/bin/bash
# The documented schema at size, as a tenant sees it through PgUsher: the six queries of
# sql/queries.sql, values COPYed into the staging table and flushed, and what the indexes take.
#
#   bench/schema.sh        needs build/pgusher and, at the default size, 10 GB under TMPDIR
#
# TENANTS (100), ENTITIES (1000000), VALUES (10000000), ROUNDS (11 runs a query, the median counts),
# INGEST (500000 rows by 4 COPY streams and one flusher) make it smaller; ENTITY_PARTITIONS (200) and
# JSONB_PARTITIONS (100) are the schema's. One PostgreSQL of
# scripts/cluster.sh (fsync off) without its replicas; all of it is gone afterwards.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
BIN=${PGUSHER_BIN:-build/pgusher}
TENANTS=${TENANTS:-100} ENTITIES=${ENTITIES:-1000000} VALUES=${VALUES:-10000000}
ENTITY_PARTITIONS=${ENTITY_PARTITIONS:-200} JSONB_PARTITIONS=${JSONB_PARTITIONS:-100}
ROUNDS=${ROUNDS:-11} INGEST=${INGEST:-500000} STREAMS=4
WORK=$(mktemp -d) PGUSHER=
chmod 711 "$WORK"
# Entity 1001, which query 2 asks for, is this tenant's.
TENANT=$((1 + 1001 % TENANTS))

finish() {
	[ -z "$PGUSHER" ] || kill "$PGUSHER" 2>/dev/null || true
	scripts/cluster.sh stop "$WORK/cluster"
	rm -rf "$WORK"
}
trap finish EXIT
trap 'exit 130' INT TERM

super() { "$PG_BIN/psql" -XqAt -v ON_ERROR_STOP=1 -h "$SOCKET_DIR" -p "$PRIMARY_PORT" -U postgres "$@"; }
tenant() { PGPASSWORD=$TOKEN "$PG_BIN/psql" -XqAt -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PORT" -U app eav "$@"; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }

start_postgres() {
	local node
	scripts/cluster.sh start "$WORK/cluster"
	# shellcheck disable=SC1091
	. "$WORK/cluster/cluster.env"
	# Replicas would take the processors and the disk from what is measured.
	for node in replica1 replica2; do
		setpriv --reuid=postgres --regid=postgres --init-groups "$PG_BIN/pg_ctl" \
			-D "$PG_BASE/$node" -m immediate -w stop >/dev/null
		super -d postgres -c "SELECT pg_terminate_backend(active_pid), pg_sleep(0.2)
			FROM pg_replication_slots WHERE active AND slot_name = '$node'" \
			-c "SELECT pg_drop_replication_slot('$node')" >/dev/null
	done
	super -d postgres -c "ALTER SYSTEM SET shared_buffers = '1GB'" \
		-c "ALTER SYSTEM SET max_wal_size = '8GB'" -c "ALTER SYSTEM SET maintenance_work_mem = '256MB'"
	scripts/cluster.sh restart "$WORK/cluster" primary
}

start_pgusher() {
	PORT=$((20000 + RANDOM % 12000))
	(umask 077 && "$BIN" token --new-key ES256 >"$WORK/key.jwk")
	"$BIN" token --key "$WORK/key.jwk" --public >"$WORK/jwks.json"
	TOKEN=$("$BIN" token --key "$WORK/key.jwk" --role app --ttl 12h --tenant "$TENANT")
	cat >"$WORK/pgusher.ini" <<-INI
		[pgusher]
		listen_addr = 127.0.0.1
		listen_port = $PORT
		[jwt]
		jwks_file = $WORK/jwks.json
		algorithms = ES256
		[node primary]
		host = 127.0.0.1
		port = $PRIMARY_PORT
		[database eav]
		nodes = primary
		[role app]
		password_file = $APP_PASSWORD_FILE
	INI
	"$BIN" serve -c "$WORK/pgusher.ini" 2>"$WORK/pgusher.log" &
	PGUSHER=$!
	until tenant -c 'SELECT 1' >/dev/null 2>&1; do
		kill -0 "$PGUSHER"
		sleep 0.1
	done
}

# Medians of EXPLAIN ANALYZE's times, in one session. $2 EXECUTE: prepared, from the 7th run on, when
# PostgreSQL has chosen between planning each time and one plan for all.
time_query() {
	local run skip=0
	[ "$2" != EXECUTE ] || skip=6
	awk -v n="$1" '/^\\echo/ { on = $2 == n "."; next } on' sql/queries.sql >"$WORK/q.sql"
	run=$(cat "$WORK/q.sql")
	{
		[ "$skip" = 0 ] || { echo "PREPARE q AS $run" && run="EXECUTE q;"; }
		for _ in $(seq $((skip + ROUNDS))); do echo "EXPLAIN (ANALYZE, BUFFERS, SUMMARY) $run"; done
	} | tenant | awk -v n="$1" -v how="$2" -v skip=$((2 * skip)) '
		function median(a, k,  i, j, t) {
			for (i = 2; i <= k; i++) for (j = i; j > 1 && a[j - 1] > a[j]; j--) {
				t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
			return a[int((k + 1) / 2)] }
		/^(Planning|Execution) Time/ && skip-- > 0 { next }
		/^Planning Time/ { p[++np] = $3 + 0 }
		/^Execution Time/ { e[++ne] = $3 + 0 }
		# The first line of a plan that has it is the whole query, with what the cache had and not.
		/^ *Buffers:/ && top != ne { top = ne; pages = 0
			for (i = 3; i <= NF; i++) if (split($i, w, "=") == 2) pages += w[2] }
		END { printf "query %s, %s: planning %.1f ms, execution %.1f ms, %d pages\n",
			n, how == "EXECUTE" ? "prepared" : "ad hoc", median(p, np), median(e, ne), pages }'
}

time_queries() {
	local n
	echo "load $(cut -d' ' -f1 /proc/loadavg)"
	for n in 1 2 3 3b 4 5 6; do
		time_query "$n" ""
		time_query "$n" EXECUTE
	done
}

# Rows a second from the first COPY's begin to the last flush's end.
time_ingest() {
	local begun stream pids=() flusher
	# Made before, so that making it is not measured.
	awk -v n=$((INGEST / STREAMS)) -v t="$TENANT" -v tenants="$TENANTS" 'BEGIN {
		for (i = 0; i < n; i++) print (t - 1) + tenants * (i % 1000) "\t" t "\t77\t" i % 130 }' >"$WORK/rows"
	begun=$(now)
	for stream in $(seq $STREAMS); do
		# Thousand rows a COPY, as a gateway that gathers for a moment would send them.
		split -l 1000 --filter='printf "%s\n" \
			"COPY entity_values_ingest (entity_id, tenant_id, attribute_id, value_decimal) FROM STDIN;"; \
			cat; printf "%s\n" "\\."' "$WORK/rows" | tenant &
		pids+=($!)
	done
	while :; do
		[ "$(super -d eav -c 'SELECT stage_flush()')" != 0 ] || sleep 0.1
	done &
	flusher=$!
	wait "${pids[@]}"
	echo "ingest: $STREAMS streams, $((INGEST / STREAMS * STREAMS)) rows by COPY through PgUsher: \
$(since "$begun") s"
	kill "$flusher"
	wait "$flusher" 2>/dev/null || true
	while [ "$(super -d eav -c 'SELECT stage_flush()')" != 0 ]; do :; done
	echo "ingest: staged and flushed: $(since "$begun") s, \
$(awk -v n=$((INGEST / STREAMS * STREAMS)) -v s="$(since "$begun")" 'BEGIN { printf "%d", n / s }') rows/s"
}

show_sizes() {
	super -d eav -F ' ' <<-'SQL'
		SELECT p.relname, 'tables', pg_size_pretty(sum(pg_table_size(c.oid))), 'indexes',
		       pg_size_pretty(sum(pg_indexes_size(c.oid))),
		       round(100 * sum(pg_indexes_size(c.oid)) / sum(pg_table_size(c.oid)), 1) || ' %'
		  FROM pg_class p JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid
		 WHERE p.relkind = 'p' GROUP BY 1 ORDER BY 1;
		SELECT p.relname, pg_size_pretty(sum(pg_relation_size(c.oid)))
		  FROM pg_class p JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid
		 WHERE p.relkind = 'I' GROUP BY 1 ORDER BY 1;
	SQL
	super -d eav <<-'SQL'
		CREATE INDEX compare_btree ON entity_values_ts (ingested_at);
		SELECT 'B-tree on ingested_at is ' || round(
		       sum(pg_relation_size(c.oid)) FILTER (WHERE p.relname = 'compare_btree')
		       / sum(pg_relation_size(c.oid)) FILTER (WHERE p.relname = 'entity_values_ts_ingested_idx'))
		       || ' times the BRIN (' || pg_size_pretty(sum(pg_relation_size(c.oid))
		       FILTER (WHERE p.relname = 'compare_btree')) || ')'
		  FROM pg_class p JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid
		 WHERE p.relname IN ('compare_btree', 'entity_values_ts_ingested_idx');
		DROP INDEX compare_btree;
	SQL
}

start_postgres
super -d postgres -c "CREATE DATABASE eav"
begun=$(now)
super -d eav -v entity_partitions="$ENTITY_PARTITIONS" -v jsonb_partitions="$JSONB_PARTITIONS" \
	-f sql/deploy.sql >/dev/null
echo "deploy: $(since "$begun") s"
begun=$(now)
super -d eav -v tenants="$TENANTS" -v entities="$ENTITIES" -v values="$VALUES" -f bench/generate.sql
echo "generate: $TENANTS tenants, $ENTITIES entities, $VALUES values: $(since "$begun") s"
start_pgusher
time_queries
show_sizes
time_ingest
