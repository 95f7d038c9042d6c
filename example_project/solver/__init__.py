"""A small web service that reads barcodes and keeps the images that it receives."""
