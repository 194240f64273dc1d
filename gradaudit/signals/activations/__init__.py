"""What goes into layers, modules and losses, and what comes out."""
