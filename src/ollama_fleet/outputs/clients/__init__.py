"""Settings for the programs that people talk to models with, one file per program.

Each module has `settings(endpoints)`, which returns what can be imported as it stands. Formats are those that the
program itself reads; where it is open source they were checked against its parser.
"""
