"""The dock of lattice, strain, polarisation and vacancies."""
