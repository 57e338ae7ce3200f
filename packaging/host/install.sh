#!/bin/sh
# Makes this machine a host of a VStation: `./vstation host add NAME` prints the line that runs it here, as root.
#
#   install.sh --name NAME --token TOKEN --ca BASE64 --server ADDRESS:PORT [--server ...] [--address IP]
#
# Everything comes from VStation (programs, over TLS by its own CA, which came with the line) and from Debian (packages). Each step can
# be done again and is whole or not there, so a run that was killed is simply run again; on a host that has joined it is an update.
# What it makes is listed in uninstall.sh, which takes it away. The text is one function: a download that is cut off runs nothing.
set -eu

main() {
  umask 022
  name='' token='' ca='' servers='' address=''
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || stop "$1 needs a value"
    case $1 in
      --name) name=$2 ;;
      --token) token=$2 ;;
      --ca) ca=$2 ;;
      --server) servers="$servers $2" ;;
      --address) address=$2 ;;
      *) stop "there is no option $1" ;;
    esac
    shift 2
  done
  case $name in '' | *[!a-z0-9-]*) stop "--name: letters, digits and dashes are needed" ;; esac
  case $token in '' | *[!A-Za-z0-9_-]*) stop "--token is missing or damaged" ;; esac
  case $ca in '' | *[!A-Za-z0-9+/=]*) stop "--ca is missing or damaged" ;; esac
  [ -n "$servers" ] || stop "--server is missing"
  case $servers in *[!A-Za-z0-9.:\ -]*) stop "--server is damaged" ;; esac
  [ "$(id -u)" = 0 ] || stop "run it as root"
  . /etc/os-release
  case "${ID:-} ${VERSION_ID:-}" in
    "debian 12" | "debian 13") ;;
    *) stop "a host runs Debian 12 or 13; this is ${PRETTY_NAME:-something else}" ;;
  esac
  [ "$(uname -m)" = x86_64 ] || stop "a host is an x86_64 machine; this is $(uname -m)"

  top=/opt/vstation etc=/etc/vstation state=/var/lib/vstation run=/run/vstation
  # They have the same folders, and what makes a host no host any more clears them away.
  [ ! -e "$etc/vstation.json" ] || stop "this machine is a VStation ($etc/vstation.json); a host is another one"
  # A second run beside this one would pull its files away; the lock goes with the process.
  mkdir -p "$top" "$state"
  exec 9> "$top/.lock"
  flock -n 9 || stop "another installation is running here"

  say "1/6 programs from VStation"
  mkdir -p -m 700 "$etc"
  {
    echo "-----BEGIN CERTIFICATE-----"
    echo "$ca" | fold -w 64
    echo "-----END CERTIFICATE-----"
  } > "$etc/ca.pem"
  fetch_programs

  say "2/6 Debian packages"
  node=$top/current/node_modules/node/bin/node
  "$node" "$top/current/setup/install.mjs" --host --source || stop "the packages were not installed; mend what is said above and run it again"

  say "3/6 configuration"
  configure

  say "4/6 kernel"
  # Loaded now and at each boot; what a kernel has built in, or lacks, is said by the readiness report.
  modules="kvm tun vhost_net vxlan br_netfilter nf_tables"
  printf '%s\n' "# A host of VStation" $modules > /etc/modules-load.d/vstation.conf
  for each in $modules; do modprobe "$each" 2>/dev/null || true; done

  say "5/6 services"
  if [ ! -d /run/systemd/system ]; then
    say "systemd does not run here. Start these, and keep them running:"
    say "  $node $top/current/src/compute/drain-monitors.ts; libvirtd"
    say "  $node $top/current/src/compute/main.ts --config $etc/compute.json"
    return 0
  fi
  cp "$top/current/packaging/systemd/vstation-compute.service" /etc/systemd/system/
  mkdir -p /etc/systemd/system/libvirtd.service.d
  cp "$top/current/packaging/systemd/libvirtd.conf" /etc/systemd/system/libvirtd.service.d/vstation.conf
  systemctl daemon-reload
  # As `enable` does, but that fails where the package's System V links are missing: set-up leaves nothing enabled.
  systemctl add-wants multi-user.target libvirtd.service
  systemctl start libvirtd.service || stop "libvirtd did not start: journalctl -u libvirtd"
  # Guests live on; what libvirtd reads at its start alone may have changed.
  [ "$libvirt_changed" = no ] || systemctl restart libvirtd.service || stop "libvirtd did not start again: journalctl -u libvirtd"
  systemctl enable vstation-compute.service
  systemctl restart vstation-compute.service || stop "Compute did not start: journalctl -u vstation-compute"

  say "6/6 waiting for VStation to take this host"
  for _ in $(seq 300); do
    if [ -e "$run/joined.json" ]; then
      "$node" "$top/current/packaging/host/report.ts" "$run/joined.json"
      return 0
    fi
    sleep 1
  done
  stop "it has not joined within five minutes; it goes on trying. Why: journalctl -u vstation-compute"
}

