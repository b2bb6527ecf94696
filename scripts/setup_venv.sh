#!/usr/bin/env bash
# Usage: setup_venv.sh FOLDER. Makes the virtual environment if it is missing and installs the
# project with everything for tests and the demo. Does nothing when pyproject.toml is unchanged.
set -euo pipefail

venv=${1:?folder of the virtual environment}
root=$(cd "$(dirname "$0")/.." && pwd)
stamp="$venv/.atomlens-installed"
wanted=$(cksum <"$root/pyproject.toml")
[ -x "$venv/bin/atomlens" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

if [ ! -x "$venv/bin/python" ]; then
    python=
    for candidate in ${PYTHON:-python3 python3.12 python3.13 python3.11}; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "napari-atomlens needs Python 3.11 or newer; set PYTHON to one." >&2
        exit 1
    fi
    echo "Making the virtual environment $venv with $("$python" --version)"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "Could not make it. On Debian-like machines: sudo apt-get install -y python3-venv" >&2
        exit 1
    fi
fi

pip=("$venv/bin/python" -m pip install --disable-pip-version-check -q)
# torch first and by version: what was tested, and the smallest build where there are several.
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    echo "Installing PyTorch"
    "${pip[@]}" torch==2.13.0 || "${pip[@]}" torch
fi
echo "Installing napari-atomlens"
"${pip[@]}" -e "$root[all,gui,dev]"
printf '%s\n' "$wanted" >"$stamp"
