"""Conversations: where they come from, which rows are taken, what is written."""
