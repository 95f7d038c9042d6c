"""How our SQL waits, fails and is retried."""
