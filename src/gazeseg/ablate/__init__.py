"""A declared grid of runs over seeds: trained, evaluated, and tested against a reference in one table."""
