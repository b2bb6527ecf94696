#!/usr/bin/env bash
# Usage: benchmarks/peers.sh FOLDER. Makes two virtual environments for the comparisons with other
# tools: FOLDER with AtomAI 0.8.1, and FOLDER-atomap with Atomap 0.4.2, trackpy and laptrack.
# The package index has no CPU build of torchvision, so that its compiled operators cannot load;
# AtomAI needs none of them for a U-Net, and a stand-in for the one that is looked up on import is
# enough. six is needed but not declared.
set -euo pipefail
venv=${1:?folder of the virtual environment}
python3 -m venv "$venv"
"$venv/bin/pip" install -q torch==2.13.0
"$venv/bin/pip" install -q --no-deps torchvision==0.28.0
"$venv/bin/pip" install -q atomai==0.8.1 torch==2.13.0 six pillow
python3 -m venv "$venv-atomap"
"$venv-atomap/bin/pip" install -q atomap==0.4.2 trackpy==0.7 laptrack==0.17.1
