# A machine of its own out of namespaces, for tests of installing: a root that begins as a copy of this machine's (an overlay), nothing
# of the lab in it, one cable, a cgroup (cgroup.ts), and systemd. Nothing is shared with VStation but that link. PID 1 of its pid
# namespace; reads MACHINE_*; file descriptor 4 is the machine's network namespace. Commands are run in it by nsenter into this process.
set -eu
top=$MACHINE_DIR
outside() { nsenter --net=/proc/self/fd/4 "$@"; }
outside ip link delete "$MACHINE_PORT" 2>/dev/null || true
ip link add eth0 address "$MACHINE_MAC" mtu 9000 type veth peer name "$MACHINE_PORT" mtu 9000 netns /proc/self/fd/4
outside ip link set "$MACHINE_PORT" master "$MACHINE_BRIDGE" up
ip link set lo up
ip address add "$MACHINE_ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$MACHINE_GATEWAY"
exec 4<&-

mkdir -p "$top/upper" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" overlay "$top/root"
cd "$top/root"
mount -t proc proc proc
# Read-only: no udev, which would look after this machine's devices.
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 dev dev
for each in null zero full random urandom tty fuse kvm net/tun vhost-net; do
  [ -e "/dev/$each" ] || continue
  mkdir -p "$(dirname "dev/$each")"
  touch "dev/$each"
  mount --bind "/dev/$each" "dev/$each"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 run run
# What is enabled here is not that machine's.
rm -rf etc/systemd/system/*.wants
# What of a VStation there is here, the machine must get by its cable.
for each in tmp var/tmp; do mount -t tmpfs -o mode=1777 "machine-$each" "$each"; done
for each in $MACHINE_HIDES; do [ ! -d "$top/root$each" ] || mount -t tmpfs -o mode=755 hidden "$top/root$each"; done
printf '127.0.0.1 localhost\n%s %s\n' "$MACHINE_ADDRESS" "$MACHINE_NAME" > etc/hosts
echo "$MACHINE_NAME" > etc/hostname
hostname "$MACHINE_NAME"
rm -rf opt/vstation etc/vstation var/lib/vstation var/lib/libvirt var/cache/libvirt
for each in lib cache log; do mkdir -p "var/$each/libvirt"; done
echo 1 > proc/sys/net/ipv4/ip_forward
for each in iptables ip6tables arptables; do
  [ ! -e "proc/sys/net/bridge/bridge-nf-call-$each" ] || echo 0 > "proc/sys/net/bridge/bridge-nf-call-$each"
done
mkdir -p .outer
pivot_root . .outer
: > "/.outer$top/up"
umount -l /.outer
rmdir /.outer
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=test \
  /lib/systemd/systemd --system --unit=basic.target
