"""The dock of plots, tables and classes."""
