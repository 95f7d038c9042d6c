"""The spool folder: requests that could not be written yet."""
