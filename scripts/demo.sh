#!/bin/bash
# `make demo`: PgUsher before a throw-away PostgreSQL, and a tour of it whose every command can be
# typed again. All files are under build/demo/; `make demo-stop` ends everything and removes them.
#
# What must always hold: a tour that fails or is interrupted leaves nothing running; a step that
# does not show what it says fails the demo, so that the tour cannot lie.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
DIR=${DEMO_DIR:-build/demo} # as printed
ABS=$(realpath -m "$DIR")
PORT=${DEMO_PORT:-6432}
BIN=$(readlink -f "${PGUSHER_BIN:-build/pgusher}")
PSQL="psql -h 127.0.0.1 -p $PORT -U app eav"

# What the caller's environment says about other servers must not lead the tour astray.
unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE \
	PGOPTIONS PGSSLMODE PGTARGETSESSIONATTRS PGCHANNELBINDING
export PAGER=cat PSQLRC=/dev/null

say() { printf '%s\n' "$*"; }
bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }

die() {
	echo "demo: $*" >&2
	exit 1
}

# ---- starting and stopping ----------------------------------------------------------------

# The proxy's process, if it is really ours: a process id may have been given to another since.
proxy_pid() {
	local pid
	pid=$(cat "$DIR/pgusher.pid" 2>/dev/null) || return 1
	{ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF "$ABS/pgusher.ini" || return 1
	echo "$pid"
}

stop_proxy() {
	local pid
	pid=$(proxy_pid) || return 0
	kill -TERM "$pid"
	for _ in $(seq 150); do
		proxy_pid >/dev/null || return 0
		sleep 0.1
	done
	kill -KILL "$pid"
}

stop_all() {
	stop_proxy
	scripts/cluster.sh stop "$DIR"
	rm -rf "$DIR"
}

undo() {
	trap '' INT TERM HUP
	trap - EXIT
	echo "demo: ended early, cleaning up" >&2
	[ ! -s "$DIR/pgusher.log" ] || tail -5 "$DIR/pgusher.log" >&2
	stop_all
	exit "$1"
}

port_is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }

write_keys() {
	(umask 077 && "$BIN" token --new-key ES256 >"$DIR/key.jwk")
	"$BIN" token --key "$DIR/key.jwk" --public >"$DIR/jwks.json"
}

write_ini() {
	# shellcheck disable=SC1091
	. "$DIR/cluster.env"
	cat >"$DIR/pgusher.ini" <<INI
[pgusher]
listen_addr = 127.0.0.1
listen_port = $PORT
unix_socket_dir = $SOCKET_DIR
max_server_conn = 4
shutdown_timeout = 5s

[jwt]
jwks_file = $ABS/jwks.json
algorithms = ES256

[node primary]
host = 127.0.0.1
port = $PRIMARY_PORT

[node replica1]
host = 127.0.0.1
port = $REPLICA1_PORT

[node replica2]
host = 127.0.0.1
port = $REPLICA2_PORT

[database eav]
nodes = primary, replica1, replica2

[role app]
password_file = $APP_PASSWORD_FILE

[role probe]
password_file = $PROBE_PASSWORD_FILE
tenant = none

[freshness]
probe_role = probe

[tenants]
directory_query = SELECT tenant_id, is_active FROM tenants

[guard]
trusted_functions = upsert_hot_attrs, find_entities_by_attributes, entities_set_updated_at, entity_values_ingest_refuse
INI
}

# Small commands, so that what the tour prints is short enough to be typed.
write_wrappers() {
	cat >"$DIR/token" <<SH
#!/bin/sh
# A token of the tenant given: $DIR/token 123
exec '$BIN' token --key '$ABS/key.jwk' --role app --ttl 12h --tenant "\$@"
SH
	cat >"$DIR/superuser" <<SH
#!/bin/sh
# psql as the superuser, on the primary itself and not through PgUsher
exec psql -h '$SOCKET_DIR' -p $PRIMARY_PORT -U postgres -d eav "\$@"
SH
	chmod +x "$DIR/token" "$DIR/superuser"
}

