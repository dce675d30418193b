"""The sections of the probe: each file holds a piece of POSIX sh and the parser of what it prints.

A section prints lines; binary content is base64 on one line. It must end with success whatever it
finds, and cost few processes: a converged fleet pays for it on every run.
"""
