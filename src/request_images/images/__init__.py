"""Image files: bytes in, facts or pixels out. No Django."""
