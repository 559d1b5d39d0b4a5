#!/usr/bin/env bash
# Makes .venv in this checkout and installs skipjoin into it, editable, with what the tests need.
# Usage: tools/install.sh [VENV]     PYTHON=... chooses the interpreter. Running it again repairs and updates.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${1:-.venv}
torch_pin="torch==2.13.0"
torch_cpu_index="https://download.pytorch.org/whl/cpu"

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.13 python3.12 python3.11 python; do
    if recent "$candidate"; then python=$candidate; break; fi
  done
fi
if [ -z "$python" ] || ! recent "$python"; then
  echo "install: skipjoin needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "install: $python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2
  exit 1
fi

# A half-made environment (interrupted, or its interpreter is gone) is made anew.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
py="$venv/bin/python"
pip() { "$py" -m pip --disable-pip-version-check "$@"; }

answers() { "$py" - "$1" 2>/dev/null <<'PROBE'
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="HEAD"), timeout=3)
PROBE
}

# Without an NVIDIA driver the CPU build of torch comes first, so that nothing below pulls the CUDA build (gigabytes).
if [ ! -e /proc/driver/nvidia/version ]; then
  extra=()
  if [ "$(uname -s)" = Linux ] && answers "$torch_cpu_index/torch/"; then extra=(--extra-index-url "$torch_cpu_index"); fi
  echo "install: $torch_pin for CPU"
  pip install --quiet "$torch_pin" ${extra[@]+"${extra[@]}"}
fi
echo "install: skipjoin and its dependencies"
pip install --quiet --editable '.[test]'

# mypy wants the package under its own name, whatever this checkout is called.
mkdir -p "$venv/link"
ln -sfn "$PWD" "$venv/link/skipjoin"
touch "$venv/.installed"
echo "install: $("$py" -c 'import torch, sys; print("Python %s, torch %s" % (sys.version.split()[0], torch.__version__))') in $venv"
