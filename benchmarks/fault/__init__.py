"""What ``benchmarks/faults.py`` attacks, and how: kills, power cuts, full disks."""
