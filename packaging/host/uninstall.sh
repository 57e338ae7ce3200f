#!/bin/sh
# Takes away all that install.sh and Compute have made on this machine: units, configuration, certificate, programs, images, links,
# rules. Debian's packages stay. Compute runs it when VStation has taken the host out; an operator may run it as root, again and again.
# While an instance, a disk or a snapshot is here it does nothing: bookkeeping ends no guest and loses no data.
set -eu
top=/opt/vstation etc=/etc/vstation state=/var/lib/vstation run=/run/vstation

say() { echo "uninstall: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "run it as root"; exit 1; }
[ ! -e "$etc/vstation.json" ] || { say "this machine is a VStation ($etc/vstation.json), no host: nothing was done"; exit 1; }
if [ "${1:-}" != --guests-too ]; then
  left=$(find "$state/instances" "$state/disks" "$state/snapshots" -mindepth 1 -maxdepth 1 -name '*-????????*' 2>/dev/null | wc -l)
  [ "$left" = 0 ] || { say "$left instances, disks or snapshots lie in $state; to take them away as well: $0 --guests-too"; exit 1; }
fi

# Compute first, or it would make again what is taken away.
if [ -d /run/systemd/system ]; then
  systemctl disable --now vstation-compute.service 2>/dev/null || true
  rm -f /etc/systemd/system/vstation-compute.service /etc/systemd/system/libvirtd.service.d/vstation.conf
  rmdir /etc/systemd/system/libvirtd.service.d 2>/dev/null || true
  systemctl daemon-reload
fi
for pid in $(pgrep -f "^$top/current/node_modules/node/bin/node $top/current/src/compute/main.ts" || true); do
  kill -TERM "$pid" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null || true
done

# What Compute runs (dnsmasq and the like) has its files below its folders.
for pid in $(pgrep -f "$run/" || true); do [ "$pid" = $$ ] || kill -TERM "$pid" 2>/dev/null || true; done
if command -v nft > /dev/null; then
  nft list tables | sed -n 's/^table \([a-z]* vstation[a-z_]*\)$/\1/p' | while read -r table; do nft delete table $table; done
fi
for each in $(ip netns list 2>/dev/null | awk '/^vstation-/ { print $1 }'); do ip netns delete "$each" || true; done
# Links of ours carry this alias.
ip -o link show | sed -n 's/^[0-9]*: \([^:@]*\)[:@].*alias vstation.*/\1/p' | while read -r link; do ip link delete "$link" 2>/dev/null || true; done

# Definitions of guests that were taken away above with --guests-too.
rm -f /etc/libvirt/qemu/ins-????????.xml
sed -i '/^# BEGIN vstation/,/^# END vstation/d' /etc/libvirt/qemu.conf 2>/dev/null || true
[ ! -d /run/systemd/system ] || systemctl try-restart libvirtd.service || true
rm -rf /etc/pki/qemu/vstation "$etc" "$state" "$run" /etc/modules-load.d/vstation.conf
# Last: this very file is in it.
rm -rf "$top"
say "this machine is no host any more; Debian's packages were left"
