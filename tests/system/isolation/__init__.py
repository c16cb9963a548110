"""The attack suite: every way from one tenant to another, and what must happen to it."""