start_proxy() {
	# A session of its own: Ctrl-C at the tour must not reach it before we do.
	setsid "$BIN" serve -c "$ABS/pgusher.ini" >"$DIR/pgusher.log" 2>&1 </dev/null &
	local pid=$!
	echo "$pid" >"$DIR/pgusher.pid"
	for _ in $(seq 200); do
		! port_is_open || return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	die "PgUsher did not start: $(tail -3 "$DIR/pgusher.log")"
}

# ---- the tour -----------------------------------------------------------------------------

# Prints a command, runs it and keeps what it said in $SAID; the tour judges by that.
try() {
	say ""
	say "  \$ $1"
	STATUS=0
	SAID=$(bash -c "$1" 2>&1) || STATUS=$?
	printf '%s\n' "$SAID" | sed 's/^/    /'
}

must_succeed() { [ "$STATUS" = 0 ] || die "that should have worked"; }
must_say() { grep -q -- "$1" <<<"$SAID" || die "that should have said: $1"; }
must_not_say() { ! grep -q -- "$1" <<<"$SAID" || die "that should never say: $1"; }

as() { printf 'PGPASSWORD=$(%s/token %s) %s' "$DIR" "$1" "$PSQL"; }

tour_rows() {
	local sql="SELECT entity_id, tenant_id, entity_type FROM entities ORDER BY entity_id"
	bold "1. The same SELECT as each tenant. The token is the password; nobody writes a WHERE."
	try "$(as 123) -c '$sql'"
	must_succeed
	must_say '| *123 |'
	must_not_say '| *456 |'
	try "$(as 456) -c '$sql'"
	must_succeed
	must_say '| *456 |'
	must_not_say '| *123 |'
	try "PGPASSWORD=guess $PSQL -c '$sql'"
	[ "$STATUS" != 0 ] || die "a wrong token got in"
}

tour_spoof() {
	bold "2. Tenant 123 tries to be tenant 456. PgUsher refuses the SETs, PostgreSQL's policy the row."
	for sql in "SET app.current_tenant_id = 456" \
		"SELECT set_config('app.current_tenant_id', '456', true)"; do
		try "$(as 123) -v VERBOSITY=verbose -c \"$sql\""
		must_say 42501
	done
	try "$(as 123) -c \"INSERT INTO entities (entity_id, tenant_id, entity_type)
    VALUES (7, 456, 'spy')\""
	must_say 'violates row-level security policy'
}

tour_transactions() {
	bold "3. Transactions, savepoints and errors work as ever; the tenant stays the tenant."
	try "$(as 123) -a <<'SQL'
BEGIN;
UPDATE entities SET version = version + 1;
SAVEPOINT before_mistake;
SELECT 1 / 0;
ROLLBACK TO before_mistake;
SELECT tenant_id, count(*), max(version) FROM entities GROUP BY tenant_id;
ROLLBACK;
SQL"
	must_say '^ *123 |'
	must_not_say '^ *456 |'
}

tour_sharing() {
	bold "4. Backend connections are shared: look at which process served which tenant."
	try "for i in 1 2 3 4 5 6 7 8; do for t in 123 456; do
    PGPASSWORD=\$($DIR/token \$t) $PSQL -Atc \"SELECT 'backend ' || pg_backend_pid() ||
      ' served tenant ' || tenant_id FROM tenants\"
  done; done | sort | uniq -c"
	must_succeed
	[ -n "$(sed 's/.*backend \([0-9]*\) .*/\1/' <<<"$SAID" | sort | uniq -d)" ] ||
		die "no backend served both tenants"
	try "$DIR/superuser -c \"SELECT pid, usename, state, backend_start::time(0)
    FROM pg_stat_activity WHERE usename = 'app'\""
	must_succeed
	must_say idle
}

tour_console() {
	bold "5. The console, for operators: PgBouncer's commands and columns. Over the unix socket, the
   user that PgUsher runs as needs no token."
	try "psql -h $SOCKET_DIR -p $PORT pgusher -c 'SHOW POOLS'"
	must_succeed
	must_say '^ *eav .*transaction'
}

