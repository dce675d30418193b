"""Fixtures that every test may ask for."""

pytest_plugins = ["lab.fixtures", "windows.fixtures"]
