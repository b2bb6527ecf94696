#!/usr/bin/env bash
# Usage: with_display.sh COMMAND... Runs the command on a virtual display of its own, so that
# windows of tests neither need a screen nor disturb one. Where there is no Xvfb (macOS,
# Windows) the command runs as it is.
set -euo pipefail

command -v Xvfb >/dev/null || exec "$@"

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
Xvfb -displayfd 3 -screen 0 1920x1200x24 -nolisten tcp 3>"$folder/number" 2>"$folder/log" &
server=$!
for _ in $(seq 100); do
    [ -s "$folder/number" ] && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if [ ! -s "$folder/number" ]; then
    cat "$folder/log" >&2
    echo "The virtual display did not start." >&2
    exit 1
fi
export DISPLAY=":$(tr -d '[:space:]' <"$folder/number")"
unset WAYLAND_DISPLAY
export QT_QPA_PLATFORM=xcb
status=0
"$@" || status=$?
exit "$status"
