"""Which models: a name as the user writes it → its files on disk → what is in them."""