tour_paths() {
	bold "6. How late each replica is, by heartbeats that PgUsher writes and reads itself."
	try "psql -h $SOCKET_DIR -p $PORT pgusher -c 'SHOW PATHS'"
	must_succeed
	must_say '^ *eav/replica1 .*yes'
}

# Until EXPLAIN ROUTE names this node for a read that may be two seconds old.
wait_route() {
	local route
	for _ in $(seq 300); do
		route=$(psql -h "$SOCKET_DIR" -p "$PORT" pgusher -Atc \
			"EXPLAIN ROUTE /*max_lag='2s'*/ SELECT 1" | grep '^route|' || true)
		[[ $route != "route|eav/$1"* ]] || return 0
		sleep 0.1
	done
	die "reads do not go to $1: $route"
}

tour_freshness() {
	local read node
	read="$(as 123) -q -c \"SET usher.max_lag = '2s'\" \\
    -c 'SELECT count(*) FROM entities' -c 'SHOW usher.freshness'"
	bold "7. Reads go to a replica, as long as it is fresh enough. This one may be two seconds old."
	try "$read"
	must_say '^ *replica'
	for node in replica1 replica2; do try "scripts/cluster.sh pause $DIR $node"; done
	must_succeed
	wait_route primary
	bold "   Both replicas are paused. Two seconds later the same read is the primary's; why:"
	try "$read"
	must_say '^ *primary'
	try "psql -h $SOCKET_DIR -p $PORT pgusher \\
    -c \"EXPLAIN ROUTE /*max_lag='2s'*/ SELECT count(*) FROM entities\""
	must_say 'too far behind'
	for node in replica1 replica2; do try "scripts/cluster.sh resume $DIR $node"; done
	must_succeed
	wait_route replica
	bold "   They go on, and have the reads again."
	try "$read"
	must_say '^ *replica'
}

# The tenants that are active are known, and a lag of the last replica.
wait_ready() {
	local paths
	for _ in $(seq 100); do
		paths=$(psql -h "$SOCKET_DIR" -p "$PORT" pgusher -Atc 'SHOW PATHS' 2>/dev/null || true)
		if grep -q 'tenant directory: ' "$DIR/pgusher.log" &&
			[ "$(grep -c 'eav/replica.*|yes|' <<<"$paths")" = 2 ]; then
			return 0
		fi
		sleep 0.1
	done
	die "the probe does not measure: $(tail -3 "$DIR/pgusher.log")"
}

farewell() {
	bold "All is left running. Be either tenant:"
	say ""
	say "  $(as 123)"
	say "  $(as 456)"
	say ""
	say "Or its operator, with SHOW HELP:"
	say ""
	say "  psql -h $SOCKET_DIR -p $PORT pgusher"
	say ""
	say "  The proxy's log: $DIR/pgusher.log   its configuration: $DIR/pgusher.ini"
	say "  To end it all:   make demo-stop"
}

cmd_start() {
	[ -x "$BIN" ] || die "there is no $BIN: type make"
	command -v psql >/dev/null || die "psql is not installed: type make demo"
	stop_all
	! port_is_open || die "port $PORT of 127.0.0.1 is taken by something else; stop that first, or choose another: make demo DEMO_PORT=7432"
	trap 'undo 130' INT TERM HUP
	trap 'undo $?' EXIT
	say "Making a PostgreSQL primary with two streaming replicas under $DIR/ ..."
	mkdir -p "$DIR"
	scripts/cluster.sh start "$DIR"
	say "Deploying sql/ and two tenants, 123 and 456 ..."
	scripts/cluster.sh deploy "$DIR" eav
	scripts/cluster.sh caught-up "$DIR"
	write_keys
	write_ini
	write_wrappers
	start_proxy
	# shellcheck disable=SC1091
	. "$DIR/cluster.env"
	wait_ready
	say "PgUsher listens on 127.0.0.1:$PORT."
	tour_rows
	tour_spoof
	tour_transactions
	tour_sharing
	tour_console
	tour_paths
	tour_freshness
	farewell
	trap - INT TERM HUP EXIT
}

case "${1:-}" in
start) cmd_start ;;
stop) stop_all ;;
*)
	echo "usage: demo.sh start|stop" >&2
	exit 2
	;;
esac
