"""Requests added up by hour, day and month."""
