"""Numbers to rows, and rows to files that a killed run leaves readable."""
