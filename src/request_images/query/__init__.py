"""What a query string means, and pages of rows."""
