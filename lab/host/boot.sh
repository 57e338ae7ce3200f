# PID 1 of a lab host's namespaces, for its first moments (see host.ts): makes the host's own view of the machine, then becomes
# tini, which reaps orphans: with libvirtd as PID 1 a dead QEMU stays a zombie and each migration waits 40 s for it.
# Reads HOST_*; file descriptor 4 is the machine's network namespace.
set -eu
dir=$HOST_DIR

# The cable to the underlay: one end here, the other a port of the machine's bridge. It ends with this namespace.
outside() { nsenter --net=/proc/self/fd/4 "$@"; }
outside ip link delete "$HOST_PORT" 2>/dev/null || true
ip link add eth0 address "$HOST_MAC" mtu "$HOST_MTU" type veth peer name "$HOST_PORT" mtu "$HOST_MTU" netns /proc/self/fd/4
outside ip link set "$HOST_PORT" master "$HOST_BRIDGE" up
ip link set lo up
ip address add "$HOST_ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$HOST_GATEWAY"
exec 4<&-

mount -t proc proc /proc
# With the machine's cgroups, tracing and what else is mounted below: none of that is this host's.
umount -l -R /sys
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755,size=64m host-run /run
mkdir -p /run/lock /run/libvirt /run/vstation
for each in lib cache log; do
  mkdir -p "$dir/var/$each" "/var/$each/libvirt"
  mount --bind "$dir/var/$each" "/var/$each/libvirt"
done
mkdir -p /etc/libvirt
mount --bind "$dir/etc/libvirt" /etc/libvirt
for each in hosts hostname resolv.conf; do
  # Where the machine's file is a link, its target is what programs read; one that points into /run is gone by now.
  target=$(readlink -m "/etc/$each")
  case $target in /run/*) mkdir -p "$(dirname "$target")" && : > "$target" ;; esac
  [ ! -e "$target" ] || mount --bind "$dir/etc/$each" "$target"
done
hostname "$HOST_NAME"

echo 1 > /proc/sys/net/ipv4/ip_forward
# Live migration listens here; without the reservation an outgoing connection may sit on the port.
echo 49152-49215 > /proc/sys/net/ipv4/ip_local_reserved_ports
# As on a machine without the br_netfilter module: bridged frames do not pass the IP hooks.
for each in iptables ip6tables arptables; do
  file=/proc/sys/net/bridge/bridge-nf-call-$each
  [ ! -e "$file" ] || echo 0 > "$file"
done
ulimit -c 0

exec tini -- sh "$HOST_SERVICES"
