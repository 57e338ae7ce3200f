# PID 1 of PostgreSQL's namespaces (see postgres.ts): arranges the mounts, makes the cluster once, and becomes the server.
# Reads PG_BIN, PG_HOME, PG_SOCKETS, PG_INSIDE, PG_DATABASE.
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }

mount -t tmpfs -o mode=755 pg-mounts "$PG_INSIDE"
mkdir "$PG_INSIDE/home" "$PG_INSIDE/sockets"
mount --bind "$PG_HOME" "$PG_INSIDE/home"
mount --bind "$PG_SOCKETS" "$PG_INSIDE/sockets"
mount -t tmpfs -o mode=1777 pg-shm /dev/shm
mount -t proc proc /proc
cd "$PG_INSIDE/home"

if [ ! -d data ]; then
  # Under another name until it is whole: a power cut in between leaves nothing that looks like a cluster.
  rm -rf data.new
  as_postgres "$PG_BIN/initdb" -D "$PG_INSIDE/home/data.new" -U "$PG_DATABASE" -A trust -E UTF8 --locale C.UTF-8 \
    --data-checksums --no-instructions
  echo "CREATE DATABASE $PG_DATABASE;" | as_postgres "$PG_BIN/postgres" --single -D "$PG_INSIDE/home/data.new" postgres
  mv data.new data
  sync data
fi

# Killing the `unshare` that waits out there must end the server too; dropping root cleared that, so it is asked for again.
exec setpriv --reuid postgres --regid postgres --clear-groups --pdeathsig KILL \
  "$PG_BIN/postgres" -D "$PG_INSIDE/home/data" -k "$PG_INSIDE/sockets" \
  -c listen_addresses= -c unix_socket_permissions=0700 \
  -c shared_buffers=64MB -c max_connections=80 -c effective_cache_size=512MB -c wal_compression=on \
  -c max_wal_size=512MB -c min_wal_size=80MB -c checkpoint_timeout=10min -c autovacuum_naptime=20s \
  -c max_parallel_workers_per_gather=0 -c jit=off -c logging_collector=off -c log_line_prefix='%m [%p] ' \
  -c fsync=on -c full_page_writes=on -c synchronous_commit=on
