"""The pages: one module a tab. Each reads its request, makes one call to the domain and renders a template."""
