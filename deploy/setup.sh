#!/bin/bash
# Installs what govmail needs on Debian 12: setup.sh python | serve | test | bench.   Idempotent; says what it does.
#   python  the environment .venv          serve  + the engines          test  + peers and clients          bench  + load tools
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
what=${1:-serve}

ENGINES=(rspamd clamav-daemon slapd)
TESTING=(ldap-utils postgresql-15 postfix dovecot-core dovecot-imapd isync offlineimap3 mutt curl swaks openssl
         libnet-ssleay-perl libio-socket-ssl-perl libauthen-sasl-perl thunderbird xvfb)
BENCHING=(dovecot-lmtpd dovecot-sieve clamav-milter)

say() { printf '\033[1m%s\033[0m\n' "govmail: $*" >&2; }
loud() { printf '\033[1;31m%s\033[0m\n' "govmail: $*" >&2; }
missing() { for package; do dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || echo "$package"; done; }

# Debian's packages start their daemons on installation; govmail runs the engines itself, on ports of its own.
hold_services() {
  [ -e /usr/sbin/policy-rc.d ] && return
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

updated=
install() {   # install PACKAGE…: returns 1 when one cannot be had
  local wanted
  mapfile -t wanted < <(missing "$@")
  [ ${#wanted[@]} -eq 0 ] && return 0
  if [ "$(id -u)" != 0 ]; then loud "not root, cannot install: ${wanted[*]}"; return 1; fi
  hold_services
  if [ -z "$updated" ]; then say "apt-get update"; apt-get update -qq || true; updated=yes; fi
  say "apt-get install ${wanted[*]}"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" > /dev/null
}

# Reachable: can our own user, which the server becomes, walk to this directory?
own_user() {
  [ "$(id -u)" = 0 ] || return 0
  id govmail > /dev/null 2>&1 || { say "creating the system user govmail"; useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin govmail; }
}
reachable() { [ "$(id -u)" != 0 ] || setpriv --reuid=govmail --regid=govmail --clear-groups test -x "$1"; }

python_environment() {
  local python=/usr/bin/python3 home=$here mode=-e
  [ -x $python ] && $python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || python=$(command -v python3)
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { loud "Python 3.11 or newer is needed"; exit 1; }
  "$python" -c 'import ensurepip' 2> /dev/null || install python3-venv || exit 1
  own_user
  if ! reachable "$here"; then
    # A checkout in /root: the server's own user could read neither the program nor its data.
    home=/opt/govmail mode=
    say "$here is closed to the user govmail: program and data go to $home"
    mkdir -p $home/var && chown govmail: $home/var
    [ -e var ] || ln -s $home/var var
    [ -e .venv ] || ln -s $home/.venv .venv
  fi
  if [ .venv/.ready -nt pyproject.toml ] && [ -n "$mode" ]; then return; fi
  [ -x "$home/.venv/bin/python" ] || { say "creating $home/.venv"; "$python" -m venv "$home/.venv"; }
  say "installing govmail and its Python packages into $home/.venv"
  "$home/.venv/bin/python" -m pip install -q --disable-pip-version-check $mode '.[test]'
  touch .venv/.ready
}

python_environment
case $what in
  python) ;;
  serve)
    for engine in "${ENGINES[@]}"; do
      install "$engine" || loud "$engine is not installed: govmail runs without it, and says so in every mail it could not scan"
    done ;;
  test) install "${ENGINES[@]}" "${TESTING[@]}" || { loud "the tests need these packages"; exit 1; } ;;
  bench) install "${ENGINES[@]}" "${TESTING[@]}" "${BENCHING[@]}" || exit 1 ;;
  *) loud "setup.sh python | serve | test | bench"; exit 2 ;;
esac
