"""What is deleted, when and why."""
