"""Files in: one list of kinds, one module per family of formats."""
