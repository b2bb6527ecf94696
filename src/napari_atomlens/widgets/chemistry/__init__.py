"""The dock of bonds, rings, defects and rules."""
