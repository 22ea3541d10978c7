# Sourced by the peer scripts. Everything they write is below $BASE.
set -euo pipefail
: "${BASE:?directory of this peer}"
: "${USERS:=1000}" "${DOMAIN:=bench.test}" "${MAILFMT:=sdbox}" "${FSYNC:=optimized}" "${HIBERNATE:=0}"
: "${SMTP_PORT:=2525}" "${LMTP_PORT:=2424}" "${IMAP_PORT:=1430}"
export BASE USERS DOMAIN MAILFMT FSYNC HIBERNATE SMTP_PORT LMTP_PORT IMAP_PORT
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$PATH:/usr/sbin

# render TEMPLATE: @NAME@ becomes the value of the variable NAME
render() {
  local text name
  text=$(<"$1")
  for name in BASE DOMAIN MAILFMT FSYNC HIBERNATE SMTP_PORT LMTP_PORT IMAP_PORT; do
    text=${text//@$name@/${!name}}
  done
  printf '%s\n' "$text"
}

# end PIDFILE: asks that process to end and waits for it
end() {
  local pid
  [ -s "$1" ] || return 0
  pid=$(tr -d ' ' <"$1")
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 300); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  echo "process $pid does not end" >&2
  return 1
}
