"""A project of django-tenants: a schema of PostgreSQL for each customer."""
