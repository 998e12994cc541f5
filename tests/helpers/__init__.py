"""What tests share: frames and models made for them, and other ways to the same numbers."""
