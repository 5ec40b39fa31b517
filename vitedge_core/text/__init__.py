"""Numbers and cards in the words people use."""
