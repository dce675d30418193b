"""The report as a browser shows it: a real one, headless, at the widths of a phone and of a desk."""
