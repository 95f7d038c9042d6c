"""A request, watched while its view runs."""
