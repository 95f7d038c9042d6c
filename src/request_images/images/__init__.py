"""Image files: their format, header, measures and thumbnails. No Django."""
