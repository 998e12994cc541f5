"""The command line: its arguments, and the commands that are more than a call."""
