#!/bin/sh
# One run of vstation-convert@.service. Everything it may do is bounded there; here is only what VStation says over the connection: a
# folder, limits as prlimit takes them, a program with its arguments, each on a line, and an empty line. What the program says goes
# back, then `exit CODE`. VStation ends it by closing its half: then all that was begun here is killed, as when VStation dies.
set -fu
IFS= read -r folder
IFS= read -r limits
set --
while IFS= read -r argument && [ -n "$argument" ]; do set -- "$@" "$argument"; done
cd "$folder" || { echo "the unit vstation-convert@ does not lead to $folder (BindPaths)"; echo "exit 1"; exit 0; }
exec 3<&0
prlimit $limits -- "$@" < /dev/null 3<&- &
child=$!
{ cat > /dev/null; kill -KILL "$child"; } <&3 2> /dev/null &
exec 3<&- < /dev/null
wait "$child"
printf '\nexit %s\n' "$?"
# systemd kills what is left.
