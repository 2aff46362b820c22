#!/bin/sh
# Runs one throw-away PostgreSQL until standard input ends, then removes every trace of it.
#
# Standard input is a pipe that only the test binary holds open. The kernel closes it when that process
# ends, however violently, so no server outlives its tests. Linux's parent-death signal would not do: it
# is tied to the thread that started the child, and the Go runtime ends threads when it likes.
#
# Usage: PGPASSWORD=… cluster.sh BINDIR DIR PORT   (DIR is made here, so that whoever made it removes it)
set -eu
bin=$1 dir=$2 port=$3
umask 077
mkdir "$dir"
cd "$dir"
exec 3<&0 </dev/null >"$dir/log" 2>&1

# Forked twice, so that the server does not take the watcher for one of its own children.
( (
	read -r _ <&3 || true
	trap '' TERM
	# Without a server to stop, initdb is still at work: end the whole process group, of which all are ours.
	"$bin/pg_ctl" stop --pgdata="$dir/data" --mode=immediate --silent || kill 0
	cd /
	for _ in 1 2 3 4 5 6 7 8 9; do
		rm -rf "$dir" && break # fails while something dying still writes
		sleep 0.2
	done
) & )
exec 3<&-

# A password, because loopback is open to every user of the machine and a superuser runs programs; md5 because
# SCRAM costs each of the tests' thousands of connections 10 ms.
printf '%s\n' "$PGPASSWORD" >"$dir/password"
unset PGPASSWORD
"$bin/initdb" --pgdata="$dir/data" --username=postgres --pwfile="$dir/password" --auth-local=reject \
	--auth-host=md5 --encoding=UTF8 --locale=C --no-sync --no-instructions
exec "$bin/postgres" -D "$dir/data" -p "$port" \
	-c listen_addresses=127.0.0.1 -c unix_socket_directories="$dir" -c max_connections=400 \
	-c fsync=off -c full_page_writes=off
