"""The pages: what they show as plain views, and the templates filled with it."""
