"""The project that the real servers of ``tests/test_servers.py`` run."""
