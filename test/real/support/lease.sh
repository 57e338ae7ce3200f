#!/bin/sh
# udhcpc's script for guests that are namespaces.
case $1 in
  bound | renew)
    ip addr replace "$ip/$mask" dev "$interface"
    [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
    ip route replace default via "$router"
    echo "bound-$ip router-$router dns-$dns domain-$domain"
    ;;
esac
