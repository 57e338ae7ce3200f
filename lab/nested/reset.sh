# Resets guests of a nested host that KVM gave up by a mistake of the machine around it. Runs beside the host's services.
# A processor tells in a field (EXITINTINFO) what it was about to deliver when the guest was left. QEMU's emulation (10.0) leaves there the kind of
# an exception that was delivered before, and KVM since Linux 6.14 goes by the kind: a guest that reaches for a device right
# after one is stopped with "KVM internal error. Suberror: 3", and QEMU lets it go on after a reset alone. About one in ten guests
# that boot needs it. On a processor of silicon this does not happen, and nobody does this there.
while sleep 2; do
  stdbuf -oL virsh -q event --event lifecycle --loop 2>/dev/null |
    while read -r line; do
      case $line in *": Suspended "*) ;; *) continue ;; esac
      guest=${line#*\'lifecycle\' for domain \'}
      guest=${guest%%\'*}
      # Whoever stops a guest on purpose leaves another reason.
      virsh -q domstate --reason "$guest" | grep -q 'paused (unknown)' || continue
      tail -n 60 "/var/log/libvirt/qemu/$guest.log" | grep -q '^KVM internal error. Suberror: 3$' || continue
      echo "$(date -Is) $guest is reset: the emulator's mistake"
      virsh -q reset "$guest" && virsh -q resume "$guest"
    done
done
