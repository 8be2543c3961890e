"""Telling people: who, what, when, and by which way. `outbox` is where it begins."""
