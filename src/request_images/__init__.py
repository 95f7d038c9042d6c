"""Keep the images a Django endpoint receives, beside what became of each request."""

__version__ = "0.1.0.dev0"
