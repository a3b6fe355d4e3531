#!/usr/bin/env bash
# Sets up the virtual environment from a lock file, and the system's network tools where they lack.
# Usage: PYTHON=python3 VENV=.venv setup.sh requirements.txt
set -euo pipefail

python=${PYTHON:-python3} venv=${VENV:-.venv} lock=$1

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "heddle needs Python 3.11 or later; '$python' is $("$python" --version 2>&1). Name another: make PYTHON=python3.12 ..." >&2
  exit 2
fi

apt_install() { # names as Debian has them
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $* ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq "$@" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq "$@" >/dev/null; }
  else
    return 1
  fi
}

missing=()
command -v ip >/dev/null || [ -x /usr/sbin/ip ] || [ -x /sbin/ip ] || missing+=(iproute2)
command -v iptables >/dev/null || [ -x /usr/sbin/iptables ] || missing+=(iptables)
command -v nft >/dev/null || [ -x /usr/sbin/nft ] || missing+=(nftables)
command -v unshare >/dev/null || missing+=(util-linux)
if [ ${#missing[@]} -gt 0 ]; then
  apt_install "${missing[@]}" || {
    echo "heddle: the system lacks ${missing[*]} (names of Debian packages). Pods get no network of their own without" >&2
    echo "        them: the mesh will run in its reduced loopback mode. Install them: sudo apt-get install ${missing[*]}" >&2
  }
fi

if [ ! -x "$venv/bin/pip" ]; then
  echo "creating $venv ..."
  "$python" -m venv "$venv" || {
    apt_install python3-venv && "$python" -m venv "$venv" || {
      echo "heddle: '$python -m venv' fails; install Debian's package python3-venv" >&2; exit 2; }
  }
fi

echo "installing $lock ..."
"$venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$lock"
"$venv/bin/python" deploy/link_checkout.py
