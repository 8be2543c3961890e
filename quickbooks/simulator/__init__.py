"""A stand-in for Intuit over real HTTP: demo and tests run on it, production refuses it."""
