"""What is observed of a script that does not know us: one file a seam."""
