"""The one table of the project under load."""
