"""The processes of one training beside each other."""
