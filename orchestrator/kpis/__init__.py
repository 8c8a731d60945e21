"""The KPIs: what each means (definitions), what counts (counting, pure), and what came of it (figures, reads only)."""
