"""The dock of scans of a scanning tunnelling microscope."""
