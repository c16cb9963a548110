#!/bin/bash
# A throw-away PostgreSQL: one primary and two streaming replicas in a folder, for the demo and
# for the system tests alike. The folder is owned by whoever calls; PostgreSQL refuses to run as
# root, so as root everything is run as the user `postgres` of Debian's package.
#
# What must always hold: nothing listens beyond 127.0.0.1 and the socket folder; the superuser
# gets in over the socket only; `stop` leaves neither a process nor a file behind. How to reach
# it all is written to DIR/cluster.env, in a form that both shells and Python can read.
set -euo pipefail

usage() {
	cat <<'TEXT'
usage: cluster.sh start DIR            make and start it; DIR must be empty or not there yet; with
                                       the programs in PGUSHER_PG_BIN, else Debian's newest
       cluster.sh stop DIR             stop it and remove it (fine when there is none)
       cluster.sh deploy DIR DB [TEMPLATE]
                                       database DB: sql/deploy.sql and sql/demo_seed.sql, or a
                                       copy of TEMPLATE (with the same object ids)
       cluster.sh pause DIR replica1   stop replaying WAL there (resume: go on)
       cluster.sh resume DIR replica1
       cluster.sh restart DIR NODE     NODE is primary, replica1 or replica2
       cluster.sh caught-up DIR        wait until the replicas have replayed all there is
TEXT
}

die() {
	echo "cluster.sh: $*" >&2
	exit 1
}

SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
NODES="primary replica1 replica2"

# Debian keeps each major version's programs in a folder of its own; take the newest.
find_pg_bin() {
	local bin=${PGUSHER_PG_BIN:-}
	if [ -n "$bin" ]; then
		as_pg test -x "$bin/initdb" || die "PGUSHER_PG_BIN: no $bin/initdb that \
user $(as_pg id -un) can run"
		echo "$bin"
		return
	fi
	bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
	[ -n "$bin" ] && [ -x "$bin/initdb" ] || die "no PostgreSQL under /usr/lib/postgresql"
	echo "$bin"
}

as_pg() {
	if [ "$(id -u)" = 0 ]; then
		# From /, because the caller's folder may be closed to that user.
		(cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@")
	else
		"$@"
	fi
}

# Not in the kernel's ephemeral range, where an outgoing connection might take it meanwhile.
free_port() {
	local port
	for _ in $(seq 200); do
		port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
		case " $* " in *" $port "*) continue ;; esac
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
	die "no free port found"
}

