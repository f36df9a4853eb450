#!/usr/bin/env bash
# BLAST+ and UniProt's sequences as Debian packages them, for `source: packages`.
set -euo pipefail

packages=(ncbi-blast+ metastudent-data)
if command -v blastdbcmd > /dev/null && [ -d /usr/share/metastudent-data ]; then
  exit 0
elif [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "installing ${packages[*]} by apt-get"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
else
  echo "ERROR: blastdbcmd or /usr/share/metastudent-data not found. Install them (Debian: apt-get" \
       "install ${packages[*]}), or name other BLAST databases in packages.databases." >&2
  exit 2
fi
