"""From a recorded request to its rows."""
