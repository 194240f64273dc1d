"""Numbers that several diagnosers share: pure functions of a `Run`, without findings, charts or sentences."""
