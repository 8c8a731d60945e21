"""The worklist board."""
