"""What is drawn: one module for each kind of picture, all in the hand of `svg`."""
