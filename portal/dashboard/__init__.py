"""How the site stands: figures, charts, alerts, the search."""
