"""What the real servers of ``tests/test_servers.py`` serve; runs in their processes."""