# PostgreSQL's files: under DIR, but elsewhere when the user `postgres` cannot get there (a
# checkout under /root, say) or the socket's path would be too long for the kernel (107 bytes).
make_base() {
	local dir=$1 base=$1/pg
	mkdir -p "$dir"
	if [ $((${#base} + 30)) -lt 107 ] && mkdir "$base" && own "$base" && as_pg test -w "$base"; then
		echo "$base"
		return
	fi
	rmdir "$base" 2>/dev/null || true
	base=$(mktemp -d /tmp/pgusher-pg.XXXXXX)
	own "$base"
	ln -s "$base" "$dir/pg"
	echo "$base"
}

own() {
	chmod 0700 "$1"
	[ "$(id -u)" != 0 ] || chown postgres: "$1"
}

write_conf() {
	local base=$1 node=$2 port=$3
	# A TLS key that others may read is refused by PostgreSQL; initdb's umask takes care of it.
	cat <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$base/run'
cluster_name = '$node'
max_connections = 250
shared_buffers = 64MB
fsync = off
full_page_writes = off
synchronous_commit = on
wal_level = replica
wal_keep_size = 256MB
max_wal_senders = 8
max_replication_slots = 8
hot_standby = on
hot_standby_feedback = on
password_encryption = 'scram-sha-256'
ssl = on
ssl_cert_file = '$base/server.crt'
ssl_key_file = '$base/server.key'
log_statement = none
log_line_prefix = '%m [%p] %q%u@%d '
max_worker_processes = 4
jit = off
CONF
}

write_hba() {
	cat <<'HBA'
# The superuser, and replication, over the socket only: its folder is closed to other users.
local   all             postgres                    trust
local   replication     postgres                    trust
local   all             all                         scram-sha-256
host    all             postgres     all            reject
host    all             all          127.0.0.1/32   scram-sha-256
HBA
}

pg_start() {
	local bin=$1 base=$2 node=$3
	as_pg "$bin/pg_ctl" -D "$base/$node" -l "$base/$node.log" -t 60 -w start >/dev/null || {
		tail -20 "$base/$node.log" >&2
		die "$node did not start"
	}
}

pg_stop() {
	local bin=$1 base=$2 node=$3 mode=$4
	as_pg "$bin/pg_ctl" -D "$base/$node" -m "$mode" -t 30 -w stop >/dev/null ||
		echo "cluster.sh: $node did not stop" >&2
}

make_primary() {
	local bin=$1 base=$2 port=$3
	as_pg "$bin/initdb" -D "$base/primary" -U postgres -E UTF8 --locale=C.UTF-8 --no-sync \
		--auth=reject >/dev/null
	as_pg openssl req -new -x509 -nodes -days 30 -subj /CN=localhost -newkey rsa:2048 \
		-keyout "$base/server.key" -out "$base/server.crt" 2>/dev/null
	as_pg chmod 0600 "$base/server.key"
	write_conf "$base" primary "$port" | as_pg tee -a "$base/primary/postgresql.conf" >/dev/null
	write_hba | as_pg tee "$base/primary/pg_hba.conf" >/dev/null
	pg_start "$bin" "$base" primary
}

# A copy of the stopped primary: pg_basebackup is not to be had for every version.
make_replica() {
	local base=$1 node=$2 port=$3 primary_port=$4
	as_pg cp -a "$base/primary" "$base/$node"
	# The last setting of a name wins.
	printf "%s = '%s'\n" port "$port" cluster_name "$node" primary_slot_name "$node" \
		primary_conninfo "host=$base/run port=$primary_port user=postgres" |
		as_pg tee -a "$base/$node/postgresql.conf" >/dev/null
	as_pg touch "$base/$node/standby.signal"
}

# The slot first: the replica would wait seconds before it asks for it again.
start_replica() {
	local bin=$1 base=$2 node=$3 dir=$4
	super "$dir" primary postgres \
		-c "SELECT pg_create_physical_replication_slot('$node', true)" >/dev/null
	pg_start "$bin" "$base" "$node"
}

# The roles that PgUsher logs in as; what they may is sql/'s to say.
make_role() {
	local dir=$1 role=$2 password
	password=$(openssl rand -hex 16)
	(umask 077 && printf '%s\n' "$password" >"$dir/$role.password")
	# By standard input: a command line can be read by every user of the machine.
	super "$dir" primary postgres <<SQL
DO \$\$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$role') THEN
		CREATE ROLE $role LOGIN;
	END IF;
END \$\$;
ALTER ROLE $role PASSWORD '$password';
SQL
}

# psql as the superuser over the socket: super DIR NODE DATABASE [psql's arguments]
super() {
	local dir=$1 node=$2 db=$3
	shift 3
	load_env "$dir"
	local port_var=${node^^}_PORT
	PGOPTIONS='-c client_min_messages=warning' "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 \
		-h "$SOCKET_DIR" -p "${!port_var}" -U postgres -d "$db" "$@"
}

load_env() {
	[ -f "$1/cluster.env" ] || die "there is no cluster in $1"
	# shellcheck disable=SC1091
	. "$1/cluster.env"
}

cmd_start() {
	local dir=$1 bin base role node ports=()
	[ ! -e "$dir/cluster.env" ] && [ ! -e "$dir/pg" ] || die "$dir holds a cluster already"
	bin=$(find_pg_bin)
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	base=$(make_base "$dir")
	for _ in $NODES; do ports+=("$(free_port "${ports[@]:-}")"); done
	printf '%s=%q\n' PG_BIN "$bin" PG_BASE "$base" SOCKET_DIR "$base/run" \
		PRIMARY_PORT "${ports[0]}" REPLICA1_PORT "${ports[1]}" REPLICA2_PORT "${ports[2]}" \
		APP_PASSWORD_FILE "$dir/app.password" SERVICE_PASSWORD_FILE "$dir/service.password" \
		PROBE_PASSWORD_FILE "$dir/probe.password" SERVER_CERT "$base/server.crt" \
		>"$dir/cluster.env"
	as_pg mkdir -m 0700 "$base/run"
	make_primary "$bin" "$base" "${ports[0]}"
	# A replica checks the settings in the WAL that it starts from: these, not initdb's.
	pg_stop "$bin" "$base" primary fast
	make_replica "$base" replica1 "${ports[1]}" "${ports[0]}"
	make_replica "$base" replica2 "${ports[2]}" "${ports[0]}"
	pg_start "$bin" "$base" primary
	for node in replica1 replica2; do start_replica "$bin" "$base" "$node" "$dir"; done
	for role in app service probe; do make_role "$dir" "$role"; done
}

cmd_stop() {
	local dir=$1 node
	if [ ! -f "$dir/cluster.env" ]; then
		# A start that was cut off before it could say where things are.
		[ ! -e "$dir/pg" ] || rm -rf "$(readlink -f "$dir/pg")" "$dir/pg"
		return 0
	fi
	load_env "$dir"
	for node in replica2 replica1 primary; do
		[ -f "$PG_BASE/$node/postmaster.pid" ] || continue
		pg_stop "$PG_BIN" "$PG_BASE" "$node" immediate
	done
	rm -rf "$PG_BASE"
	rm -rf "$dir/pg" "$dir/app.password" "$dir/service.password" "$dir/probe.password" \
		"$dir/cluster.env"
	rmdir "$dir" 2>/dev/null || true
}

cmd_deploy() {
	local dir=$1 db=$2 template=${3:-}
	super "$dir" primary postgres -c "CREATE DATABASE \"$db\" TEMPLATE \"${template:-template0}\""
	[ -z "$template" ] || return 0
	super "$dir" primary "$db" -v entity_partitions=4 -v jsonb_partitions=4 \
		-f "$SRC/sql/deploy.sql" >/dev/null
	super "$dir" primary "$db" -f "$SRC/sql/demo_seed.sql" >/dev/null
}

# Returns once the pause has really begun: the request alone is asynchronous.
cmd_pause() {
	super "$1" "$2" postgres -c 'SELECT pg_wal_replay_pause()' >/dev/null
	for _ in $(seq 100); do
		[ "$(super "$1" "$2" postgres -Atc 'SELECT pg_get_wal_replay_pause_state()')" != paused ] ||
			return 0
		sleep 0.05
	done
	die "$2 does not pause"
}

cmd_restart() {
	load_env "$1"
	as_pg "$PG_BIN/pg_ctl" -D "$PG_BASE/$2" -l "$PG_BASE/$2.log" -m fast -t 60 -w restart >/dev/null
}

cmd_caught_up() {
	local dir=$1 lsn node
	lsn=$(super "$dir" primary postgres -Atc 'SELECT pg_current_wal_lsn()')
	for node in replica1 replica2; do
		for _ in $(seq 200); do
			[ "$(super "$dir" "$node" postgres -Atc \
				"SELECT pg_last_wal_replay_lsn() >= '$lsn'")" != t ] || continue 2
			sleep 0.05
		done
		die "$node does not catch up"
	done
}

main() {
	local cmd=${1:-} dir=${2:-}
	[ -n "$dir" ] || {
		usage >&2
		exit 2
	}
	case "$cmd:$#" in
	start:2) cmd_start "$dir" ;;
	stop:2) cmd_stop "$dir" ;;
	deploy:3 | deploy:4) cmd_deploy "$dir" "$3" "${4:-}" ;;
	pause:3) cmd_pause "$dir" "$3" ;;
	resume:3) super "$dir" "$3" postgres -c 'SELECT pg_wal_replay_resume()' >/dev/null ;;
	restart:3) cmd_restart "$dir" "$3" ;;
	caught-up:2) cmd_caught_up "$dir" ;;
	*)
		usage >&2
		exit 2
		;;
	esac
}

main "$@"
