#!/usr/bin/env bash
# HH-suite and MMseqs2: by apt as root on Debian or Ubuntu, else by mamba or conda into .venv.
set -euo pipefail

missing=()
for program in hhblits:hhsuite hhfilter:hhsuite hhsearch:hhsuite hhalign:hhsuite mmseqs:mmseqs2; do
  command -v "${program%%:*}" > /dev/null || missing+=("${program##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
mapfile -t packages < <(printf '%s\n' "${missing[@]}" | sort -u)

if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "installing ${packages[*]} by apt-get"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
elif manager=$(command -v mamba || command -v micromamba || command -v conda); then
  echo "installing ${packages[*]} by $manager"
  "$manager" create --yes --quiet --prefix .venv/tools --override-channels \
    --channel conda-forge --channel bioconda "${packages[@]}"
  for program in .venv/tools/bin/{hh,ff,a3m,cstranslate,mmseqs}*; do
    ln -sf "../tools/bin/$(basename "$program")" .venv/bin/
  done
else
  echo "ERROR: ${packages[*]} not found. Install them (Debian: apt-get install ${packages[*]};" \
       "conda: conda install -c conda-forge -c bioconda ${packages[*]}), then run make again." >&2
  exit 2
fi
