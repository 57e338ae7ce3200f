#!/bin/sh
# QEMU runs this with the name of the tap that it has just made: plugs it into the underlay, as the cable of a namespace host is.
exec ip link set "$1" mtu "$HOST_MTU" master "$HOST_BRIDGE" up
