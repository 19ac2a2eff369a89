"""Recipes: everything that one kind of fine-tune implies, as one value each."""
