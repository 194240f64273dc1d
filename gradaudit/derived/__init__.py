"""Series that several diagnosers share: pure functions of a `Run`."""
