"""One anomaly per file. A rule looks at columns and returns findings; it never prints, raises or fixes.

Every file has RULE (its name), VERSION (raised when the same columns would give other findings) and find().
"""
