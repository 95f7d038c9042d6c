"""A period in findings, tiles and charts."""
