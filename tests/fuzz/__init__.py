"""Coverage-guided fuzzing of what reads runs; `test_corpus.py` replays what it found."""
