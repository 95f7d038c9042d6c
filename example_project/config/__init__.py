"""The example project: settings, URLs, applications."""
