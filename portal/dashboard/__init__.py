"""The state of the site: figures, charts, alerts, search."""
