"""The example project: settings, addresses, applications."""
