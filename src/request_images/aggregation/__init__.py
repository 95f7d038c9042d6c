"""Counting: histograms, tallies, periods, facets. No tables."""
