"""A stand-in for GoHighLevel over real HTTP: demo and tests run on it, production refuses it."""
