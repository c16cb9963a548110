"""Django's backend for PostgreSQL, with a token for a password."""
