# PID 1 of a nested host after its initramfs: what an operating system's start does, as little of it as a host needs. Reads HOST_*.
# The machine's own files are here as they are out there, but for what boot.sh of a namespace host replaces as well.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
dir=$HOST_DIR

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
for each in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${each%%:*}" "/dev/${each#*:}"; done
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mount -t tmpfs -o mode=755,size=64m run /run
mkdir -p /run/lock /run/libvirt /run/vstation
hostname "$HOST_NAME"
for each in hosts hostname resolv.conf; do
  target=$(readlink -m "/etc/$each")
  mkdir -p "$(dirname "$target")"
  cp "$dir/etc/$each" "$target"
done

# What Debian loads by hardware and by /etc/modules-load.d on a host; the rest the kernel asks for by itself.
modprobe -a virtio_net virtio_rng evdev button kvm_amd kvm_intel tun vhost_net vxlan br_netfilter nf_tables nft_ct nft_nat \
  nft_masq nft_reject_inet nft_fib_inet 8021q overlay 2>/dev/null
ip link set lo up
ip link set eth0 mtu "$HOST_MTU" up
ip address add "$HOST_ADDRESS/24" dev eth0
ip route add default via "$HOST_GATEWAY"
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 49152-49215 > /proc/sys/net/ipv4/ip_local_reserved_ports
for each in iptables ip6tables arptables; do echo 0 > "/proc/sys/net/bridge/bridge-nf-call-$each"; done

# The disk keeps what a host keeps: Compute's state, libvirt's records. It is a disk because 9p has neither direct I/O nor sockets.
for each in lib cache log; do
  mkdir -p "$dir/var/$each" "/var/$each/libvirt"
  mount --bind "$dir/var/$each" "/var/$each/libvirt"
done
mkdir -p "$dir/var/state"
mount --bind "$dir/var/state" "$dir/state"
mkdir -p /etc/libvirt
mount --bind "$dir/etc/libvirt" /etc/libvirt
ulimit -c 0
echo 0 > /proc/sys/kernel/panic_on_rcu_stall

tini -s -g -- sh "$HOST_SERVICES" &
services=$!
sh "$HOST_RESET" >> "$dir/log/reset.log" 2>&1 &

# The power button: the kernel tells of it as of a key.
button=
for each in /sys/class/input/event*; do
  [ "$(cat "$each/device/name")" != "Power Button" ] || button=/dev/input/${each##*/}
done
(
  dd if="$button" of=/dev/null bs=24 count=1 2>/dev/null
  kill -TERM "$services"
) &
wait "$services"
sync
umount -a -r -t ext4 2>/dev/null
sync
exec busybox poweroff -f
