"""What all pages share: forms, sign-in, layout, error pages, formats."""
