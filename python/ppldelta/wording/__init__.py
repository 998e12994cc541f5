"""How names and numbers are written for people."""
