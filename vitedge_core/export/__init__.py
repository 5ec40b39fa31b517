"""Files that leave: packages of weights, recipe and card."""
