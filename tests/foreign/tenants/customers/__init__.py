"""The customers, in the public schema."""
