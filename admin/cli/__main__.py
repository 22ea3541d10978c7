"""`python -m admin.cli` is the command `govmail`."""

from admin.cli.main import main

main()
