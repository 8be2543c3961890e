"""`make bench`: the ratios that the issues name, each measured side by side in one run.

Absolute times drift with the machine; the ratio of two things that take turns does not.
"""
