"""Charts that several findings or reports show, already reduced."""
