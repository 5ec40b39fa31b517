"""Methods that process fewer tokens."""
