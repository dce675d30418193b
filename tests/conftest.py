"""Fixtures that every test may ask for."""

import signal

pytest_plugins = ["lab.fixtures", "windows.fixtures"]

# A run in the background has Ctrl-C ignored, and would hand that on to the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
