# PID 1 of a nested host's pid namespace: the machine's power. Runs QEMU and passes a SIGTERM on as a press of the power button; when
# it is killed, the kernel ends QEMU with it, which is pulling the plug. Reads HOST_*.
set -eu
# A FIFO that is open both ways never ends: the way to QEMU's monitor (QMP), which is on its standard input.
rm -f "$HOST_DIR/monitor"
mkfifo -m 600 "$HOST_DIR/monitor"
exec 5<> "$HOST_DIR/monitor"
rm -f "$HOST_DIR/monitor"

"$@" <&5 &
machine=$!
press() { printf '{"execute":"%s"}\n' qmp_capabilities system_powerdown >&5; }
trap press TERM
while kill -0 "$machine" 2>/dev/null; do
  code=0
  wait "$machine" || code=$?
done
exit "$code"
