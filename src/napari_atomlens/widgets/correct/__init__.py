"""The dock in which atoms are corrected by hand."""
