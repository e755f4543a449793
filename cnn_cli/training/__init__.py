"""Training, evaluation and what is saved of them."""
