# What runs on a lab host: libvirtd and Compute, each started again when it ends, neither ever taking a guest along.
# Each start reads $HOST_SETTINGS, lines NAME=VALUE for its environment.
# One line per service in $HOST_DIR/status tells who runs: "<pid here> <since, epoch s> <restarts> <last end> <lives below 30 s in a row>".
# On SIGTERM the host shuts down as a machine does: Compute, then libvirtd, then a short chance for every guest's QEMU to
# write out what it holds. What is left when this script ends, the kernel kills with the namespace.
set -u
status=$HOST_DIR/status
log=$HOST_DIR/log
rm -f "$status"/*

keep() {
  name=$1
  shift
  restarts=0
  short=0
  last=-
  # The loop dies by the shutdown's SIGTERM only between two lives; its service is ended by name before.
  while :; do
    began=$(date +%s)
    (
      set -a
      [ ! -f "$HOST_SETTINGS" ] || . "$HOST_SETTINGS"
      exec "$@" >> "$log/$name.log" 2>&1 3<&-
    ) &
    pid=$!
    echo "$pid $began $restarts $last $short" > "$status/.$name.new" && mv "$status/.$name.new" "$status/$name"
    wait "$pid"
    code=$?
    last="status-$code"
    restarts=$((restarts + 1))
    if [ $(($(date +%s) - began)) -lt 30 ]; then short=$((short + 1)); else short=0; fi
    echo "$(date -Is) $name ended with status $code after $(($(date +%s) - began)) s" >> "$log/services.log"
    echo "- $(date +%s) $restarts $last $short" > "$status/.$name.new" && mv "$status/.$name.new" "$status/$name"
    # Whoever kills on purpose, again and again, does not want to wait.
    ! grep -qs '^VSTATION_RESTART=eager$' "$HOST_SETTINGS" || short=0
    case $short in
      0 | 1) sleep 0.1 ;;
      2) sleep 0.5 ;;
      3) sleep 2 ;;
      *) sleep 10 ;;
    esac
  done
}

# Ends a service and its loop: the loop first, or it would start the service again.
end() {
  loop=$1 name=$2 seconds=$3
  kill -KILL "$loop" 2>/dev/null
  read -r pid _ < "$status/$name" || return 0
  case $pid in *[!0-9]*) return 0 ;; esac
  kill -TERM "$pid" 2>/dev/null || return 0
  for _ in $(seq $((seconds * 20))); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.05
  done
  kill -KILL "$pid" 2>/dev/null
}

power_off() {
  trap '' TERM
  [ -z "$compute" ] || end "$compute" compute 2
  end "$libvirtd" libvirtd 1
  # Everything that is left but PID 1 and this shell: QEMU writes out its caches and ends.
  guests=$(pgrep -f '^/usr/bin/qemu-system' || true)
  if [ -n "$guests" ]; then
    kill -TERM $guests 2>/dev/null
    for _ in $(seq 60); do
      pgrep -f '^/usr/bin/qemu-system' > /dev/null || break
      sleep 0.05
    done
  fi
  exit 0
}

compute=
trap power_off TERM
# As its unit does on a machine: see drain-monitors.ts. What the settings load into our programs is not for this one.
export HOST_DRAIN="${HOST_COMPUTE%/*}/drain-monitors.ts"
keep libvirtd sh -c 'ls /var/lib/libvirt/qemu/domain-*/monitor.sock > /dev/null 2>&1 && NODE_OPTIONS= "$HOST_NODE" "$HOST_DRAIN"
  exec libvirtd --config /etc/libvirt/libvirtd.conf' &
libvirtd=$!
keep compute "$HOST_NODE" "$HOST_COMPUTE" --config "$HOST_DIR/compute.json" &
compute=$!
while :; do wait; done
