"""The REST API of the exceptions queue."""
