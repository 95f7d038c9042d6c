"""The bytes of images: put, move, compress, verify, delete, derive."""
