"""A hospital's two years as rows, for pages and queries at size (`python -m benchmarks.population --help`)."""
