"""Counting: percentiles, tallies, periods, facets. No tables."""
