"""The exceptions queue and its cases."""
