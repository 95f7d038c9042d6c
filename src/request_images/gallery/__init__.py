"""Images in pages and groups."""