say() { echo "$*" >&2; }
stop() { say "install: $*"; exit 1; }

# Downloads, unpacks beside its place, and swaps whole folders.
fetch_programs() {
  if ! command -v curl > /dev/null && ! command -v wget > /dev/null; then
    apt-get -q update && apt-get -q -y install --no-install-recommends curl
  fi
  rm -rf "$top"/.new "$top"/.old
  mkdir "$top/.new"
  got=no
  for server in $servers; do
    url=https://$server/programs.tar.gz
    if command -v curl > /dev/null; then
      curl -fsS --noproxy '*' --cacert "$etc/ca.pem" -H "Authorization: Bearer $token" -o "$top/.new.tar.gz" "$url" && got=yes
    else
      wget -q --no-proxy --ca-certificate="$etc/ca.pem" --header "Authorization: Bearer $token" -O "$top/.new.tar.gz" "$url" && got=yes
    fi
    [ $got = no ] || break
  done
  [ $got = yes ] || stop "no server gives its programs. Is the token older than an hour? Make a new line by: vstation host add $name"
  tar -xzf "$top/.new.tar.gz" -C "$top/.new" || stop "the programs came damaged; run it again"
  rm -f "$top/.new.tar.gz"
  [ ! -d "$top/current" ] || mv "$top/current" "$top/.old"
  mv "$top/.new" "$top/current"
  rm -rf "$top/.old"
}

configure() {
  set -- $servers
  first=${1%:*}
  # The way to VStation is the underlay unless another address of this machine is said.
  if [ -n "$address" ]; then
    device=$(ip -o -4 addr show to "$address/32" | awk '{ print $2; exit }')
  else
    target=$(getent ahostsv4 "$first" | awk '{ print $1; exit }')
    route=$(ip -o -4 route get "${target:-$first}")
    address=$(echo "$route" | sed -n 's/.* src \([0-9.]*\).*/\1/p')
    device=$(echo "$route" | sed -n 's/.* dev \([^ ]*\).*/\1/p')
  fi
  [ -n "$address" ] && [ -n "$device" ] || stop "no interface has the way to $first; say --address"
  fingerprint=$(echo "$ca" | base64 -d | sha256sum | cut -d ' ' -f 1)
  quoted=$(for each in $servers; do printf ', "%s"' "$each"; done | cut -c 3-)

  (umask 077 && echo "$token" > "$etc/join-token.new")
  mv "$etc/join-token.new" "$etc/join-token"
  # A machine that joins another VStation than before is another host there.
  known=$(sed -n 's/.*"caFingerprint": "\([0-9a-f]*\)".*/\1/p' "$etc/compute.json" 2>/dev/null || true)
  [ -z "$known" ] || [ "$known" = "$fingerprint" ] || stop "this machine is a host of another VStation: run $top/current/packaging/host/uninstall.sh first"
  (umask 077 && cat > "$etc/compute.json.new") << END
{
  "name": "$name",
  "stateDir": "$state",
  "runDir": "$run",
  "imageDir": "$state/images",
  "vstation": { "servers": [$quoted], "caFingerprint": "$fingerprint", "joinTokenFile": "$etc/join-token" },
  "shape": "machine",
  "overcommit": { "cpu": 4, "memory": 1 },
  "network": { "underlayAddress": "$address", "underlayDevice": "$device" },
  "uninstall": ["/bin/sh", "$top/current/packaging/host/uninstall.sh"]
}
END
  mv "$etc/compute.json.new" "$etc/compute.json"

  # QEMU runs as Debian has it, unprivileged and under AppArmor where the kernel has that, which lets it read here; only what Compute
  # relies on is said. What lies in the folder belongs to whom the folder belongs to.
  install -d -m 0755 /etc/pki /etc/pki/qemu
  install -d -m 0700 -o libvirt-qemu -g "$(id -gn libvirt-qemu)" /etc/pki/qemu/vstation
  before=$(cksum < /etc/libvirt/qemu.conf)
  sed -i '/^# BEGIN vstation/,/^# END vstation/d' /etc/libvirt/qemu.conf
  cat >> /etc/libvirt/qemu.conf << 'END'
# BEGIN vstation
stdio_handler = "file"
max_core = 0
dump_guest_core = 0
migration_port_min = 49152
migration_port_max = 49215
migrate_tls_x509_cert_dir = "/etc/pki/qemu/vstation"
migrate_tls_x509_verify = 1
# END vstation
END
  libvirt_changed=no
  [ "$before" = "$(cksum < /etc/libvirt/qemu.conf)" ] || libvirt_changed=yes
}

main "$@"
