"""Where bytes are kept: stores and encodings. No tables."""
