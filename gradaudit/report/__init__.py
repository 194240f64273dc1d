"""Reports: every one is a function of an `Audit`."""
