"""The field suite: failures that people reported in public, rebuilt small, each faulty and repaired."""
