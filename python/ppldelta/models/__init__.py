"""Which models: a reference as the user writes it → a file on disk → what that file is."""
