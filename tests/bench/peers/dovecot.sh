#!/bin/bash
# dovecot.sh start|stop|pid|count: a Dovecot of its own below $BASE/dovecot (MAILFMT=maildir|sdbox|mdbox).
. "$(dirname "$0")/env.sh"
root=$BASE/dovecot
mail=$BASE/mail/$MAILFMT
case ${1:-} in
start)
  id vmail >/dev/null 2>&1 || useradd --system --no-create-home --home /nonexistent --shell /usr/sbin/nologin vmail
  mkdir -p "$root"/{run,state} "$mail"
  chown -R vmail "$BASE/mail"
  seq 0 $((USERS - 1)) | sed "s/.*/u&@$DOMAIN:{PLAIN}pass::::::/" >"$root/passwd"
  chown dovecot "$root/passwd"
  render "$HERE/dovecot.conf.in" >"$root/dovecot.conf"
  ulimit -n "$(ulimit -Hn)"
  dovecot -c "$root/dovecot.conf"
  ;;
stop) end "$root/run/master.pid" ;;
pid) cat "$root/run/master.pid" ;;
count) find "$mail" -type f \( -path '*/new/*' -o -path '*/cur/*' -o -name 'u.*' \) | wc -l ;;
*) sed -n '2p' "$0" >&2; exit 2 ;;
esac
