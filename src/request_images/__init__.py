"""Save the images that Django views receive, linked to a log of each request."""

__version__ = "0.1.0.dev0"
