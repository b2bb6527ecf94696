"""Files out: tables, structures, graphs, figures, reports."""
