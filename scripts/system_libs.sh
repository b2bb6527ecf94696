#!/usr/bin/env bash
# The system libraries that Qt, OpenGL and a virtual display need on Debian-like machines.
# Installs the missing ones where that is allowed, else names the exact command.
# SKIP_SYSTEM_LIBS=1 leaves the machine alone.
set -euo pipefail

[ "${SKIP_SYSTEM_LIBS:-0}" = 1 ] && exit 0
[ "$(uname -s)" = Linux ] && command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || exit 0

# "a|b": the package has one name or the other, depending on the release.
packages=(
    libegl1 libgl1 libopengl0 libglib2.0-0t64\|libglib2.0-0 libdbus-1-3 libfontconfig1
    libxkbcommon0 libxkbcommon-x11-0 libx11-xcb1 libxcb-cursor0 libxcb-glx0 libxcb-icccm4
    libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render0 libxcb-render-util0 libxcb-shape0
    libxcb-shm0 libxcb-sync1 libxcb-util1 libxcb-xfixes0 libxcb-xinerama0 libxcb-xkb1 xvfb
)

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | head -n1)" = installed ]; }
# The name under which this release knows the package.
known() { [ "$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')" != "(none)" ] &&
    [ -n "$(apt-cache policy "$1" 2>/dev/null)" ]; }

missing=()
for names in "${packages[@]}"; do
    found=
    for name in ${names//|/ }; do
        if installed "$name"; then found=yes; break; fi
    done
    [ -n "$found" ] || missing+=("$names")
done
[ ${#missing[@]} -eq 0 ] && exit 0

# With no package lists (fresh containers) neither name is known yet, so choose after an update.
choose() {
    chosen=()
    for names in "${missing[@]}"; do
        pick=${names##*|}
        for name in ${names//|/ }; do
            if known "$name"; then pick=$name; break; fi
        done
        chosen+=("$pick")
    done
}

if [ "$(id -u)" = 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    choose
    echo "Some system libraries are missing and this user may not install them. Please run:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${chosen[*]}" >&2
    echo "and try again (SKIP_SYSTEM_LIBS=1 goes on without them)." >&2
    exit 1
fi

# An update that fails (one unreachable source) need not matter: the install decides.
"${as_root[@]}" apt-get update -qq || true
choose
echo "Installing system libraries: ${chosen[*]}"
if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${chosen[@]}"; then
    echo "Could not install the system libraries. Please run:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${chosen[*]}" >&2
    exit 1
fi
