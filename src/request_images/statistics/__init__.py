"""Statistics of requests: rollups by hour, day and month."""
