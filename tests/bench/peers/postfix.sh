#!/bin/bash
# postfix.sh start|stop|pid|queue: a Postfix of its own below $BASE/postfix; the machine's is not touched.
. "$(dirname "$0")/env.sh"
root=$BASE/postfix
case ${1:-} in
start)
  mkdir -p "$root"/{etc,data,spool/pid}
  for queue in active bounce corrupt defer deferred flush hold incoming saved trace private maildrop public; do
    install -d -o postfix -g postfix -m 700 "$root/spool/$queue"
  done
  chgrp postdrop "$root"/spool/{maildrop,public}
  chmod 730 "$root/spool/maildrop"
  chmod 710 "$root/spool/public"
  chown postfix "$root/data"
  render "$HERE/postfix-main.cf.in" >"$root/etc/main.cf"
  render "$HERE/postfix-master.cf.in" >"$root/etc/master.cf"
  seq 0 $((USERS - 1)) | sed "s/.*/u&@$DOMAIN x/" >"$root/etc/mailboxes"
  postmap -c "$root/etc" "hash:$root/etc/mailboxes"
  /usr/lib/postfix/sbin/master -c "$root/etc" </dev/null >/dev/null 2>&1 &
  ;;
stop) end "$root/spool/pid/master.pid" ;;
pid) tr -d ' ' <"$root/spool/pid/master.pid" ;;
queue) find "$root"/spool/{incoming,active,deferred} -type f | wc -l ;;
*) sed -n '2p' "$0" >&2; exit 2 ;;
esac
