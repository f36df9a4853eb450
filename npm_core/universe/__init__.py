"""A generated universe of protein families that writes the files the real sources publish."""
