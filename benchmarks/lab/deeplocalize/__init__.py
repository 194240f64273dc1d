"""Thirteen faulty and repaired programs of the DeepLocalize benchmark, rebuilt in torch from their description."""
